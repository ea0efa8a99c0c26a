"""ResourceType, FieldRule and Binding: everything the engine knows of a kind, as data."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from enum import Enum
from typing import TYPE_CHECKING, Any

from synapse_apply.model.frozen import frozen
from synapse_apply.model.observed import Capabilities, Lookup, Observed
from synapse_apply.model.secrets.secret_marks import SecretMarks
from synapse_apply.model.values import ABSENT, Reference

if TYPE_CHECKING:
    from datetime import datetime

    from synapse_apply.model.ports import Api, JobCalls, PagePredicate

Raw = Mapping[str, Any]
NaturalKey = Callable[[Mapping[str, Any], Mapping[str, Observed]], str]


class Compare(Enum):
    """How two values of a field are equal: as JSON, or as lists whose order means nothing."""

    EXACT = "exact"
    SET = "set"


class UpdateMode(Enum):
    """PUT sends every writable field, PATCH only what changed."""

    PUT = "put"
    PATCH = "patch"


@frozen
class FieldRule:
    """What holds for a top-level spec field and everything below it.

    `free_form` maps are merged key by key and a dropped key is removed; `reset_value` is sent when
    a manifest drops the field (ABSENT: it cannot be dropped). `immutable` fields never change once
    created. `write_only` fields are not in answers. `references` names the kind whose remote id
    stands in the field. `fixed_hint` is the way out shown when a change is refused. `packaged`
    fields are the package's own on the platform: what was sent is compared only where the server
    showed it so, and two objects are not told apart by them. `usual_value` is the value that most
    objects have of a field that is sent only where it is declared, and exported only where it is
    another.
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
    """What one API version asks of a declared value, beyond the manifest's schema.

    `required`: nothing can be declared without the field; `required_to_create`: nothing can be made
    without it. `pattern` (of the whole text) and `choices` hold for what is made; an object that is
    there may have other values. `description` say what is taken.
    """

    description: str
    required: bool = False
    required_to_create: bool = False
    pattern: str = ""
    choices: frozenset[str] = frozenset()

    def accepts_value(self, value: Any) -> bool:
        """Whether a create may send this value."""
        if self.choices and value not in self.choices:
            return False
        return not self.pattern or re.fullmatch(self.pattern, str(value)) is not None


@frozen
class Bootstrap:
    """A create that makes the first member of another kind along with its own object.

    `kind` is the member's prefix. `build_body` makes one body of both; the member's has no
    reference to what is not there yet. `extract_member` takes the member out of the answer, as its
    own Binding decodes it; None where the answer does not show it.
    """

    kind: str
    build_body: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]
    extract_member: Callable[[Raw], Raw | None]


# It comes after the run, so that nothing unverified is locked; the verb of its intent is its own.
@frozen
class FinalCall:
    """The last call of an object, made when all else of it is done, that nothing takes back.

    It turns the field `name` true; a create does not send the field. `verb` is its intent's,
    `warning` are shown wherever it is planned.
    """

    name: str
    verb: str
    send_call: Callable[[Api, str], Raw]
    warning: str


