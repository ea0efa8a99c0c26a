"""How the live object of every address is found: by pin, by record, by natural key, in this order.

A read that failed is a problem of its address, never absence (design section 5). A failure that
concerns every address (no list, a wrong token, an unreachable backend) is met once and reported
once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from threading import Lock

from synapse_apply.kinds.descriptor import Api, ApiBinding, Catalogue, FieldRule, ResourceType
from synapse_apply.kinds.list_cache import MIN_RECORDED, ListCache
from synapse_apply.kinds.search import list_members_or_none, read_in_full
from synapse_apply.live.duplicates import (
    MAX_PLAN_PAGES,
    build_duplicate_warning,
    iter_duplicates,
    list_raw_members,
    list_short_raw_objects,
)
from synapse_apply.live.full_lists import FullLists, ListUnavailableError
from synapse_apply.live.unseen_resources import ambiguous_key_finding, read_failure_finding
from synapse_apply.model.address import Address
from synapse_apply.model.coding.json_types import ServerObject
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, error_finding
from synapse_apply.model.errors import FINAL_READ_ERRORS, NotFound, RemoteError, RemoteTimeout
from synapse_apply.model.observed import Capabilities, FoundBy, Lookup, LookupResult, Observed
from synapse_apply.model.resource import Desired
from synapse_apply.model.runtime.parallel_reads import open_thread_pool
from synapse_apply.model.secrets.secret_marks import SecretMarks
from synapse_apply.model.state import Record
from synapse_apply.model.values import Reference, flatten

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
        """`versions` maps a kind's prefix, or `*`, to the newest API version to use.

        `marks` may be replaced before anything is observed.
        """
        self._api = api
        self._catalogue = catalogue
        self._versions = versions
        self.marks = marks
        self._parallelism = parallelism
        self._full_lists = FullLists(api)
        self._members_by_owner: dict[str, dict[str, list[Observed]]] = {}
        self._outage_finding: Diagnostic | None = None
        self._timeouts = 0
        self._lock = Lock()
        self._bindings: dict[str, ApiBinding] = {}
        self._reference_rules: dict[str, Sequence[tuple[str, FieldRule]]] = {}
        self._list_cache = ListCache(api, marks)
        self._objects_by_id: dict[tuple[str, str], Observed] = {}
        self.lookup_results: dict[Address, LookupResult] = {}
        self.natural_keys: dict[Address, str] = {}

    @property
    def known_capabilities(self) -> Capabilities:
        return self._full_lists.known_capabilities

    def learn_capabilities(self, kinds: Iterable[str]) -> Capabilities:
        """The capabilities known so far, with those of these kinds read now."""
        for prefix in {kind for kind in kinds if kind in self._catalogue}:
            binding = self.select_binding(self._catalogue[prefix])
            if binding.list_capability:
                self._full_lists.index_by_key(prefix, binding)
        return self.known_capabilities

    def list_by_key(self, prefix: str, binding: ApiBinding, key: str) -> list[Observed] | None:
        """The live objects of a kind with this natural key, from a list that is read once per run.

        None where this backend has no such list, or the key is of another API version.
        """
        if binding is not self.select_binding(self._catalogue[prefix]):
            return None
        objects_by_key = self._full_lists.index_by_key(prefix, binding)
        if objects_by_key is None:
            return None
        matches = read_in_full(self._api, binding, objects_by_key.get(key, []))
        return [binding.decode(raw, self.marks) for raw in matches]

    def select_binding(self, kind: ResourceType) -> ApiBinding:
        api_binding = self._bindings.get(kind.prefix)
        if api_binding is None:
            api_binding = self._bindings[kind.prefix] = kind.select_newest_binding(self._versions)
        return api_binding

    def store_declared_lookups(
        self, desired: Mapping[Address, Desired], records: Mapping[Address, Record]
    ) -> None:
        """Fill `lookup_results` and `natural_keys` for every declared address, parents first."""
        by_rank: dict[int, list[Address]] = defaultdict(list)
        for address in sorted(desired):
            by_rank[self._catalogue[address.kind].rank].append(address)
        with open_thread_pool(self._parallelism) as pool:
            for rank in sorted(by_rank):
                self._prefetch_lists([desired[address] for address in by_rank[rank]], records)
                # What a list tells needs no request, and so no thread.
                unlisted_addresses = [
                    address
                    for address in by_rank[rank]
                    if not self._look_up_in_list(desired[address], records.get(address))
                ]
                results = pool.map(
                    lambda address: self._observe_declared(desired[address], records.get(address)),
                    unlisted_addresses,
                )
                self.lookup_results.update(zip(unlisted_addresses, results, strict=True))

    def _look_up_in_list(self, desired: Desired, record: Record | None) -> bool:
        """Look a recorded object up in a list; False where it must be read by its id."""
        if record is None or desired.remote_id is not None or self._outage_finding is not None:
            return False
        address = desired.address
        kind = self._catalogue[address.kind]
        try:
            observed = self._list_cache.find_recorded_in_list(
                address.kind,
                self.select_binding(kind),
                record,
                _list_compared_paths(desired, record),
                self.marks.with_address(address),
            )
            if observed is None:
                return False
            parents, _ = self._live_parents(kind, desired)
        except RemoteError:
            return False  # told when it is asked for by its id
        self.natural_keys[address] = kind.derive_natural_key(desired.spec, parents)
        self.lookup_results[address] = LookupResult(
            address, observed, FoundBy.RECORD, Lookup.COMPLETE
        )
        return True

    def _prefetch_lists(
        self, resources: Iterable[Desired], records: Mapping[Address, Record]
    ) -> None:
        """Read the lists of kinds with many recorded objects: cheaper than one read for each."""
        by_kind: dict[str, list[Desired]] = defaultdict(list)
        for resource in resources:
            if resource.remote_id is None:
                by_kind[resource.address.kind].append(resource)
        for prefix, kind_resources in by_kind.items():
            binding = self.select_binding(self._catalogue[prefix])
            if len(kind_resources) < MIN_RECORDED or binding.list_once_or_none is None:
                continue
            if all(resource.address in records for resource in kind_resources):
                compared_paths = partial(
                    map,
                    lambda resource: _list_compared_paths(resource, records[resource.address]),
                    kind_resources,
                )
                self._list_cache.try_reading_list(
                    prefix, binding, len(kind_resources), compared_paths
                )
                continue
            # Those without a record are searched for in the whole list, which has the others too.
            # Where it cannot be had, each of them says so.
            with suppress(RemoteError):
                raws = self._full_lists.read_once_or_none(prefix, binding) or ()
                self._list_cache.add_items(prefix, raws)

    def store_undeclared_lookups(
        self, addresses: Iterable[Address], records: Mapping[Address, Record]
    ) -> None:
        """Fill `lookup_results` for recorded addresses that are not declared, for a delete."""
        for address in addresses:
            self.lookup_results[address] = self._observe(
                address, partial(self._in_recorded_api, address, records[address])
            )

    def list_series_members(self, desired: Desired) -> list[Observed] | None:
        """The live members of a declared resource's series, of all versions.

        None where this backend cannot list them. A failed read is a problem of its lookup result.
        """
        kind = self._catalogue[desired.address.kind]
        binding = self.select_binding(kind)
        try:
            owner = self._live_parents(kind, desired)[0].get(kind.series_field)
            if owner is None:
                return []
            return self._live_members(kind, binding, owner) if owner.api == binding.api else None
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
            if address in records and self._outage_finding is None:
                by_kind[address.kind][address] = records[address]
        for prefix, kind_records in by_kind.items():
            kind = self._catalogue[prefix]
            binding = self.select_binding(kind)
            raw_objects = self._raw_objects(
                prefix, binding, [desired[address] for address in kind_records]
            )
            for address, duplicates in iter_duplicates(
                kind, binding, kind_records, raw_objects, self.marks
            ):
                position = desired[address].position
                yield build_duplicate_warning(address, records[address], duplicates, position)

    def _raw_objects(
        self, prefix: str, binding: ApiBinding, recorded: Sequence[Desired]
    ) -> Iterable[ServerObject]:
        """What was listed, else a list of few pages or owners, else nothing; never raises."""
        raw_objects = self._full_lists.get_if_read(prefix)
        if raw_objects is not None:
            return raw_objects
        if binding.list_objects is None and binding.list_members_or_none is not None:
            owners = self._live_owners(self._catalogue[prefix], binding, recorded)
            # What is asked for one by one is bounded as the pages of a list are.
            return (
                list_raw_members(self._api, binding, owners)
                if len(owners) <= MAX_PLAN_PAGES
                else ()
            )
        return self._list_cache.get_listed_until_now(prefix) or list_short_raw_objects(
            self._api, binding, MAX_PLAN_PAGES
        )

    def _live_owners(
        self, kind: ResourceType, binding: ApiBinding, members: Sequence[Desired]
    ) -> Sequence[Observed]:
        """The live owners of these members, each once, as far as they were observed."""
        owners: dict[str, Observed] = {}
        for desired in members:
            with suppress(RemoteError):
                owner = self._live_parents(kind, desired)[0].get(kind.series_field)
                if owner is not None and owner.api == binding.api:
                    owners[owner.remote_id] = owner
        return list(owners.values())

    def _live_members(
        self, kind: ResourceType, binding: ApiBinding, owner: Observed
    ) -> list[Observed] | None:
        raws = self._full_lists.read_once_or_none(kind.prefix, binding)
        if raws is None:
            raws = list_members_or_none(self._api, binding, owner)
            return None if raws is None else [binding.decode(raw, self.marks) for raw in raws]
        with self._lock:
            if kind.prefix not in self._members_by_owner:
                groups = self._members_by_owner[kind.prefix] = defaultdict(list)
                for raw in raws:  # also those without a natural key
                    observed = binding.decode(raw, self.marks)
                    groups[str(observed.spec.get(kind.series_field))].append(observed)
        return self._members_by_owner[kind.prefix].get(owner.remote_id, [])

    def _in_recorded_api(self, address: Address, record: Record) -> LookupResult:
        kind = self._catalogue[address.kind]
        return self._by_record(
            address, kind.bindings.get(record.api, self.select_binding(kind)), record
        )

    def _observe_declared(self, desired: Desired, record: Record | None) -> LookupResult:
        return self._observe(desired.address, lambda: self._look_up(desired, record))

    def _observe(self, address: Address, observe: Callable[[], LookupResult]) -> LookupResult:
        if self._outage_finding is not None:
            return LookupResult(address, problem=self._outage_finding)
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
                self._outage_finding = self._outage_finding or read_failure_finding(None, failure)
        return self._outage_finding or read_failure_finding(address, failure)

    def _look_up(self, desired: Desired, record: Record | None) -> LookupResult:
        address = desired.address
        kind = self._catalogue[address.kind]
        binding = self.select_binding(kind)
        parents, has_missing_parent = self._live_parents(kind, desired)
        key = kind.derive_natural_key(desired.spec, parents)
        self.natural_keys[address] = key
        if desired.remote_id is not None:
            pinned_id = desired.remote_id or ""
            try:
                observed = binding.decode(
                    binding.read_object(self._api, pinned_id),
                    self.marks.with_address(desired.address),
                )
            except NotFound as failure:
                finding = error_finding(
                    "The pinned object is not there",
                    f"metadata.id of {desired.address} is {pinned_id}, which the backend does not "
                    f"have.",
                    "Correct metadata.id, or remove it to let the resource be created.",
                    address=str(desired.address),
                    position=desired.positions.get(("metadata", "id"), desired.position),
                    request_id=failure.request_id,
                )
                return LookupResult(desired.address, problem=finding)
            return LookupResult(desired.address, observed, FoundBy.PIN, Lookup.COMPLETE)
        if record is not None and record.api == binding.api:  # ids of others are not its ids
            lookup_result = self._by_record(address, binding, record)
            if lookup_result.observed is not None:
                return lookup_result
        # Without its owner the object cannot exist, so no search is needed.
        if has_missing_parent:
            return LookupResult(address, lookup=Lookup.COMPLETE)
        return self._observe_one_by_key(desired, binding, key)

    def _by_record(self, address: Address, binding: ApiBinding, record: Record) -> LookupResult:
        try:
            raw = binding.read_object(self._api, record.remote_id)
        except NotFound:
            return LookupResult(address)
        observed = binding.decode(raw, self.marks.with_address(address))
        return LookupResult(address, observed, FoundBy.RECORD, Lookup.COMPLETE)

    def _observe_one_by_key(self, desired: Desired, binding: ApiBinding, key: str) -> LookupResult:
        address = desired.address
        matches = self._list_with_key(address.kind, binding, key)
        lookup = binding.determine_search_proof(key, self.known_capabilities)
        if len(matches) > 1:
            return LookupResult(address, problem=ambiguous_key_finding(desired, key, matches))
        if not matches:
            return LookupResult(address, lookup=lookup)
        return LookupResult(
            address, self._decode_match(desired, binding, matches[0]), FoundBy.KEY, Lookup.COMPLETE
        )

    def _decode_match(self, desired: Desired, binding: ApiBinding, raw: ServerObject) -> Observed:
        """The object that was found by its key, with all its fields."""
        paths, marks = flatten(desired.spec), self.marks.with_address(desired.address)
        observed = self._list_cache.decode_item_if_reliable(
            desired.address.kind, binding, raw, paths, marks
        )
        if observed is not None:
            return observed
        if self._full_lists.get_if_read(desired.address.kind) is not None:
            raw = read_in_full(self._api, binding, [raw])[0]
        return binding.decode(raw, marks)

    def _list_with_key(self, kind: str, binding: ApiBinding, key: str) -> Sequence[ServerObject]:
        if not key:
            return []
        objects_by_key = self._full_lists.index_by_key(kind, binding)
        if objects_by_key is not None:
            return objects_by_key.get(key, [])
        return binding.find_by_key(self._api, key) if binding.find_by_key is not None else []

    def _live_parents(
        self, kind: ResourceType, desired: Desired
    ) -> tuple[dict[str, Observed], bool]:
        """Live objects by reference field; and whether one of them certainly does not exist."""
        parents: dict[str, Observed] = {}
        has_missing_parent = False
        for name, rule in self._list_reference_rules(kind):
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
                parent = self._named_by_id(rule.references, str(value))
            if parent is not None:
                parents[name] = parent
        return parents, has_missing_parent

    def _list_reference_rules(self, kind: ResourceType) -> Sequence[tuple[str, FieldRule]]:
        """The fields of a kind that refer to other objects, with their rules."""
        rules = self._reference_rules.get(kind.prefix)
        if rules is None:
            rules = [(name, rule) for name, rule in kind.rules.items() if rule.references]
            self._reference_rules[kind.prefix] = rules
        return rules

    def _named_by_id(self, prefix: str, remote_id: str) -> Observed:
        """Read an object that a manifest names by its id, once per run; NotFound without it."""
        with self._lock:
            object_key = (prefix, remote_id)
            if object_key not in self._objects_by_id:
                binding = self.select_binding(self._catalogue[prefix])
                raw = binding.read_object(self._api, remote_id)
                self._objects_by_id[object_key] = binding.decode(raw, self.marks)
            return self._objects_by_id[object_key]
