"""How the live object of every address is found: by pin, by record, by natural key, in this order.

A read that failed is a problem of its address, never absence (design section 5). A failure that
concerns every address (no list, a wrong token, an unreachable backend) is met once and reported
once.

A full list proves absence: the client reads it until two readings agree. A list that is read once
proves presence alone, and what it lacks is read by its id. An item counts for a read of its object
only if a read of a similar object has shown the same field values.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import field
from functools import partial
from threading import Lock
from typing import Any, NamedTuple

from synapse_apply.kinds import wire
from synapse_apply.kinds.descriptor import Api, ApiBinding, Catalogue, ResourceType
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, error_finding, warning_finding
from synapse_apply.model.errors import (
    FINAL_READ_ERRORS,
    FOREIGN_ANSWER_ADVICE,
    NotFound,
    RemoteError,
    RemoteTimeout,
    advise_on_failure,
    has_odd_success,
)
from synapse_apply.model.frozen import mutable, replace
from synapse_apply.model.json_types import ServerObject
from synapse_apply.model.parallel_reads import open_thread_pool
from synapse_apply.model.resource import (
    Capabilities,
    Desired,
    FoundBy,
    Lookup,
    LookupResult,
    Observed,
)
from synapse_apply.model.secrets.secret_marks import SecretMarks
from synapse_apply.model.state import Record
from synapse_apply.model.values import Reference, WithheldSecret, flatten, is_map

# Fewer recorded objects are each read by id: a list would cost more, whatever it contains.
MIN_RECORDED = 20
# About how many reads by id cost a server as much as one page of a list.
_READS_PER_PAGE = 4
# Of a list that is only looked at for duplicates a plan reads so many pages; doctor reads all.
_MAX_PAGES = 2


class ListUnavailableError(RemoteError):
    """The list of a kind could not be read; `finding` is the problem of all its resources."""

    def __init__(self, finding: Diagnostic) -> None:
        super().__init__(finding.detail)
        self.finding = finding


class _Coverage(NamedTuple):
    """The field names of an item, and which of its `fields` equal those of a read of the object."""

    names: AbstractSet[str]
    fields: frozenset[str]


@mutable
class _Listed:
    """What was read of the list of one kind.

    `full` is all of it, once `is_read`; None if this backend has no such list. `items` are those
    that may stand for their objects, by id; None if none are to be used. `first_page` is also that
    of a list which was then found to be useless.
    """

    is_read: bool = False
    full: Sequence[ServerObject] | None = None
    failure: ListUnavailableError | None = None
    by_key: Mapping[str, Sequence[ServerObject]] | None = None
    by_owner: Mapping[str, list[Observed]] | None = None
    items: dict[str, ServerObject] | None = None
    first_page: Sequence[ServerObject] = ()
    coverage_by_variety: dict[Any, _Coverage] = field(default_factory=dict)


class Lists:
    """The lists of one run, by a kind's prefix; may be used by several threads."""

    def __init__(self, api: Api, bindings: Mapping[str, ApiBinding], marks: SecretMarks) -> None:
        """`marks` may be replaced before anything is observed."""
        self.bindings = bindings
        self.marks = marks
        self._api = api
        self._listed = {prefix: _Listed() for prefix in bindings}
        self._lock = Lock()

    def capabilities(self, kinds: Iterable[str] = ()) -> Capabilities:
        """Whether the backend has the lists that were asked for until now, these kinds' included.

        Errors as `full`.
        """
        for prefix in kinds:
            if prefix in self.bindings and self.bindings[prefix].list_capability:
                self.full(prefix)
        return Capabilities(
            {
                binding.list_capability: self._listed[prefix].full is not None
                for prefix, binding in self.bindings.items()
                if binding.list_capability and self._listed[prefix].is_read
            }
        )

    def full(self, prefix: str) -> Sequence[ServerObject] | None:
        """All objects of a kind; None where this backend has no list of it.

        Raises ListUnavailableError for a list that could not be read, now or before, and other
        RemoteErrors that say nothing about the list.
        """
        listed = self._listed[prefix]
        with self._lock:
            if listed.failure is not None:
                raise listed.failure
            if not listed.is_read:
                try:
                    listed.full = wire.list_raw_objects(self._api, self.bindings[prefix])
                except (*FINAL_READ_ERRORS, RemoteTimeout):
                    raise
                except RemoteError as failure:
                    listed.failure = ListUnavailableError(read_failure_finding(None, failure))
                    raise listed.failure from None
                listed.is_read = True
        return listed.full

    def with_key(self, prefix: str, key: str) -> Sequence[ServerObject] | None:
        """The objects of a kind with this natural key, as listed; None and errors as `full`."""
        raws, listed = self.full(prefix), self._listed[prefix]
        if raws is None:
            return None
        with self._lock:
            if listed.by_key is None:
                index: dict[str, list[ServerObject]] = defaultdict(list)
                for raw in raws:
                    for each in self.bindings[prefix].list_natural_keys(raw):
                        index[each].append(raw)
                listed.by_key = index
        return listed.by_key.get(key, ())

    def observe_with_key(self, prefix: str, binding: ApiBinding, key: str) -> list[Observed] | None:
        """The objects with this natural key, read in full.

        None where this backend has no such list, or the key is of another API version.
        """
        raws = self.with_key(prefix, key) if binding is self.bindings[prefix] else None
        if raws is None:
            return None
        matches = wire.read_in_full(self._api, binding, raws)
        return [binding.decode(raw, self.marks) for raw in matches]

    def members(self, kind: ResourceType, owner: Observed) -> list[Observed] | None:
        """The objects of an owner's series; None where this backend cannot list them."""
        binding, listed = self.bindings[kind.prefix], self._listed[kind.prefix]
        if owner.api != binding.api:
            return None
        raws = self.full(kind.prefix)
        if raws is None:
            raws = wire.list_members_or_none(self._api, binding, owner)
            return None if raws is None else [binding.decode(raw, self.marks) for raw in raws]
        with self._lock:
            if listed.by_owner is None:
                groups: dict[str, list[Observed]] = defaultdict(list)
                for raw in raws:  # also those without a natural key
                    observed = binding.decode(raw, self.marks)
                    groups[str(observed.spec.get(kind.series_field))].append(observed)
                listed.by_owner = groups
        return listed.by_owner.get(owner.remote_id, [])

    def look_over(
        self, prefix: str, owners: Callable[[], Sequence[Observed]]
    ) -> Iterable[ServerObject]:
        """What was listed of a kind, else a list of few pages or owners; never raises.

        What the plan itself needs of a list says what is wrong with it.
        """
        listed, binding = self._listed[prefix], self.bindings[prefix]
        if listed.full is not None:
            return listed.full
        if binding.list_objects is None and binding.list_members_or_none is not None:
            # What is asked for one by one is bounded as the pages of a list are.
            own = owners()
            return list_of_owners(self._api, binding, own) if len(own) <= _MAX_PAGES else ()
        if known := tuple((listed.items or {}).values()) or listed.first_page:
            return known
        if binding.list_once_or_none is not None:
            with suppress(RemoteError):
                return binding.list_once_or_none(self._api, _MAX_PAGES, lambda _items: True) or ()
        return ()

    def read_once(
        self, prefix: str, recorded_count: int, compared: Iterable[Iterable[FieldPath]]
    ) -> None:
        """Read the list of a kind once, if that saves reads of `recorded_count` objects.

        `compared` has the paths to be compared of each. A failure is not reported: the reads by
        id, which then follow, report it.
        """
        listed, binding = self._listed[prefix], self.bindings[prefix]
        if binding.list_once_or_none is None or listed.items is not None:
            return
        listed.items = {}

        def judge_first_page(items: Sequence[ServerObject]) -> bool:
            listed.first_page = items
            if not items:
                return False
            reliable = self._reliable_fields(prefix, items[0])
            return any(reliable.issuperset(path[0] for path in paths) for paths in compared)

        # A list must not take more time than the reads it saves, hence the limit on its pages.
        with suppress(RemoteError):
            max_pages = recorded_count // _READS_PER_PAGE
            raws = binding.list_once_or_none(self._api, max_pages, judge_first_page)
            self._use_items(listed, raws or ())

    def use_full(self, prefix: str) -> None:
        """Let the items of the full list stand for their objects; RemoteError as `full`."""
        self._use_items(self._listed[prefix], self.full(prefix) or ())

    def item(self, prefix: str, remote_id: str) -> ServerObject | None:
        """The listed item of this id; None if the object must be read."""
        return (self._listed[prefix].items or {}).get(remote_id)

    def observe(
        self, prefix: str, item: ServerObject, paths: Iterable[FieldPath], marks: SecretMarks
    ) -> Observed | None:
        """A listed object's reliable fields; None if values at these paths need a read by its id.

        RemoteError if the object that is read to judge the list cannot be read.
        """
        if self._listed[prefix].items is None:
            return None
        with self._lock:
            reliable = self._reliable_fields(prefix, item)
        if not reliable:
            return None
        observed = self.bindings[prefix].decode(item, marks)
        # Fields whose listed value differs from a read are not the live values.
        if not observed.spec.keys() <= reliable:
            spec = {name: value for name, value in observed.spec.items() if name in reliable}
            observed = replace(observed, spec=spec)
        # A list may leave out or mask what a read of one object shows.
        return observed if _has_values(observed, paths) else None

    def observe_match(
        self, prefix: str, raw: ServerObject, paths: Iterable[FieldPath], marks: SecretMarks
    ) -> Observed:
        """An object that was found by its key, with the values at these paths."""
        observed, binding = self.observe(prefix, raw, paths, marks), self.bindings[prefix]
        if observed is not None:
            return observed
        if self._listed[prefix].full is not None:
            raw = wire.read_in_full(self._api, binding, [raw])[0]
        return binding.decode(raw, marks)

    def _reliable_fields(self, prefix: str, item: ServerObject) -> frozenset[str]:
        """The fields whose values are reliable in items like this one.

        The first object of each variety is read by its id and compared with its item.
        """
        binding, learnt = self.bindings[prefix], self._listed[prefix].coverage_by_variety
        variety = item.get(binding.variety_field) if binding.variety_field else None
        if variety is not None and not isinstance(variety, str):
            return frozenset()
        if variety not in learnt:
            raw = binding.read_object(self._api, wire.require_remote_id_of_answer(item))
            read_spec = binding.decode(raw, self.marks).spec
            listed_spec = binding.decode(item, self.marks).spec
            equal_names = (
                name
                for name in listed_spec
                if name in read_spec and listed_spec[name] == read_spec[name]
            )
            learnt[variety] = _Coverage(frozenset(item), frozenset(equal_names))
        # An item with other names than the compared one is of an unknown form.
        coverage = learnt[variety]
        return coverage.fields if coverage.names == item.keys() else frozenset()

    @staticmethod
    def _use_items(listed: _Listed, raws: Iterable[ServerObject]) -> None:
        items = {str(item["id"]): item for item in raws if item.get("id") is not None}
        listed.items = {**(listed.items or {}), **items}