@frozen
class ApiBinding:
    """What one (kind, API version) can do. A missing verb is None, never an exception.

    `read_object` takes a remote id, `create_object` a body and a key by which a server may know a
    repeat of it ("" for none). `list_objects` gives every object once a run (where the capability
    `list_capability`, if any, is there: 404 and 405 say no) and `list_natural_keys` the natural
    keys of a listed one; `lists_whole_objects` when items are whole objects. `list_partially` reads
    the list once, without a proof that nothing is missing: at most so many pages, and no more than
    the first if its items are of no use (None then). Whether items are whole may differ by the
    field `variety_field`. `probe_list` asks for the capability alone, by one small request.
    `find_by_key` searches one natural key where there is no list. `list_members` gives what belongs
    to one live owner of a kind that is listed by owner only, None where this owner has none that
    could be listed; `iter_ids_named_by_jobs` the ids of a kind's objects that jobs name. `decode`
    turns a server object into an Observed with its secrets wrapped; `encode` turns resolved spec
    fields into the body of a create, or of an update. All raise RemoteError as the client does.

    `encode_for_platform` gives fields of a create as the platform's own service takes them, of the
    same spec and its natural key. They are sent in the place of what `encode` gives; a field that
    the server refuses, and nothing else with it, is sent once more as `encode` has it.

    `belongs_to_tenant` tells whether a listed object is the tenant's: `list_objects` and
    `find_by_key` give no other.

    A natural key reads FORM=TEXT (`code=yolo`); `lookup` tells for each form what a search proves,
    a form it lacks cannot be searched. `lookup_by_capability` replaces it when a probed capability
    is there.

    `immutable` fields never change here, beside those that no version changes: the way out by
    field. `create_constraints` says what values a version wants, `platform_constraints` what the
    platform's own service wants of a version that leaves them free on its page. `resolve_run_owner`
    gives the name by which the calls of the kind's proof know the owner with this remote id, where
    those are of another version. `list_belonging` lists the objects of the owner with this remote
    id. `send_dry_run_probe` is there where the server can be asked to check a call and not to act
    on it: it sends one that changes nothing even where the server does not know this; False where
    it finds no object to send it about. `select_job_calls` gives the calls that tell of the job
    with this id, where those are not v1's. `extract_file_url` gives the URL of the bytes that an
    object was published with, "" where it shows none; the URL is a credential. `read_only_advice`
    says what to do where a backend answers a change with 405, `advice_by_refused_field` what to do
    where a 400 on a create names one of these fields, which no manifest of the kind has.
    """

    api: str
    fields: frozenset[str]
    lookup: Mapping[str, Lookup]
    read_object: Callable[[Api, str], Raw]
    create_object: Callable[[Api, Mapping[str, Any], str], Raw]
    decode: Callable[[Raw, SecretMarks], Observed]
    encode: Callable[[Mapping[str, Any]], dict[str, Any]]
    encode_for_platform: Callable[[Mapping[str, Any], str], Mapping[str, Any]] = (
        lambda _spec, _key: {}
    )
    find_by_key: Callable[[Api, str], Sequence[Raw]] | None = None
    list_objects: Callable[[Api], Sequence[Raw]] | None = None
    list_capability: str = ""
    probe_list: Callable[[Api], bool] | None = None
    list_members: Callable[[Api, Observed], Sequence[Raw] | None] | None = None
    iter_ids_named_by_jobs: Callable[[Api], Iterable[str]] | None = None
    lists_whole_objects: bool = False
    list_partially: Callable[[Api, int, PagePredicate], Sequence[Raw] | None] | None = None
    variety_field: str = ""
    list_natural_keys: Callable[[Raw], tuple[str, ...]] = lambda _raw: ()
    belongs_to_tenant: Callable[[Api, Raw], bool] = lambda _api, _raw: True
    update_object: Callable[[Api, str, Mapping[str, Any]], Raw] | None = None
    update_mode: UpdateMode = UpdateMode.PUT
    delete_object: Callable[[Api, str], None] | None = None
    lookup_by_capability: Mapping[str, Mapping[str, Lookup]] = field(default_factory=dict)
    immutable: Mapping[str, str] = field(default_factory=dict)
    create_constraints: Mapping[str, CreateConstraint] = field(default_factory=dict)
    platform_constraints: Mapping[str, CreateConstraint] = field(default_factory=dict)
    bootstrap: Bootstrap | None = None
    resolve_run_owner: Callable[[Api, str], str] | None = None
    list_belonging: Callable[[Api, str], Sequence[Raw]] | None = None
    select_job_calls: Callable[[Api, str], JobCalls] | None = None
    final_call: FinalCall | None = None
    send_dry_run_probe: Callable[[Api], bool] | None = None
    extract_file_url: Callable[[Raw], str] | None = None
    read_only_advice: str = ""
    advice_by_refused_field: Mapping[str, str] = field(default_factory=dict)

    def lookup_proof(self, key: str, capabilities: Capabilities) -> Lookup:
        """What a search for this natural key proves on this backend."""
        form = key.partition("=")[0]
        for capability, lookup in self.lookup_by_capability.items():
            if capabilities.has_capability(capability):
                return lookup.get(form, Lookup.NONE)
        return self.lookup.get(form, Lookup.NONE)


@frozen
class VerificationSpec:
    """How a thing proves itself: by a run of the object that the field `owner_field` refers to.

    `build_body` makes what is sent of a spec and its `verify:` block, `send_run` sends it for the
    owner's remote id and gives the server's answer. `list_jobs` are the owner's jobs since a time;
    it may give more. Both raise RemoteError. `repair_advice` says what to do when what was
    published is wrong; `{owner}` in it is the owner's name.
    """

    owner_field: str
    build_body: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]
    send_run: Callable[[Api, str, Mapping[str, Any]], Mapping[str, Any]]
    list_jobs: Callable[[Api, str, datetime], Iterable[Mapping[str, Any]]]
    repair_advice: str = ""


@frozen
class ResourceType:
    """A kind.

    `kind` is its name in manifests, `prefix` in addresses; `rank` orders kinds that do not depend
    on each other. `derive_natural_key` derives the identity FORM=TEXT from a spec and from the live
    objects its reference fields point to, by field name ("" where they do not give one).
    `identity_fields` are the fields that make a live object the one recorded; `confirming_fields`
    others that an answer to a create must show as they were sent. `key_fields` are those that a
    server names when it refuses a create because the natural key is taken; `global_keys` the forms
    of keys that are taken for every tenant. `series_field`: a newer member supersedes the older; it
    names the field that groups members, `version_field` the one that orders them.
    `carries_package`: a create uploads a package. `update_hint` is the way out shown where this
    kind cannot be updated at all. `verification_spec`: how such an object proves itself, where it
    can.
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

    def find_rule(self, path: tuple[Any, ...]) -> FieldRule:
        """The rule of the top-level field a path lies in."""
        return self.rules[str(path[0])]

    def is_unchangeable_field(self, binding: ApiBinding, name: Any) -> bool:
        """Whether this API can never change this top-level field of an object that exists."""
        return (
            binding.update_object is None
            or name in self.identity_fields
            or name in binding.immutable
            or (name in self.rules and self.rules[str(name)].immutable)
        )

    def locate_in_series(self, spec: Mapping[str, Any]) -> tuple[str, str]:
        """(series, version) of a declared spec, as records keep them; ("", "") without series."""
        if not self.series_field:
            return "", ""
        group = spec.get(self.series_field)
        name = str(group.address) if isinstance(group, Reference) else f"id={group}"
        return name, str(spec.get(self.version_field, ""))

    def select_binding(self, api: Mapping[str, str]) -> ApiBinding:
        """The newest binding up to the version a target names for this kind (or for all)."""
        newest_version = api.get(self.prefix, api.get("*", "v1"))
        usable = [version for version in sorted(self.bindings) if version <= newest_version]
        return self.bindings[usable[-1] if usable else min(self.bindings)]


Catalogue = Mapping[str, ResourceType]
