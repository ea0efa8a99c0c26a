"""What a kind is to the engine, as data: `ResourceType`, its `FieldRule`s and `ApiBinding`s."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from synapse_apply.model.address import Address
from synapse_apply.model.command import Command
from synapse_apply.model.frozen import frozen
from synapse_apply.model.json_types import PageCheck, ServerObject, Spec
from synapse_apply.model.resource import Capabilities, Lookup, Observed
from synapse_apply.model.secrets.secret_marks import SecretMarks
from synapse_apply.model.values import ABSENT, Reference

if TYPE_CHECKING:
    from datetime import datetime

    from synapse_apply.client.backend import BackendClient
    from synapse_apply.client.platform import PlatformV2
    from synapse_apply.model.plan import FieldChange
    from synapse_apply.model.state import Intent

# What the calls of a binding are made with. As texts: only who sends something imports HTTP.
Api: TypeAlias = "BackendClient"
JobCalls: TypeAlias = "BackendClient | PlatformV2"

NaturalKey = Callable[[Mapping[str, Any], Mapping[str, Observed]], str]


class Compare(Enum):
    """How values of a field are compared: EXACT as JSON, SET as lists without an order."""

    EXACT = "exact"
    SET = "set"


class UpdateMode(Enum):
    """PUT sends every writable field, PATCH only what changed."""

    PUT = "put"
    PATCH = "patch"


@frozen
class FieldRule:
    """The rules of a top-level spec field and all below it.

    - `required`: a manifest must have it. `immutable`: it never changes after the create.
    - `free_form`: a map that is merged key by key; a key that a manifest drops is removed.
    - `write_only`: no answer contains it.
    - `reset_value`: sent when a manifest drops the field; ABSENT if it cannot be dropped.
    - `references`: the kind whose remote id the field holds, "" for a plain value.
    - `fixed_hint`: the advice that is shown when a change is refused.
    - `packaged`: on the platform the value comes from the package. It is compared only if the
      server has shown the value that was sent, and does not distinguish two objects.
    - `usual_value`: the default of a field that is sent only if it is declared, and exported only
      if its value is another one.
    """

    name: str
    required: bool = False
    immutable: bool = False
    free_form: bool = False
    write_only: bool = False
    reset_value: Any = ABSENT
    compare: Compare = Compare.EXACT
    references: str = ""
    fixed_hint: str = ""
    packaged: bool = False
    usual_value: Any = ABSENT


@frozen
class CreateConstraint:
    """What one API version requires of a declared value, beyond the manifest's schema.

    `required`: every manifest needs the field; `required_to_create`: only a create needs it.
    `pattern` (of the full text) and `choices` restrict creates only, since an existing object may
    have other values. `description` tells a person what is accepted.
    """

    description: str
    required: bool = False
    required_to_create: bool = False
    pattern: str = ""
    choices: frozenset[str] = frozenset()

    def accepts_value_in_create(self, value: Any) -> bool:
        """Whether a create may send this value, by `choices` and `pattern`."""
        if self.choices and value not in self.choices:
            return False
        return not self.pattern or re.fullmatch(self.pattern, str(value)) is not None


@frozen
class Bootstrap:
    """A create that also creates the first member of another kind, such as a plugin's release.

    `kind` is the member's prefix. `build_body` combines the bodies of both; the member's has no
    reference to its owner, which does not exist yet. `extract_member` gives the member in the
    answer, in the form that its own ApiBinding decodes; None if the answer has none.
    """

    kind: str
    build_body: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]
    extract_member: Callable[[ServerObject], ServerObject | None]


# It comes after the run, so that nothing unverified is locked; the verb of its intent is its own.
@frozen
class FinalCall:
    """A call that is made after all others of an object and cannot be undone, such as a lock.

    It sets the field `name` to true, which a create does not send. `verb` names the call in its
    intent; `warning` is shown wherever the call is planned.
    """

    name: str
    verb: str
    send_call: Callable[[Api, str], ServerObject]
    warning: str

    def makes_change(self, change: FieldChange) -> bool:
        """Whether a change of a field is made by this call: its field becomes true."""
        return change.path == (self.name,) and change.after is True

    @property
    def effect(self) -> str:
        """What the call did, as the warning begins: `locked permanently`."""
        return self.warning.partition(":")[0]


@frozen
class ApiBinding:
    """The calls and rules of one kind in one API version; an unsupported call is None.

    Calls raise RemoteError as the client does. A natural key has the form FORM=TEXT (`code=yolo`).

    Calls:

    - `read_object` takes a remote id; `create_object` a body and an idempotency key ("": none).
    - `list_objects` gives all objects; where `list_capability` is set, 404 and 405 mean that there
      is no list. `probe_list` tests that capability by one small request. `lists_whole_objects`:
      items have all fields.
    - `list_once_or_none` reads the list once, without a proof that nothing is missing: None if it
      has more than so many pages, or if the items of the first page are not useful. Which fields
      items have may depend on `variety_field`.
    - `find_by_key` searches for a natural key where there is no list.
    - `list_members_or_none` gives the objects of one live owner, for a kind that is only listed by
      owner; None if this owner's cannot be. `list_belonging` gives those of an owner's id.
    - `iter_ids_named_by_jobs` gives the ids of objects that jobs refer to.
    - `send_dry_run_probe` sends a call that changes nothing even if the server ignores `dry_run`;
      False if there is no object to send it about.
    - `select_job_calls` gives the calls for a job's id, if they are not those of v1.
      `resolve_run_owner` gives the id by which these calls know the owner with a remote id.

    Data:

    - `decode` turns a server object into an Observed with its secrets wrapped; `encode` turns
      resolved spec fields into the body of a create or an update.
    - `encode_for_platform` gives fields of a create in the platform's own form, from spec and
      natural key. They replace those of `encode`; if the server refuses such a field and no other,
      the create is sent again without them.
    - `list_natural_keys` gives the natural keys of a listed object, `belongs_to_tenant` whether it
      may be the tenant's own: `list_objects` and `find_by_key` give no others.
    - `extract_file_url` gives the URL of the published bytes, a credential; "" if there is none.

    Rules:

    - `lookup` tells for each form of key what a search proves; a missing form cannot be searched.
      `lookup_by_capability` replaces it where a probed capability is present.
    - `immutable`: advice by each field that this version cannot change, besides those that none
      can. `create_constraints` restrict values in this version, `platform_constraints` on the
      platform's own service only.
    - `read_only_advice` is shown for a 405 to a change, `advice_by_refused_field` for a 400 to a
      create that names such a field, which no manifest has.
    """

    api: str
    fields: frozenset[str]
    lookup: Mapping[str, Lookup]
    read_object: Callable[[Api, str], ServerObject]
    create_object: Callable[[Api, Mapping[str, Any], str], ServerObject]
    decode: Callable[[ServerObject, SecretMarks], Observed]
    encode: Callable[[Mapping[str, Any]], dict[str, Any]]
    encode_for_platform: Callable[[Mapping[str, Any], str], Mapping[str, Any]] = (
        lambda _spec, _key: {}
    )
    find_by_key: Callable[[Api, str], Sequence[ServerObject]] | None = None
    list_objects: Callable[[Api], Sequence[ServerObject]] | None = None
    list_capability: str = ""
    probe_list: Callable[[Api], bool] | None = None
    list_members_or_none: Callable[[Api, Observed], Sequence[ServerObject] | None] | None = None
    iter_ids_named_by_jobs: Callable[[Api], Iterable[str]] | None = None
    lists_whole_objects: bool = False
    list_once_or_none: Callable[[Api, int, PageCheck], Sequence[ServerObject] | None] | None = None
    variety_field: str = ""
    list_natural_keys: Callable[[ServerObject], tuple[str, ...]] = lambda _raw: ()
    belongs_to_tenant: Callable[[Api, ServerObject], bool] = lambda _api, _raw: True
    update_object: Callable[[Api, str, Mapping[str, Any]], ServerObject] | None = None
    update_mode: UpdateMode = UpdateMode.PUT
    delete_object: Callable[[Api, str], None] | None = None
    lookup_by_capability: Mapping[str, Mapping[str, Lookup]] = field(default_factory=dict)
    immutable: Mapping[str, str] = field(default_factory=dict)
    create_constraints: Mapping[str, CreateConstraint] = field(default_factory=dict)
    platform_constraints: Mapping[str, CreateConstraint] = field(default_factory=dict)
    bootstrap: Bootstrap | None = None
    resolve_run_owner: Callable[[Api, str], str] | None = None
    list_belonging: Callable[[Api, str], Sequence[ServerObject]] | None = None
    select_job_calls: Callable[[Api, str], JobCalls] | None = None
    final_call: FinalCall | None = None
    send_dry_run_probe: Callable[[Api], bool] | None = None
    extract_file_url: Callable[[ServerObject], str] | None = None
    read_only_advice: str = ""
    advice_by_refused_field: Mapping[str, str] = field(default_factory=dict)

    def determine_search_proof(self, key: str, capabilities: Capabilities) -> Lookup:
        """What a search for a natural key proves on a backend with these capabilities."""
        form = key.partition("=")[0]
        for capability, lookup in self.lookup_by_capability.items():
            if capabilities.has_capability(capability):
                return lookup.get(form, Lookup.NONE)
        return self.lookup.get(form, Lookup.NONE)


@frozen
class VerificationSpec:
    """How an object is verified: by a run of the object that its field `owner_field` refers to.

    `build_body` builds the run's body from a spec and its `verify:` block; `send_run` sends it for
    the owner's remote id and returns the answer; `list_jobs` gives the owner's jobs since a time,
    and may give older ones. Both raise RemoteError. `build_repair_command` gives the command to
    repair what failed its verification, for the owner's address.
    """

    owner_field: str
    build_body: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]
    send_run: Callable[[Api, str, Mapping[str, Any]], Mapping[str, Any]]
    list_jobs: Callable[[Api, str, datetime], Iterable[Mapping[str, Any]]]
    build_repair_command: Callable[[Address], Command] | None = None


class SeriesMember(NamedTuple):
    """Which series an object belongs to, and its version in it."""

    series: str
    version: str


@frozen
class ResourceType:
    """A kind of resource.

    - `kind` is its name in manifests, `prefix` in addresses; `rank` orders kinds that do not
      depend on each other.
    - `derive_natural_key` gives the identity FORM=TEXT from a spec and from the live
      objects that its reference fields point to, by field name; "" if these do not suffice.
    - `identity_fields` must be equal for a live object to be the recorded one; `confirming_fields`
      must be in the answer to a create as they were sent.
    - `key_fields` are the fields a server names when it refuses a create because the natural key
      is taken; `global_keys` are the forms of keys that are unique among all tenants.
    - `series_field` groups members of which a newer one supersedes the older; `version_field`
      orders them.
    - `carries_package`: a create uploads a package.
    - `update_hint`: the advice that is shown where this kind cannot be updated at all.
    - `verification_spec`: how an object is verified by a run, None if it cannot be.
    """

    kind: str
    prefix: str
    rank: int
    rules: Mapping[str, FieldRule]
    derive_natural_key: NaturalKey
    identity_fields: tuple[str, ...]
    bindings: Mapping[str, ApiBinding]
    confirming_fields: tuple[str, ...] = ()
    key_fields: frozenset[str] = frozenset()
    global_keys: frozenset[str] = frozenset()
    series_field: str = ""
    version_field: str = ""
    carries_package: bool = False
    update_hint: str = ""
    verification_spec: VerificationSpec | None = None
    # The field that, where it is true, lets the platform replace published bytes under a version.
    replaceable_if: str = ""

    def require_rule_of_field(self, path: tuple[Any, ...]) -> FieldRule:
        """The rule of the top-level field that contains a path; KeyError for an unknown one."""
        return self.rules[str(path[0])]

    def acts_again(self, create: Intent) -> bool:
        """Whether a create does something, too, where another object has its natural key.

        It makes a second one, or puts its package in the place of the one that is there.
        """
        if self.carries_package:
            return create.fields.get((self.replaceable_if,)) is True
        return create.natural_key.partition("=")[0] not in self.global_keys

    def is_unchangeable_field(self, binding: ApiBinding, name: Any) -> bool:
        """Whether this API version can never change a top-level field of an existing object."""
        return (
            binding.update_object is None
            or name in self.identity_fields
            or name in binding.immutable
            or (name in self.rules and self.rules[str(name)].immutable)
        )

    def locate_in_series(self, spec: Spec) -> SeriesMember:
        """Series and version of a declared spec as records have them; both "" without a series."""
        if not self.series_field:
            return SeriesMember("", "")
        group = spec.get(self.series_field)
        name = str(group.address) if isinstance(group, Reference) else f"id={group}"
        return SeriesMember(name, str(spec.get(self.version_field, "")))

    def select_newest_binding(self, api: Mapping[str, str]) -> ApiBinding:
        """The newest binding up to the version that `api` has for this kind, else for `*`.

        The oldest one where all are newer.
        """
        # Versions are compared as texts, which holds up to v9.
        newest_version = api.get(self.prefix, api.get("*", "v1"))
        usable = [version for version in sorted(self.bindings) if version <= newest_version]
        return self.bindings[usable[-1] if usable else min(self.bindings)]


Catalogue = Mapping[str, ResourceType]
