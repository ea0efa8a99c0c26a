"""Which live objects an export finds, by list, code, id, job or owner, and which it misses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import field
from typing import Self, TypeVar

from synapse_apply.kinds.descriptor import ApiBinding, ResourceType
from synapse_apply.kinds.wire import list_raw_objects, require_remote_id_of_answer
from synapse_apply.live.live_backend import LiveBackend
from synapse_apply.model.errors import (
    FINAL_READ_ERRORS,
    InputError,
    NotFound,
    RemoteError,
    describe_failure,
)
from synapse_apply.model.frozen import frozen
from synapse_apply.model.json_types import ServerObject
from synapse_apply.model.packages import VersionSortKey, version_sort_key
from synapse_apply.model.resource import Observed

NEWEST_MEMBERS, ALL_MEMBERS, NO_MEMBERS = "newest", "all", "none"
T = TypeVar("T")
R = TypeVar("R")


@frozen
class NamedObject:
    """An object selected by its id.

    `is_required`: named itself and not by a range, so that its absence is reported.
    """

    id: str
    is_required: bool = True


@frozen
class GatherQuery:
    """What to gather; of a kind without a selection, all that can be listed.

    `ids` are keyed by a kind's prefix; `members` is NEWEST_MEMBERS, ALL_MEMBERS or NO_MEMBERS of
    each series.
    """

    codes: tuple[str, ...] = ()
    ids: Mapping[str, Sequence[NamedObject]] = field(default_factory=dict)
    from_jobs: bool = False
    members: str = NEWEST_MEMBERS

    @classmethod
    def from_ids_and_ranges(
        cls,
        ids: Mapping[str, Iterable[str | range]],
        *,
        codes: tuple[str, ...],
        from_jobs: bool,
        members: str,
    ) -> Self:
        """A query for ids, which must be there, and for ranges of ids, by kind.

        InputError for `members` that there are not.
        """
        if members not in (NEWEST_MEMBERS, ALL_MEMBERS, NO_MEMBERS):
            raise InputError.from_summary(
                "Which releases?",
                f"{members!r} is not one of {NEWEST_MEMBERS}, {ALL_MEMBERS}, {NO_MEMBERS}.",
            )
        named: dict[str, list[NamedObject]] = {kind: [] for kind in ids}
        for kind, ids_and_ranges in ids.items():
            for one in ids_and_ranges:
                if isinstance(one, range):
                    named[kind] += (NamedObject(str(each), is_required=False) for each in one)
                else:
                    named[kind].append(NamedObject(str(one)))
        return cls(codes, named, from_jobs, members)


@frozen
class MissedObject:
    """An object or kind that could not be read, and why. `prefix` is that of its kind.

    Where `is_failure` is false, nobody asked for it.
    """

    prefix: str
    label: str
    reason: str
    is_failure: bool = True


def owner_prefix_of(kind: ResourceType) -> str:
    """The prefix of the kind that owns the series of this kind."""
    return kind.rules[kind.series_field].references


def format_name_with_id(observed: Observed) -> str:
    """A live object's code or name with its id, for messages."""
    name = observed.spec.get("code") or observed.spec.get("name")
    return (
        f"{name} (id {observed.remote_id})" if isinstance(name, str) else f"id {observed.remote_id}"
    )


def _id_order(remote_id: str) -> tuple[int, str]:
    """Ids that are numbers grow with time; others come first, in an order that stays the same."""
    return (int(remote_id) if remote_id.isdecimal() else 0, remote_id)


