"""Learns what is live of every declared address: by pin, by record, by natural key, in this order.

A read that failed is a problem of its address, never absence (design section 5). What concerns
every address alike (a list that cannot be had, a token that is wrong, a backend that does not
answer) is asked for once and is one finding.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from threading import Lock

from synapse_apply.kinds.descriptor import Binding, Catalogue, Raw, ResourceType
from synapse_apply.kinds.glances import FEW, Glances
from synapse_apply.kinds.search import members_of, probe, whole
from synapse_apply.model.address import Address, in_order
from synapse_apply.model.desired import Desired
from synapse_apply.model.diagnostic import Diagnostic, Path, error
from synapse_apply.model.errors import (
    NotFound,
    RemoteError,
    RemoteTimeout,
    Unauthorized,
    Unreachable,
)
from synapse_apply.model.marks import SecretMarks
from synapse_apply.model.observed import Capabilities, FoundBy, Lookup, Observed, Sighting
from synapse_apply.model.ports import Api
from synapse_apply.model.state import Record
from synapse_apply.model.threads import threads
from synapse_apply.model.values import Reference, leaves
from synapse_apply.session.twins import FEW_PAGES, finding_of, glanced, listed_of, twins
from synapse_apply.session.unseen import ambiguous
from synapse_apply.session.unseen import problem as problem_of

# Whoever is asked next would be told the same, and a client's own retries are over by then.
_FINAL = (Unauthorized, Unreachable)
# One object may be slow; a backend that lets so many reads wait in vain is not asked for more.
_MOST_TIMEOUTS = 3


class _Unlisted(RemoteError):
    """The list of a kind could not be had; `finding` says it of all its resources."""

    def __init__(self, finding: Diagnostic) -> None:
        super().__init__(finding.detail)
        self.finding = finding


def _compared(desired: Desired, record: Record) -> set[Path]:
    """The places of an object that its plan looks at."""
    return {*record.seen, *record.applied, *zip(desired.spec, strict=True)}


class Observer:
    """One run's view of a backend. Lists and capabilities are asked for once, when needed."""

    def __init__(
        self,
        api: Api,
        catalogue: Catalogue,
        versions: Mapping[str, str],
        marks: SecretMarks,
        parallelism: int,
    ) -> None:
        """`versions` maps a kind's prefix, or `*`, to the newest API version to use.

        `marks` may be replaced once more is known, before anything is observed.
        """
        self._api = api
        self._catalogue = catalogue
        self._versions = versions
        self.marks = marks
        self._parallelism = parallelism
        self._lists: dict[str, dict[str, list[Raw]] | None] = {}
        self._by_owner: dict[str, dict[str, list[Observed]]] = {}
        self._unlisted: dict[str, _Unlisted] = {}
        self._down: Diagnostic | None = None
        self._timeouts = 0
        self._facts: dict[str, bool] = {}
        self._lock = Lock()
        self._bindings: dict[str, Binding] = {}
        self._glances = Glances(api, marks)
        self._from_lists: dict[Address, Observed] = {}
        self._referred: dict[tuple[str, str], Observed] = {}
        self.sightings: dict[Address, Sighting] = {}
        self.natural_keys: dict[Address, str] = {}

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(dict(self._facts))

    def probed(self, kinds: Iterable[str]) -> Capabilities:
        """Capabilities, those of these kinds certainly among them."""
        for prefix in {kind for kind in kinds if kind in self._catalogue}:
            binding = self.binding(self._catalogue[prefix])
            if binding.list_needs:
                self._listed(prefix, binding)
        return self.capabilities

    def listed_with_key(self, prefix: str, binding: Binding, key: str) -> list[Observed] | None:
        """The live objects of a kind with this natural key, from a list that is read once a run.

        None where this backend has no such list, or it is one of another API version.
        """
        if binding is not self.binding(self._catalogue[prefix]):
            return None
        listed = self._listed(prefix, binding)
        if listed is None:
            return None
        hits = whole(self._api, binding, listed.get(key, []))
        return [binding.decode(raw, self.marks) for raw in hits]

    def binding(self, kind: ResourceType) -> Binding:
        found = self._bindings.get(kind.prefix)
        if found is None:
            found = self._bindings[kind.prefix] = kind.binding(self._versions)
        return found

    def observe(
        self, desired: Mapping[Address, Desired], records: Mapping[Address, Record]
    ) -> None:
        """Fill `sightings` and `natural_keys` for every declared address, parents first."""
        by_rank: dict[int, list[Address]] = defaultdict(list)
        for address in in_order(desired):
            by_rank[self._catalogue[address.kind].rank].append(address)
        with threads(self._parallelism) as pool:
            for rank in sorted(by_rank):
                asked = []
                self._glance([desired[address] for address in by_rank[rank]], records)
                for address in by_rank[rank]:
                    if self._is_listed(desired[address], records.get(address)):
                        # Needs no request, and so no thread.
                        self.sightings[address] = self._sight(desired[address], records[address])
                    else:
                        asked.append(address)
                sights = pool.map(
                    lambda address: self._sight(desired[address], records.get(address)), asked
                )
                self.sightings.update(zip(asked, sights, strict=True))

    def _is_listed(self, desired: Desired, record: Record | None) -> bool:
        """Whether a list told all of a recorded object; it is kept then."""
        if record is None or desired.remote_id is not None:
            return False
        address = desired.address
        binding = self.binding(self._catalogue[address.kind])
        with suppress(RemoteError):  # told when it is asked for by its id
            needs = _compared(desired, record)
            marks = self.marks.for_address(address)
            found = self._glances.of_record(address.kind, binding, record, needs, marks)
            if found is not None:
                self._from_lists[address] = found
        return address in self._from_lists

    def _glance(self, declared: Iterable[Desired], records: Mapping[Address, Record]) -> None:
        """Look at the lists of kinds of which many are recorded."""
        by_kind: dict[str, list[Desired]] = defaultdict(list)
        for one in declared:
            if one.remote_id is None:
                by_kind[one.address.kind].append(one)
        for prefix, some in by_kind.items():
            binding = self.binding(self._catalogue[prefix])
            if len(some) < FEW or binding.glance is None:
                continue
            if all(one.address in records for one in some):
                needs = partial(map, lambda one: _compared(one, records[one.address]), some)
                self._glances.look(prefix, binding, len(some), needs)
                continue
            # Those without a record are searched for in the whole list, which has the others too.
            # Where it cannot be had, each of them says so.
            with suppress(RemoteError):
                for raws in (self._listed(prefix, binding) or {}).values():
                    self._glances.use(prefix, raws)

    def read(self, addresses: Iterable[Address], records: Mapping[Address, Record]) -> None:
        """Look at recorded addresses that are not declared: what a delete needs to know."""
        for address in addresses:
            self.sightings[address] = self._guard(
                address, partial(self._by_own_record, address, records[address])
            )

    def beside(self, desired: Desired) -> list[Observed] | None:
        """What is live of the series that a declared resource belongs to, of all versions.

        None where this backend does not tell. A read that failed is a problem of its sighting.
        """
        kind = self._catalogue[desired.address.kind]
        binding = self.binding(kind)
        try:
            owner = self._parents(kind, desired)[0].get(kind.series)
            if owner is None:
                return []
            return self._members(kind, binding, owner) if owner.api == binding.api else None
        except RemoteError as failure:
            finding = self._failed(desired.address, failure)
            self.sightings[desired.address] = Sighting(desired.address, problem=finding)
            return []

    def twins(
        self, desired: Mapping[Address, Desired], records: Mapping[Address, Record]
    ) -> Iterator[Diagnostic]:
        """A warning for each recorded address whose natural key another live object has, too.

        As far as lists tell that were read anyway, and short ones that are read for this.
        """
        by_kind: dict[str, dict[Address, Record]] = defaultdict(dict)
        for address in desired:
            if address in records and self._down is None:
                by_kind[address.kind][address] = records[address]
        for prefix, some in by_kind.items():
            kind = self._catalogue[prefix]
            binding = self.binding(kind)
            listed = self._seen_in_lists(prefix, binding, [desired[address] for address in some])
            for address, others in twins(kind, binding, some, listed, self.marks):
                position = desired[address].position
                yield finding_of(address, records[address], others, position)

    def _seen_in_lists(
        self, prefix: str, binding: Binding, recorded: Sequence[Desired]
    ) -> Iterable[Raw]:
        if listed := self._lists.get(prefix):
            return {id(raw): raw for raws in listed.values() for raw in raws}.values()
        if binding.list is None and binding.members is not None:
            owners = self._owners_of(self._catalogue[prefix], binding, recorded)
            # What is asked for one by one is bounded as the pages of a list are.
            return listed_of(self._api, binding, owners) if len(owners) <= FEW_PAGES else ()
        return self._glances.listed(prefix) or glanced(self._api, binding, FEW_PAGES)

    def _owners_of(
        self, kind: ResourceType, binding: Binding, members: Sequence[Desired]
    ) -> Sequence[Observed]:
        """The live owners of these members of series, each once, as far as they were seen."""
        owners: dict[str, Observed] = {}
        for desired in members:
            with suppress(RemoteError):
                owner = self._parents(kind, desired)[0].get(kind.series)
                if owner is not None and owner.api == binding.api:
                    owners[owner.remote_id] = owner
        return list(owners.values())

    def _members(
        self, kind: ResourceType, binding: Binding, owner: Observed
    ) -> list[Observed] | None:
        listed = self._listed(kind.prefix, binding)
        if listed is None:
            raws = members_of(self._api, binding, owner)
            return None if raws is None else [binding.decode(raw, self.marks) for raw in raws]
        with self._lock:
            if kind.prefix not in self._by_owner:
                groups = self._by_owner[kind.prefix] = defaultdict(list)
                for raw in chain.from_iterable(listed.values()):
                    found = binding.decode(raw, self.marks)
                    groups[str(found.spec.get(kind.series))].append(found)
        return self._by_owner[kind.prefix].get(owner.remote_id, [])

    def _by_own_record(self, address: Address, record: Record) -> Sighting:
        kind = self._catalogue[address.kind]
        return self._by_record(address, kind.bindings.get(record.api, self.binding(kind)), record)

    def _sight(self, desired: Desired, record: Record | None) -> Sighting:
        return self._guard(desired.address, lambda: self._identify(desired, record))

    def _guard(self, address: Address, look: Callable[[], Sighting]) -> Sighting:
        if self._down is not None:
            return Sighting(address, problem=self._down)
        try:
            return look()
        except _Unlisted as failure:
            return Sighting(address, problem=failure.finding)
        except RemoteError as failure:
            return Sighting(address, problem=self._failed(address, failure))

    def _failed(self, address: Address, failure: RemoteError) -> Diagnostic:
        """The finding of one address, or of every one from now on where the backend is down."""
        with self._lock:
            self._timeouts += isinstance(failure, RemoteTimeout)
            if isinstance(failure, _FINAL) or self._timeouts >= _MOST_TIMEOUTS:
                self._down = self._down or problem_of(None, failure)
        return self._down or problem_of(address, failure)

    def _identify(self, desired: Desired, record: Record | None) -> Sighting:
        address = desired.address
        kind = self._catalogue[address.kind]
        binding = self.binding(kind)
        parents, orphan = self._parents(kind, desired)
        key = kind.natural_key(desired.spec, parents)
        self.natural_keys[address] = key
        if desired.remote_id is not None:
            return self._by_pin(desired, binding)
        if record is not None and record.api == binding.api:  # ids of others are not its ids
            sighting = self._by_record(address, binding, record)
            if sighting.observed is not None:
                return sighting
        if orphan:
            return Sighting(address, lookup=Lookup.COMPLETE)
        return self._by_key(desired, binding, key)

    def _by_pin(self, desired: Desired, binding: Binding) -> Sighting:
        pin = desired.remote_id or ""
        try:
            observed = binding.decode(
                binding.read(self._api, pin), self.marks.for_address(desired.address)
            )
        except NotFound as failure:
            finding = error(
                "The pinned object is not there",
                f"metadata.id of {desired.address} is {pin}, which the backend does not have.",
                "Correct metadata.id, or remove it to let the resource be created.",
                address=str(desired.address),
                position=desired.positions.get(("metadata", "id"), desired.position),
                request_id=failure.request_id,
            )
            return Sighting(desired.address, problem=finding)
        return Sighting(desired.address, observed, FoundBy.PIN, Lookup.COMPLETE)

    def _by_record(self, address: Address, binding: Binding, record: Record) -> Sighting:
        try:
            if listed := self._from_lists.get(address):
                return Sighting(address, listed, FoundBy.RECORD, Lookup.COMPLETE)
            raw = binding.read(self._api, record.remote_id)
        except NotFound:
            return Sighting(address)
        observed = binding.decode(raw, self.marks.for_address(address))
        return Sighting(address, observed, FoundBy.RECORD, Lookup.COMPLETE)

    def _by_key(self, desired: Desired, binding: Binding, key: str) -> Sighting:
        address = desired.address
        hits = self._hits(address.kind, binding, key)
        lookup = binding.proves(key, self.capabilities)
        if len(hits) > 1:
            return Sighting(address, problem=ambiguous(desired, key, hits))
        if not hits:
            return Sighting(address, lookup=lookup)
        return Sighting(
            address, self._found(desired, binding, hits[0]), FoundBy.KEY, Lookup.COMPLETE
        )

    def _found(self, desired: Desired, binding: Binding, hit: Raw) -> Observed:
        """What was found by its key, with all its fields."""
        paths, marks = leaves(desired.spec), self.marks.for_address(desired.address)
        listed = self._glances.of_item(desired.address.kind, binding, hit, paths, marks)
        if listed is not None:
            return listed
        if self._lists[desired.address.kind] is not None:
            hit = whole(self._api, binding, [hit])[0]
        return binding.decode(hit, marks)

    def _hits(self, kind: str, binding: Binding, key: str) -> Sequence[Raw]:
        if not key:
            return []
        listed = self._listed(kind, binding)
        if listed is not None:
            return listed.get(key, [])
        return binding.find(self._api, key) if binding.find is not None else []

    def _listed(self, kind: str, binding: Binding) -> dict[str, list[Raw]] | None:
        """Listed objects by natural key, asked for once a run; None where there is no list."""
        with self._lock:
            if kind in self._unlisted:
                raise self._unlisted[kind]
            if kind not in self._lists:
                raws = self._probe(kind, binding)
                if binding.list_needs:
                    self._facts[binding.list_needs] = raws is not None
                index: dict[str, list[Raw]] = defaultdict(list)
                for raw in raws or ():
                    for key in binding.keys(raw):
                        index[key].append(raw)
                self._lists[kind] = None if raws is None else dict(index)
            return self._lists[kind]

    def _probe(self, kind: str, binding: Binding) -> Sequence[Raw] | None:
        try:
            return probe(self._api, binding)
        except (*_FINAL, RemoteTimeout):
            raise
        except RemoteError as failure:
            self._unlisted[kind] = _Unlisted(problem_of(None, failure))
            raise self._unlisted[kind] from None

    def _parents(self, kind: ResourceType, desired: Desired) -> tuple[dict[str, Observed], bool]:
        """Live objects of the reference fields; and whether one is certainly not there."""
        parents: dict[str, Observed] = {}
        orphan = False
        for name, rule in kind.rules.items():
            value = desired.spec.get(name) if rule.references else None
            if value is None:
                continue
            if isinstance(value, Reference):
                sighting = self.sightings.get(value.address)
                found = sighting.observed if sighting else None
                orphan = orphan or (sighting is not None and not found and not sighting.problem)
            else:
                found = self._refer(rule.references, str(value))
            if found is not None:
                parents[name] = found
        return parents, orphan

    def _refer(self, prefix: str, remote_id: str) -> Observed:
        """An object that a manifest names by its id, read once a run; NotFound without it."""
        with self._lock:
            at = (prefix, remote_id)
            if at not in self._referred:
                binding = self.binding(self._catalogue[prefix])
                raw = binding.read(self._api, remote_id)
                self._referred[at] = binding.decode(raw, self.marks)
            return self._referred[at]
