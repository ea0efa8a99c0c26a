"""ResourceType, FieldRule and Binding: everything the engine knows of a kind, as data."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from enum import Enum
from typing import TYPE_CHECKING, Any

from synapse_apply.model.frozen import frozen
from synapse_apply.model.marks import SecretMarks
from synapse_apply.model.observed import Capabilities, Lookup, Observed
from synapse_apply.model.values import ABSENT, Reference

if TYPE_CHECKING:
    from datetime import datetime

    from synapse_apply.model.ports import Api, IsOfUse, JobCalls

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

    `free_form` maps are merged key by key and a dropped key is removed; `reset` is sent when a
    manifest drops the field (ABSENT: it cannot be dropped). `immutable` fields never change once
    created. `write_only` fields are not in answers. `references` names the kind whose remote id
    stands in the field. `fixed_hint` is the way out shown when a change is refused. `packaged`
    fields are the package's own on the platform: what was sent is compared only where the server
    showed it so, and two objects are not told apart by them. `usual` is the value that most objects
    have of a field that is sent only where it is declared, and exported only where it is another.
    """

    name: str
    required: bool = False
    immutable: bool = False
    free_form: bool = False
    write_only: bool = False
    reset: Any = ABSENT
    compare: Compare = Compare.EXACT
    references: str = ""
    fixed_hint: str = ""
    packaged: bool = False
    usual: Any = ABSENT


@frozen
class Takes:
    """What one API version asks of a declared value, beyond the manifest's schema.

    `required`: nothing can be declared without the field; `to_create`: nothing can be made without
    it. `pattern` (of the whole text) and `choices` hold for what is made; an object that is there
    may have other values. `words` say what is taken.
    """

    words: str
    required: bool = False
    to_create: bool = False
    pattern: str = ""
    choices: frozenset[str] = frozenset()

    def fits(self, value: Any) -> bool:
        """Whether a create may send this value."""
        if self.choices and value not in self.choices:
            return False
        return not self.pattern or re.fullmatch(self.pattern, str(value)) is not None


@frozen
class Bootstrap:
    """A create that makes the first member of another kind along with its own object.

    `kind` is the member's prefix. `body` makes one body of both; the member's has no reference to
    what is not there yet. `member` takes the member out of the answer, as its own Binding decodes
    it; None where the answer does not show it.
    """

    kind: str
    body: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]
    member: Callable[[Raw], Raw | None]


@frozen
class Seal:
    """The last call of an object, made when all else of it is done, that nothing takes back.

    It turns the field `name` true; a create does not send the field. `verb` is its intent's,
    `words` are shown wherever it is planned.
    """

    name: str
    verb: str
    call: Callable[[Api, str], Raw]
    words: str


@frozen
class Binding:
    """What one (kind, API version) can do. A missing verb is None, never an exception.

    `read` takes a remote id, `create` a body and a key by which a server may know a repeat of it
    ("" for none). `list` gives every object once a run (where the capability
    `list_needs`, if any, is there: 404 and 405 say no) and `keys` the natural keys of a listed one;
    `list_is_whole` when items are whole objects. `glance` reads the list once, without a proof that
    nothing is missing: at most so many pages, and no more than the first if its items are of no
    use (None then). Whether items are whole may differ by the field `varies_by`. `has_list` asks
    for the capability alone, by one small request. `find` searches one natural key where there is
    no list. `members` gives what belongs to one live owner of a kind that is listed by owner
    only, None where this owner has none that could be listed; `named_by_jobs` the ids of a
    kind's objects that jobs name. `decode` turns a server object into an Observed with its secrets
    wrapped; `encode` turns resolved spec fields into the body of a create, or of an update. All
    raise RemoteError as the client does.

    `preferred` gives fields of a create as the platform's own service takes them, of the same spec
    and its natural key. They are sent in the place of what `encode` gives; a field that the server
    refuses, and nothing else with it, is sent once more as `encode` has it.

    `is_ours` tells whether a listed object is the tenant's: `list` and `find` give no other.

    A natural key reads FORM=TEXT (`code=yolo`); `lookup` tells for each form what a search
    proves, a form it lacks cannot be searched. `lookup_if` replaces it when a probed capability
    is there.

    `immutable` fields never change here, beside those that no version changes: the way out by
    field. `takes` says what values a version wants, `platform_takes` what the platform's own
    service wants of a version that leaves them free on its page. `runs_as` gives the name by which
    the calls of the kind's proof know the owner with this remote id, where those are of another
    version.
    `belonging` lists the objects of the owner with this remote id. `harmless` is there where the
    server can be asked to check a call and not to act on it: it sends one that changes nothing
    even where the server does not know this; False where it finds no object to send it about.
    `jobs_of` gives the calls that tell of the job with this id, where those are not v1's.
    `file_of` gives the URL of the bytes that an object was published with, "" where it shows none;
    the URL is a credential.
    `read_only` says what to do where a backend answers a change with 405, `if_refused` what to do
    where a 400 on a create names one of these fields, which no manifest of the kind has.
    """

    api: str
    fields: frozenset[str]
    lookup: Mapping[str, Lookup]
    read: Callable[[Api, str], Raw]
    create: Callable[[Api, Mapping[str, Any], str], Raw]
    decode: Callable[[Raw, SecretMarks], Observed]
    encode: Callable[[Mapping[str, Any]], dict[str, Any]]
    preferred: Callable[[Mapping[str, Any], str], Mapping[str, Any]] = lambda _spec, _key: {}
    find: Callable[[Api, str], Sequence[Raw]] | None = None
    list: Callable[[Api], Sequence[Raw]] | None = None
    list_needs: str = ""
    has_list: Callable[[Api], bool] | None = None
    members: Callable[[Api, Observed], Sequence[Raw] | None] | None = None
    named_by_jobs: Callable[[Api], Iterable[str]] | None = None
    list_is_whole: bool = False
    glance: Callable[[Api, int, IsOfUse], Sequence[Raw] | None] | None = None
    varies_by: str = ""
    keys: Callable[[Raw], tuple[str, ...]] = lambda _raw: ()
    is_ours: Callable[[Api, Raw], bool] = lambda _api, _raw: True
    update: Callable[[Api, str, Mapping[str, Any]], Raw] | None = None
    update_mode: UpdateMode = UpdateMode.PUT
    delete: Callable[[Api, str], None] | None = None
    lookup_if: Mapping[str, Mapping[str, Lookup]] = field(default_factory=dict)
    immutable: Mapping[str, str] = field(default_factory=dict)
    takes: Mapping[str, Takes] = field(default_factory=dict)
    platform_takes: Mapping[str, Takes] = field(default_factory=dict)
    bootstraps: Bootstrap | None = None
    runs_as: Callable[[Api, str], str] | None = None
    belonging: Callable[[Api, str], Sequence[Raw]] | None = None
    jobs_of: Callable[[Api, str], JobCalls] | None = None
    seal: Seal | None = None
    harmless: Callable[[Api], bool] | None = None
    file_of: Callable[[Raw], str] | None = None
    read_only: str = ""
    if_refused: Mapping[str, str] = field(default_factory=dict)

    def proves(self, key: str, capabilities: Capabilities) -> Lookup:
        """What a search for this natural key proves on this backend."""
        form = key.partition("=")[0]
        for capability, lookup in self.lookup_if.items():
            if capabilities.has(capability):
                return lookup.get(form, Lookup.NONE)
        return self.lookup.get(form, Lookup.NONE)


