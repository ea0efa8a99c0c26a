"""How the live object of every address is found: by pin, by record, by natural key, in this order.

A read that failed is a problem of its address, never absence (design section 5). A failure that
concerns every address (no list, a wrong token, an unreachable backend) is met once and reported
once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from threading import Lock

from synapse_apply.kinds.descriptor import Api, ApiBinding, Catalogue
from synapse_apply.kinds.wire import require_remote_id_of_answer
from synapse_apply.live.lists import (
    MIN_RECORDED,
    Lists,
    ListUnavailableError,
    iter_duplicate_warnings,
    read_failure_finding,
)
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, error_finding
from synapse_apply.model.errors import FINAL_READ_ERRORS, NotFound, RemoteError, RemoteTimeout
from synapse_apply.model.parallel_reads import open_thread_pool
from synapse_apply.model.resource import Desired, FoundBy, Lookup, LookupResult, Observed
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

        def look_up(address: Address) -> LookupResult:
            kind, record = self._catalogue[address.kind], records[address]
            binding = kind.bindings.get(record.api, self.lists.bindings[address.kind])
            return self._by_record(address, binding, record)

        for address in addresses:
            self.lookup_results[address] = self._observe(address, partial(look_up, address))

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
                    "The pinned object is not there",
                    f"metadata.id of {address} is {pinned_id}, which the backend does not have.",
                    "Correct metadata.id, or remove it to let the resource be created.",
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
            ids = ", ".join(map(require_remote_id_of_answer, matches))
            finding = error_finding(
                "Several live objects have one natural key",
                f"{address}: {form} {text!r} belongs to ids {ids}.",
                Text(
                    "Say which one is meant: ",
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