def list_of_owners(api: Api, binding: ApiBinding, owners: Iterable[Observed]) -> list[ServerObject]:
    """The listed objects of these owners, without those whose list cannot be read."""
    listed: list[ServerObject] = []
    for owner in owners:
        with suppress(RemoteError):
            listed.extend(wire.list_members_or_none(api, binding, owner) or ())
    return listed


def read_failure_finding(address: Address | None, failure: RemoteError) -> Diagnostic:
    """The error for a failed read, of one address or of everything."""
    default_hint = (
        FOREIGN_ANSWER_ADVICE
        if has_odd_success(failure)
        else ("Run the command again. Nothing was changed.")
    )
    return error_finding(
        "Reading the live state failed",
        f"{f'{address}: ' if address else ''}{str(failure).removesuffix('.')}.",
        advise_on_failure(failure, "run again", default_hint),
        address=str(address) if address else None,
        request_id=failure.request_id,
    )


def _has_values(observed: Observed, paths: Iterable[FieldPath]) -> bool:
    """Whether the spec has a value at each path that the server does not withhold."""
    fields = observed.flatten_spec()
    if WithheldSecret not in map(type, fields.values()):
        paths = set(paths).difference(fields)  # what remains are maps, or is not there
    for path in paths:
        value: Any = observed.spec
        for step in path:
            if not is_map(value) or step not in value:
                return False
            value = value[step]
        if isinstance(value, WithheldSecret):
            return False
    return True