class ObjectGatherer:
    """Reads the selected objects of a backend, once.

    `list_gathered` returns the objects of a kind; `missed_objects` are those
    that could not be read.
    """

    def __init__(self, live_backend: LiveBackend, query: GatherQuery, pool: Executor) -> None:
        self._live_backend = live_backend
        self._api = live_backend.api
        self._bindings = {
            prefix: live_backend.select_binding(prefix) for prefix in live_backend.catalogue
        }
        self._query = query
        self._pool = pool
        self._objects: dict[str, dict[str, Observed]] = defaultdict(dict)
        self.missed_objects: list[MissedObject] = []

    def list_gathered(self, prefix: str) -> list[Observed]:
        """The gathered objects of a kind, sorted by id."""
        return sorted(self._objects[prefix].values(), key=lambda each: _id_order(each.remote_id))

    def gathered_by_id(self, prefix: str) -> Mapping[str, Observed]:
        """The gathered objects of a kind, by id."""
        return self._objects[prefix]

    def gather(self) -> None:
        """Read all selected objects. RemoteError where a list cannot be read."""
        query = self._query
        kinds = sorted(self._live_backend.catalogue.values(), key=lambda kind: kind.rank)
        ids_by_kind = {prefix: list(ids) for prefix, ids in query.ids.items()}
        # Named members first: they tell which owners have to be read as well.
        for kind in (kind for kind in kinds if kind.series_field and kind.prefix in ids_by_kind):
            self._read_by_ids(kind, ids_by_kind[kind.prefix])
            owners = {
                str(observed.spec.get(kind.series_field, ""))
                for observed in self.list_gathered(kind.prefix)
            }
            ids_by_kind.setdefault(owner_prefix_of(kind), []).extend(
                map(NamedObject, sorted(owners - {""}))
            )
        for kind in kinds:
            if not kind.series_field:
                self._gather_kind(kind, ids_by_kind.get(kind.prefix))
                continue
            # Members that were named by id are all: their owners are read only because of them.
            selects_owners = query.codes or query.from_jobs or owner_prefix_of(kind) in query.ids
            if query.members != NO_MEMBERS and (kind.prefix not in query.ids or selects_owners):
                self._gather_members(kind)

    def _gather_kind(self, kind: ResourceType, named_objects: Sequence[NamedObject] | None) -> None:
        """Read a kind's objects: those selected by id, job or code, else all that are listed."""
        binding = self._bindings[kind.prefix]
        selects_by_code = self._query.codes and any(
            "code" in forms for forms in (binding.lookup, *binding.lookup_by_capability.values())
        )
        ids_of_jobs = binding.iter_ids_named_by_jobs if self._query.from_jobs else None
        if named_objects is not None:
            self._read_by_ids(kind, named_objects)
        if ids_of_jobs is not None:
            # Of a job's plugin nobody said that it must be there: it may be deleted, or another's.
            ids = sorted(set(ids_of_jobs(self._api)))
            self._read_by_ids(kind, [NamedObject(each, is_required=False) for each in ids])
        if selects_by_code:
            self._gather_by_code(kind, binding)
        if named_objects is not None or ids_of_jobs is not None or selects_by_code:
            return
        raw_objects = list_raw_objects(self._api, binding)
        if raw_objects is not None:
            self._store_listed(kind, raw_objects)
        else:
            option_hint = f"--codes FILE, --ids {kind.prefix}=1-400 or --from-jobs"
            reason = f"this backend does not list them; select them with {option_hint}"
            self.missed_objects.append(
                MissedObject(kind.prefix, f"{kind.prefix}s", reason, is_failure=False)
            )

    def _gather_by_code(self, kind: ResourceType, binding: ApiBinding) -> None:
        raw_objects = list_raw_objects(self._api, binding)

        def find_by_code(code: str) -> Sequence[ServerObject]:
            key = f"code={code}"
            if raw_objects is not None:
                return [raw for raw in raw_objects if key in binding.list_natural_keys(raw)]
            return binding.find_by_key(self._api, key) if binding.find_by_key is not None else ()

        # Each once, in the order in which they were given.
        codes = list(dict.fromkeys(self._query.codes))
        for code, raws in self._fetch_all(kind, find_by_code, codes, lambda code: f" {code}"):
            self._store_listed(kind, raws)
            if not raws:
                reason = "none has this code"
                if raw_objects is None:
                    reason += ", or it has no release, and only --ids can find it"
                self._record_missed(kind, f" {code}", reason)

    def _gather_members(self, kind: ResourceType) -> None:
        binding = self._bindings[kind.prefix]
        owners = {owner.remote_id: owner for owner in self.list_gathered(owner_prefix_of(kind))}
        # One list of all members, if there is one, in place of a request for each owner.
        raw_objects = list_raw_objects(self._api, binding)
        if raw_objects is not None:
            groups: dict[str, list[ServerObject]] = defaultdict(list)
            for raw in raw_objects:
                spec = binding.decode(raw, self._live_backend.careful_marks).spec
                groups[str(spec.get(kind.series_field))].append(raw)
            for owner_id in owners:
                self._store_listed(kind, self._select_members(kind, groups[owner_id]))
            return

        def list_members(owner: Observed) -> Sequence[ServerObject] | None:
            members = binding.list_members_or_none
            return members(self._api, owner) if members is not None else None

        def describe(owner: Observed) -> str:
            return f"s of {format_name_with_id(owner)}"

        chosen_members: list[ServerObject] = []
        for owner, raws in self._fetch_all(kind, list_members, list(owners.values()), describe):
            if raws is None:
                reason = "this backend cannot list them by its code; name them with --ids"
                self._record_missed(kind, describe(owner), reason)
            chosen_members += self._select_members(kind, raws or ())
        self._store_listed(kind, chosen_members)

    def _select_members(
        self, kind: ResourceType, raws: Sequence[ServerObject]
    ) -> Sequence[ServerObject]:
        """All members of a series, or the newest: by version, else by id."""
        if self._query.members == ALL_MEMBERS or not raws:
            return raws

        def newness(
            raw: ServerObject,
        ) -> tuple[bool, VersionSortKey | tuple[()], tuple[int, str]]:
            key = version_sort_key(str(raw.get(kind.version_field, "")))
            return key is not None, key or (), _id_order(require_remote_id_of_answer(raw))

        return [max(raws, key=newness)]

    def _read_by_ids(self, kind: ResourceType, named_objects: Sequence[NamedObject]) -> None:
        binding = self._bindings[kind.prefix]
        required_ids = {each.id for each in named_objects if each.is_required}
        ids = list(dict.fromkeys(each.id for each in named_objects))

        def read_or_none(object_id: str) -> ServerObject | None:
            try:
                return binding.read_object(self._api, object_id)
            except NotFound:
                return None

        for object_id, raw in self._fetch_all(
            kind, read_or_none, ids, lambda object_id: f" id {object_id}"
        ):
            # A server may answer by id for objects of other tenants.
            if raw is not None and binding.belongs_to_tenant(self._api, raw):
                self._store_object(kind, raw)
            elif object_id in required_ids:
                reason = "it does not exist, or is hidden from this token"
                if raw is not None:
                    reason = "it belongs to another tenant"
                self._record_missed(kind, f" id {object_id}", reason)

    def _store_listed(self, kind: ResourceType, raws: Iterable[ServerObject]) -> None:
        """Store listed objects; where list items lack fields, read each object first."""
        if not self._bindings[kind.prefix].lists_whole_objects:
            self._read_by_ids(kind, [NamedObject(require_remote_id_of_answer(raw)) for raw in raws])
            return
        for raw in raws:
            self._store_object(kind, raw)

    def _store_object(self, kind: ResourceType, raw: ServerObject) -> None:
        binding = self._bindings[kind.prefix]
        observed = binding.decode(raw, self._live_backend.careful_marks)
        self._objects[kind.prefix][observed.remote_id] = observed

    def _fetch_all(
        self,
        kind: ResourceType,
        fetch: Callable[[T], R],
        items: Sequence[T],
        describe_item: Callable[[T], str],
    ) -> list[tuple[T, R]]:
        """Fetch items in parallel; returns results in order, and records each failure as missed."""

        def fetch_or_failure(item: T) -> R | RemoteError:
            try:
                return fetch(item)
            # A wrong token or a missing right holds for all that follow, so that it ends the whole.
            except FINAL_READ_ERRORS:
                raise
            except RemoteError as failure:
                return failure

        results: list[tuple[T, R]] = []
        for item, result in zip(items, self._pool.map(fetch_or_failure, items), strict=True):
            if isinstance(result, RemoteError):
                self._record_missed(kind, describe_item(item), describe_failure(result).rstrip("."))
            else:
                results.append((item, result))
        return results

    def _record_missed(self, kind: ResourceType, label_suffix: str, reason: str) -> None:
        self.missed_objects.append(
            MissedObject(kind.prefix, f"{kind.prefix}{label_suffix}", reason)
        )
