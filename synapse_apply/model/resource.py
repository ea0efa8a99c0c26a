"""What a resource is as it is declared for one target, and what a backend says of live objects."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import field
from enum import Enum
from typing import Any, NamedTuple

from synapse_apply.model.address import Address
from synapse_apply.model.dated_exception import DatedException, subjects_that_hold
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, Position, find_nearest_position
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.json_types import Spec
from synapse_apply.model.values import Fields, collect_references, flatten


@frozen
class Lifecycle:
    """The `lifecycle:` block; paths are relative to spec.

    `external`: somebody else manages the object, which is read and never written.
    `sensitive` are fields that hold secrets, beside those that the kind's schema marks.
    `exceptions` are the paths that are ignored until a day; `ignore_changes` has them after `at`.
    """

    prevent_destroy: bool = False
    ignore_changes: tuple[FieldPath, ...] = ()
    own: tuple[FieldPath, ...] = ()
    sensitive: tuple[FieldPath, ...] = ()
    exceptions: tuple[DatedException, ...] = ()
    external: bool = False

    def at(self, today: str) -> Lifecycle:
        """The lifecycle as it is on a day: ignored fields also by exceptions that hold."""
        paths = subjects_that_hold(self.exceptions, today)
        return replace(self, ignore_changes=(*self.ignore_changes, *paths)) if paths else self


def shorten_git_ref(ref: str) -> str:
    """A Git ref for messages; a full commit id is cut to 7 digits."""
    is_commit_id = len(ref) in (40, 64) and all(
        character in "0123456789abcdef" for character in ref
    )
    return ref[:7] if is_commit_id else ref


# The kinds of a PackageSource.
FOLDER, GIT, FILE, PUBLISHED = "folder", "git", "file", "published"


@frozen
class PackageSource:
    """Where a release's bytes come from.

    `kind` is FOLDER, GIT (folder at `ref`), FILE (a zip built elsewhere) or PUBLISHED (the bytes
    are not ours). `path` is relative to the project's root, always with forward slashes.
    """

    kind: str
    path: str = ""
    ref: str = ""
    position: Position | None = None

    def __str__(self) -> str:
        return f"{self.path} at {self.short_ref}" if self.ref else (self.path or self.kind)

    @property
    def short_ref(self) -> str:
        """The Git ref for messages."""
        return shorten_git_ref(self.ref)


@frozen
class Package:
    """The content of a package source; `digest` is `pkg1:sha256:HEX` over its canonical form.

    `files` maps each path to `SHA256HEX` or `SHA256HEX x` (executable); `size` is in bytes.
    """

    digest: str
    files: Mapping[str, str]
    size: int
    source: PackageSource


@frozen
class Desired:
    """One declared resource.

    `spec` is a nested map of the kind's fields under the API's own names, holding JSON,
    SecretRef and Reference values; settings that are no field of the object (source, verify, from)
    are not in it. `retain`: how many of the newest members of its series are kept. `positions` maps
    a path relative to the document to its position.
    """

    address: Address
    spec: Spec
    labels: Mapping[str, str] = field(default_factory=dict)
    lifecycle: Lifecycle = Lifecycle()
    remote_id: str | None = None
    depends_on: tuple[Address, ...] = ()
    source: PackageSource | None = None
    package: Package | None = None
    verify: Mapping[str, Any] | None = None
    retain: int | None = None
    position: Position | None = None
    positions: Mapping[FieldPath, Position] = field(default_factory=dict)

    @property
    def is_external(self) -> bool:
        """Whether somebody else manages the object, so that it is never written."""
        return self.lifecycle.external

    @property
    def needs(self) -> tuple[Address, ...]:
        """The addresses that it refers to, or names in `depends_on`, sorted."""
        references = (reference.address for reference in collect_references(self.spec))
        return tuple(sorted({*references, *self.depends_on}))

    def find_position(self, path: FieldPath) -> Position | None:
        """The position of a spec field, or of the nearest field above it that has one."""
        return find_nearest_position(self.positions, ("spec", *path)) or self.position


class Lookup(Enum):
    """What a search by natural key proves.

    COMPLETE: no hit proves absence. POSITIVE: a hit proves existence, no hit proves nothing. NONE:
    there is no search.
    """

    COMPLETE = "complete"
    POSITIVE = "positive"
    NONE = "none"


class FoundBy(Enum):
    """How the live object of an address was identified."""

    PIN = "pin"
    RECORD = "record"
    KEY = "key"


class ObjectKey(NamedTuple):
    """Which object of a backend: each API version numbers the objects of a kind on its own."""

    kind: str
    api: str
    remote_id: str


@frozen
class Observed:
    """One live object. `spec` holds only fields of the kind, secrets wrapped or withheld.

    `missing_fields` are the kind's fields that the answer does not have; `partial_fields`
    those whose content is not complete, so that a missing key proves nothing. `is_platform_owned`:
    nobody but the platform may change it. `owner` is who its mark says manages it, "" without one.
    """

    remote_id: str
    api: str
    spec: Spec
    extra: Mapping[str, Any] = field(default_factory=dict)
    missing_fields: frozenset[str] = frozenset()
    partial_fields: frozenset[str] = frozenset()
    is_platform_owned: bool = False
    owner: str = ""
    _fields: Fields | None = field(default=None, init=False, repr=False, compare=False)

    def describe_other_owner(self, owners: Collection[str]) -> str:
        """The end of a sentence that names both where its mark is of none of these; else ""."""
        if not self.owner or self.owner in owners:
            return ""
        own = f"belongs to {', '.join(owners)}" if owners else "has no `owners`"
        return f"is marked as managed by {self.owner}, and this project {own}"

    def flatten_spec(self) -> Fields:
        """The fields of `spec` by path, computed once."""
        if self._fields is None:
            self._fields = flatten(self.spec)  # type: ignore[misc] # no other value is changed
        return self._fields


@frozen
class LookupResult:
    """What reading and searching found for one address.

    No `observed` and no `problem` means absent as far as `lookup` can tell. A read that failed is
    a problem, never absence.
    """

    address: Address
    observed: Observed | None = None
    found_by: FoundBy | None = None
    lookup: Lookup = Lookup.NONE
    problem: Diagnostic | None = None


@frozen
class Capabilities:
    """What a backend was found to support, once for each run, such as `plugin.list`: True."""

    facts: Mapping[str, bool] = field(default_factory=dict)

    def has_capability(self, name: str) -> bool:
        """Whether the backend was found to support this."""
        return self.facts.get(name, False)