# When a second live object counts as a duplicate of a recorded one, and the warning for it.
#
# Servers may accept two objects with one name. This tool creates none on purpose, but a person,
# another tool or a call with a lost answer may have; then some users of it see the other object.


def iter_live_owners(
    api: Api,
    kind: ResourceType,
    binding: ApiBinding,
    records: Mapping[Address, Record],
    marks: SecretMarks,
) -> Iterator[Observed]:
    """Read the owners of recorded members of series, each once; `binding` is the owners'."""
    owners = {record.seen.get((kind.series_field,)) for record in records.values()}
    for owner in sorted(each for each in owners if isinstance(each, str)):
        with suppress(NotFound):
            yield wire.read_observed(api, binding, owner, marks)


def iter_duplicate_warnings(
    kind: ResourceType,
    binding: ApiBinding,
    records: Mapping[Address, Record],
    raw_objects: Iterable[ServerObject],
    marks: SecretMarks,
    desired: Mapping[Address, Desired],
) -> Iterator[Diagnostic]:
    """A warning for each recorded address whose key an unrecorded live object has, too."""
    keys_with_raws = [
        (key, raw)
        for raw in raw_objects
        for key in binding.list_natural_keys(raw)
        or _joined_key(kind, map(binding.decode(raw, marks).spec.get, kind.identity_fields))
    ]
    has_equal_keys = len({key for key, _ in keys_with_raws}) < len(keys_with_raws)
    if not has_equal_keys and len(kind.identity_fields) <= 1:
        return  # each key has one object, and each record one key
    ids_by_key: dict[str, list[str]] = defaultdict(list)
    for key, raw in keys_with_raws:
        ids_by_key[key].append(wire.require_remote_id_of_answer(raw))
    recorded_ids = {record.remote_id for record in records.values() if record.api == binding.api}
    for address, record in sorted(records.items()):
        if record.api != binding.api:
            continue
        seen = (record.seen.get((name,)) for name in kind.identity_fields)
        keys = (record.natural_key, *_joined_key(kind, seen))
        ids = {object_id for key in keys if key for object_id in ids_by_key.get(key, ())}
        others = sorted(ids - recorded_ids)
        if record.remote_id not in ids or not others:
            continue
        name = record.natural_key and f"{record.natural_key.partition('=')[2]!r}"
        yield warning_finding(
            "A second live object has the same natural key",
            f"{address} is recorded with id {record.remote_id}, and id {', '.join(others)} also "
            f"has {name or 'the same identity'}. It is unknown which of them is in use.",
            Text(
                "Find out which object is yours, and delete the other in Synapse. If yours is "
                f"id {others[0]}, ",
                Command("state rm", address),
                " and ",
                Command("import", address, others[0]),
                ".",
            ),
            address=str(address),
            position=desired[address].position if address in desired else None,
        )