@frozen
class Proof:
    """How a thing proves itself: by a run of the object that the field `owner` refers to.

    `body` makes what is sent of a spec and its `verify:` block, `run` sends it for the owner's
    remote id and gives the server's answer. `jobs` are the owner's jobs since a time;
    it may give more. Both raise RemoteError. `mend` says what to do when what was
    published is wrong; `{owner}` in it is the owner's name.
    """

    owner: str
    body: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]]
    run: Callable[[Api, str, Mapping[str, Any]], Mapping[str, Any]]
    jobs: Callable[[Api, str, datetime], Iterable[Mapping[str, Any]]]
    mend: str = ""


@frozen
class ResourceType:
    """A kind.

    `kind` is its name in manifests, `prefix` in addresses; `rank` orders kinds that do not depend
    on each other. `natural_key` derives the identity FORM=TEXT from a spec and from the live
    objects its reference fields point to, by field name ("" where they do not give one).
    `identity` are the fields that make a live object the one recorded; `telling` others that an
    answer to a create must show as they were sent. `key_fields` are those that a server names when
    it refuses a create because the natural key is taken; `global_keys` the forms of keys that are
    taken for every tenant. `series`: a newer member
    supersedes the older; it names the field that groups members, `version` the one that orders
    them. `carries_package`: a create uploads a package. `update_hint` is the way out shown where
    this kind cannot be updated at all. `proof`: how such an object proves itself, where it can.
    """

    kind: str
    prefix: str
    rank: int
    rules: Mapping[str, FieldRule]
    natural_key: NaturalKey
    identity: tuple[str, ...]
    bindings: Mapping[str, Binding]
    telling: tuple[str, ...] = ()
    key_fields: frozenset[str] = frozenset()
    global_keys: frozenset[str] = frozenset()
    series: str = ""
    version: str = ""
    carries_package: bool = False
    update_hint: str = ""
    proof: Proof | None = None
    # The field that, where it is true, lets the platform replace published bytes under a version.
    replaced_if: str = ""

    def rule(self, path: tuple[Any, ...]) -> FieldRule:
        """The rule of the top-level field a path lies in."""
        return self.rules[str(path[0])]

    def is_fixed(self, binding: Binding, name: Any) -> bool:
        """Whether this API can never change this top-level field of an object that exists."""
        return (
            binding.update is None
            or name in self.identity
            or name in binding.immutable
            or (name in self.rules and self.rules[str(name)].immutable)
        )

    def place_in_series(self, spec: Mapping[str, Any]) -> tuple[str, str]:
        """(series, version) of a declared spec, as records keep them; ("", "") without series."""
        if not self.series:
            return "", ""
        group = spec.get(self.series)
        name = str(group.address) if isinstance(group, Reference) else f"id={group}"
        return name, str(spec.get(self.version, ""))

    def binding(self, api: Mapping[str, str]) -> Binding:
        """The newest binding up to the version a target names for this kind (or for all)."""
        wanted = api.get(self.prefix, api.get("*", "v1"))
        usable = [version for version in sorted(self.bindings) if version <= wanted]
        return self.bindings[usable[-1] if usable else min(self.bindings)]


Catalogue = Mapping[str, ResourceType]