def _joined_key(kind: ResourceType, values: Iterable[object]) -> Iterable[str]:
    """The key of an object that several fields identify, such as plugin and version; else ()."""
    texts = [value for value in values if isinstance(value, str)]
    is_joined = len(texts) == len(kind.identity_fields) > 1
    return (f"{kind.prefix}:{'@'.join(texts)}",) if is_joined else ()


# One object may be slow; a backend that lets so many reads wait in vain is not asked for more.
_MAX_TIMEOUTS = 3


def _list_compared_paths(desired: Desired, record: Record) -> set[FieldPath]:
    """The paths of an object that its plan compares."""
    return {*record.seen, *record.applied, *zip(desired.spec, strict=True)}


class LiveReader:
    """Reads a backend for one run. Lists and capabilities are read once, when needed."""

    def __init__(
        self,
        api: Api,
        catalogue: Catalogue,
        versions: Mapping[str, str],
        marks: SecretMarks,
        parallelism: int,
    ) -> None:
        """`versions` maps a kind's prefix, or `*`, to the newest API version to use."""
        self._api = api
        self._catalogue = catalogue
        self._parallelism = parallelism
        bindings = {
            prefix: kind.select_newest_binding(versions) for prefix, kind in catalogue.items()
        }
        self.lists = Lists(api, bindings, marks)
        # By kind: the fields that refer to other objects, with the kinds of these.
        self._references = {
            prefix: [
                (name, rule.references) for name, rule in kind.rules.items() if rule.references
            ]
            for prefix, kind in catalogue.items()
        }
        self._named_objects: dict[tuple[str, str], Observed] = {}
        self._outage: Diagnostic | None = None
        self._timeouts = 0
        self._lock = Lock()
        self.lookup_results: dict[Address, LookupResult] = {}
        self.natural_keys: dict[Address, str] = {}

    def store_declared_lookups(
        self, desired: Mapping[Address, Desired], records: Mapping[Address, Record]
    ) -> None:
        """Fill `lookup_results` and `natural_keys` for every declared address, parents first."""
        by_rank: dict[int, list[Desired]] = defaultdict(list)
        for address in sorted(desired):
            by_rank[self._catalogue[address.kind].rank].append(desired[address])
        with open_thread_pool(self._parallelism) as pool:
            for rank in sorted(by_rank):
                self._prefetch_lists(by_rank[rank], records)
                # What a list tells needs no request, and so no thread.
                unlisted = [
                    resource
                    for resource in by_rank[rank]
                    if not self._look_up_in_list(resource, records.get(resource.address))
                ]
                results = pool.map(
                    lambda resource: self._observe(
                        resource.address,
                        lambda: self._look_up(resource, records.get(resource.address)),
                    ),
                    unlisted,
                )
                self.lookup_results.update((result.address, result) for result in results)

    def store_undeclared_lookups(
        self, addresses: Iterable[Address], records: Mapping[Address, Record]
    ) -> None:
        """Fill `lookup_results` for recorded addresses that are not declared, for a delete."""
        for address in addresses:
            kind, record = self._catalogue[address.kind], records[address]
            binding = kind.bindings.get(record.api, self.lists.bindings[address.kind])
            look_up = partial(self._by_record, address, binding, record)
            self.lookup_results[address] = self._observe(address, look_up)

    def list_series_members(self, desired: Desired) -> list[Observed] | None:
        """The live members of a declared resource's series, of all versions.

        None where this backend cannot list them. A failed read is a problem of its lookup result.
        """
        kind = self._catalogue[desired.address.kind]
        try:
            owner = self._live_parents(desired)[0].get(kind.series_field)
            return [] if owner is None else self.lists.members(kind, owner)
        except RemoteError as failure:
            finding = self._count_failure(desired.address, failure)
            self.lookup_results[desired.address] = LookupResult(desired.address, problem=finding)
            return []

    def iter_duplicate_warnings(
        self, desired: Mapping[Address, Desired], records: Mapping[Address, Record]
    ) -> Iterator[Diagnostic]:
        """A warning for each recorded address whose natural key a second live object has.

        Uses the lists that were read anyway, and reads short ones.
        """
        by_kind: dict[str, dict[Address, Record]] = defaultdict(dict)
        for address in desired:
            if address in records and self._outage is None:
                by_kind[address.kind][address] = records[address]
        for prefix, kind_records in by_kind.items():
            recorded = [desired[address] for address in kind_records]
            raw_objects = self.lists.look_over(prefix, partial(self._live_owners, recorded))
            kind, binding = self._catalogue[prefix], self.lists.bindings[prefix]
            yield from iter_duplicate_warnings(
                kind, binding, kind_records, raw_objects, self.lists.marks, desired
            )

    def _live_owners(self, members: Iterable[Desired]) -> list[Observed]:
        """The live owners of these members, each once, as far as they were observed."""
        owners: dict[str, Observed] = {}
        for desired in members:
            prefix = desired.address.kind
            with suppress(RemoteError):
                owner = self._live_parents(desired)[0].get(self._catalogue[prefix].series_field)
                if owner is not None and owner.api == self.lists.bindings[prefix].api:
                    owners[owner.remote_id] = owner
        return list(owners.values())

    def _prefetch_lists(
        self, resources: Iterable[Desired], records: Mapping[Address, Record]
    ) -> None:
        """Read the lists of kinds with many recorded objects: cheaper than one read for each."""
        by_kind: dict[str, list[Desired]] = defaultdict(list)
        for resource in resources:
            if resource.remote_id is None:
                by_kind[resource.address.kind].append(resource)
        for prefix, unpinned in by_kind.items():
            if (
                len(unpinned) < MIN_RECORDED
                or self.lists.bindings[prefix].list_once_or_none is None
            ):
                continue
            if all(resource.address in records for resource in unpinned):
                compared = (_list_compared_paths(each, records[each.address]) for each in unpinned)
                self.lists.read_once(prefix, len(unpinned), compared)
                continue
            # Those without a record are searched for in the whole list, which has the others too.
            # Where it cannot be had, each of them says so.
            with suppress(RemoteError):
                self.lists.use_full(prefix)

    def _look_up_in_list(self, desired: Desired, record: Record | None) -> bool:
        """Look a recorded object up in a list; False where it must be read by its id."""
        if record is None or desired.remote_id is not None or self._outage is not None:
            return False
        address, prefix = desired.address, desired.address.kind
        # Ids of two API versions are not one space.
        is_same_api = record.api == self.lists.bindings[prefix].api
        item = self.lists.item(prefix, record.remote_id) if is_same_api else None
        if item is None:
            return False
        try:
            paths = _list_compared_paths(desired, record)
            observed = self.lists.observe(
                prefix, item, paths, self.lists.marks.with_address(address)
            )
            if observed is None:
                return False
            parents, _ = self._live_parents(desired)
        except RemoteError:
            return False  # told when it is asked for by its id
        self.natural_keys[address] = self._catalogue[prefix].derive_natural_key(
            desired.spec, parents
        )
        self.lookup_results[address] = LookupResult(
            address, observed, FoundBy.RECORD, Lookup.COMPLETE
        )
        return True

    def _observe(self, address: Address, observe: Callable[[], LookupResult]) -> LookupResult:
        if self._outage is not None:
            return LookupResult(address, problem=self._outage)
        try:
            return observe()
        except ListUnavailableError as failure:
            return LookupResult(address, problem=failure.finding)
        except RemoteError as failure:
            return LookupResult(address, problem=self._count_failure(address, failure))

    def _count_failure(self, address: Address, failure: RemoteError) -> Diagnostic:
        """The finding of one address; once the backend is down, the same for all others."""
        with self._lock:
            self._timeouts += isinstance(failure, RemoteTimeout)
            if isinstance(failure, FINAL_READ_ERRORS) or self._timeouts >= _MAX_TIMEOUTS:
                self._outage = self._outage or read_failure_finding(None, failure)
        return self._outage or read_failure_finding(address, failure)

    def _look_up(self, desired: Desired, record: Record | None) -> LookupResult:
        address, prefix = desired.address, desired.address.kind
        binding, marks = self.lists.bindings[prefix], self.lists.marks.with_address(address)
        parents, has_missing_parent = self._live_parents(desired)
        key = self._catalogue[prefix].derive_natural_key(desired.spec, parents)
        self.natural_keys[address] = key
        if desired.remote_id is not None:
            pinned_id = desired.remote_id or ""
            try:
                observed = binding.decode(binding.read_object(self._api, pinned_id), marks)
            except NotFound as failure:
                finding = error_finding(
                    "The pinned object does not exist",
                    f"metadata.id of {address} is {pinned_id}, but the backend has no such object.",
                    "Correct metadata.id, or remove it to create the resource.",
                    address=str(address),
                    position=desired.positions.get(("metadata", "id"), desired.position),
                    request_id=failure.request_id,
                )
                return LookupResult(address, problem=finding)
            return LookupResult(address, observed, FoundBy.PIN, Lookup.COMPLETE)
        if record is not None and record.api == binding.api:  # ids of others are not its ids
            lookup_result = self._by_record(address, binding, record)
            if lookup_result.observed is not None:
                return lookup_result
        # Without its owner the object cannot exist, so no search is needed.
        if has_missing_parent:
            return LookupResult(address, lookup=Lookup.COMPLETE)
        matches = self.lists.with_key(prefix, key) if key else ()
        if matches is None:
            matches = binding.find_by_key(self._api, key) if binding.find_by_key is not None else ()
        if len(matches) > 1:
            form, _, text = key.partition("=")
            ids = ", ".join(map(wire.require_remote_id_of_answer, matches))
            finding = error_finding(
                "Several live objects have one natural key",
                f"{address}: {form} {text!r} belongs to ids {ids}.",
                Text(
                    "Select the right object: ",
                    Command("import", address, "ID"),
                    ", or metadata.id.",
                ),
                address=str(address),
                position=desired.position,
            )
            return LookupResult(address, problem=finding)
        if not matches:
            proof = binding.determine_search_proof(key, self.lists.capabilities())
            return LookupResult(address, lookup=proof)
        observed = self.lists.observe_match(prefix, matches[0], flatten(desired.spec), marks)
        return LookupResult(address, observed, FoundBy.KEY, Lookup.COMPLETE)

    def _by_record(self, address: Address, binding: ApiBinding, record: Record) -> LookupResult:
        try:
            raw = binding.read_object(self._api, record.remote_id)
        except NotFound:
            return LookupResult(address)
        observed = binding.decode(raw, self.lists.marks.with_address(address))
        return LookupResult(address, observed, FoundBy.RECORD, Lookup.COMPLETE)

    def _live_parents(self, desired: Desired) -> tuple[dict[str, Observed], bool]:
        """Live objects by reference field; and whether one of them certainly does not exist."""
        parents: dict[str, Observed] = {}
        has_missing_parent = False
        for name, prefix in self._references[desired.address.kind]:
            value = desired.spec.get(name)
            if value is None:
                continue
            if isinstance(value, Reference):
                lookup_result = self.lookup_results.get(value.address)
                parent = lookup_result.observed if lookup_result else None
                has_missing_parent = has_missing_parent or (
                    lookup_result is not None and not parent and not lookup_result.problem
                )
            else:
                parent = self._named_by_id(prefix, str(value))
            if parent is not None:
                parents[name] = parent
        return parents, has_missing_parent

    def _named_by_id(self, prefix: str, remote_id: str) -> Observed:
        """Read an object that a manifest names by its id, once per run; NotFound without it."""
        with self._lock:
            if (prefix, remote_id) not in self._named_objects:
                binding = self.lists.bindings[prefix]
                raw = binding.read_object(self._api, remote_id)
                self._named_objects[prefix, remote_id] = binding.decode(raw, self.lists.marks)
            return self._named_objects[prefix, remote_id]
