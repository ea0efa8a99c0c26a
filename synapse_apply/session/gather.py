"""Collects what is live, as far as an API lets it be found: by list, code, id or owner."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import field
from typing import TypeVar

from synapse_apply.kinds.descriptor import Binding, Raw, ResourceType
from synapse_apply.kinds.search import probe
from synapse_apply.kinds.wire import remote_id
from synapse_apply.model.errors import NotFound, RemoteError, Unauthorized, Unreachable, words
from synapse_apply.model.frozen import frozen
from synapse_apply.model.observed import Observed
from synapse_apply.model.versions import Order, order
from synapse_apply.session.reach import Reach

NEWEST, ALL, NONE = "newest", "all", "none"
# Whoever is asked next would be told the same.
_FINAL = (Unauthorized, Unreachable)
T = TypeVar("T")
R = TypeVar("R")


@frozen
class Named:
    """An object named by its id; `surely`: by itself, not in a range, so that it must be there."""

    id: str
    surely: bool = True


@frozen
class Wanted:
    """What to look for; where nothing is said of a kind, all that can be listed.

    `ids` by a kind's prefix; `members` is newest, all or none: which of each series.
    """

    codes: tuple[str, ...] = ()
    ids: Mapping[str, Sequence[Named]] = field(default_factory=dict)
    from_jobs: bool = False
    members: str = NEWEST


@frozen
class Missed:
    """What could not be had: what it is, and why not. `prefix` is that of its kind.

    Not `failed`: nobody asked for it.
    """

    prefix: str
    what: str
    why: str
    failed: bool = True


def owner_prefix(kind: ResourceType) -> str:
    """The prefix of the kind whose objects have a series of this one."""
    return kind.rules[kind.series].references


def called(one: Observed) -> str:
    """A live object as people know it."""
    name = one.spec.get("code") or one.spec.get("name")
    return f"{name} (id {one.remote_id})" if isinstance(name, str) else f"id {one.remote_id}"


def by_id(one: Observed) -> tuple[int, str]:
    """Ids in the order of numbers, where they are numbers."""
    return (int(one.remote_id) if one.remote_id.isdecimal() else 0, one.remote_id)


class Gatherer:
    """One look at a backend. `found` has the objects of each kind, `missed` what it lacks."""

    def __init__(self, reach: Reach, wanted: Wanted, pool: Executor) -> None:
        self._reach = reach
        self._wanted = wanted
        self._pool = pool
        self._found: dict[str, dict[str, Observed]] = defaultdict(dict)
        self.missed: list[Missed] = []

    def found(self, prefix: str) -> list[Observed]:
        """The objects of a kind, by id."""
        return sorted(self._found[prefix].values(), key=by_id)

    def by_id(self, prefix: str) -> Mapping[str, Observed]:
        """The same, each under its id."""
        return self._found[prefix]

    def gather(self) -> None:
        """Look for all that is wanted. RemoteError where a list cannot be had."""
        kinds = sorted(self._reach.catalogue.values(), key=lambda kind: kind.rank)
        named = {prefix: list(ids) for prefix, ids in self._wanted.ids.items()}
        for kind in (kind for kind in kinds if kind.series and kind.prefix in named):
            self._read(kind, named[kind.prefix])
            owners = {str(one.spec.get(kind.series, "")) for one in self.found(kind.prefix)}
            named.setdefault(owner_prefix(kind), []).extend(map(Named, sorted(owners - {""})))
        for kind in kinds:
            if not kind.series:
                self._owners(kind, named.get(kind.prefix))
            elif self._wanted.members != NONE and not self._by_members_alone(kind):
                self._members(kind)

    def _by_members_alone(self, kind: ResourceType) -> bool:
        """Whether members were named themselves, and their owners only follow from them."""
        wanted = self._wanted
        owners = wanted.codes or wanted.from_jobs or owner_prefix(kind) in wanted.ids
        return kind.prefix in wanted.ids and not owners

    def _owners(self, kind: ResourceType, named: Sequence[Named] | None) -> None:
        """Objects that belong to no other: those that were chosen, else all that are listed."""
        binding = self._reach.kind(kind.prefix)[1]
        by_code = self._wanted.codes and _has_codes(binding)
        by_jobs = self._wanted.from_jobs and binding.named_by_jobs is not None
        if named is not None:
            self._read(kind, named)
        if by_jobs and binding.named_by_jobs is not None:
            seen = sorted(set(binding.named_by_jobs(self._reach.api)))
            self._read(kind, [Named(one, surely=False) for one in seen])
        if by_code:
            self._by_code(kind, binding)
        if named is not None or by_jobs or by_code:
            return
        listed = probe(self._reach.api, binding)
        if listed is not None:
            self._whole(kind, binding, listed)
        else:
            choices = f"--codes FILE, --ids {kind.prefix}=1-400 or --from-jobs"
            why = f"this backend was asked and lists none of them; say which by {choices}"
            self.missed.append(Missed(kind.prefix, f"{kind.prefix}s", why, failed=False))

    def _by_code(self, kind: ResourceType, binding: Binding) -> None:
        listed = probe(self._reach.api, binding)

        def look(code: str) -> Sequence[Raw]:
            key = f"code={code}"
            if listed is not None:
                return [raw for raw in listed if key in binding.keys(raw)]
            return binding.find(self._reach.api, key) if binding.find is not None else ()

        codes = list(dict.fromkeys(self._wanted.codes))
        for code, raws in self._each(kind, look, codes, lambda code: f" {code}"):
            self._whole(kind, binding, raws)
            if not raws:
                why = "there is none of this code"
                other = ", or it has no release, and only --ids can find it"
                self._miss(kind, f" {code}", why + (other if listed is None else ""))

    def _members(self, kind: ResourceType) -> None:
        binding = self._reach.kind(kind.prefix)[1]
        owners = {one.remote_id: one for one in self.found(owner_prefix(kind))}
        listed = probe(self._reach.api, binding) if binding.list is not None else None
        if listed is not None:
            groups: dict[str, list[Raw]] = defaultdict(list)
            for raw in listed:
                owner = binding.decode(raw, self._reach.marks()).spec.get(kind.series)
                groups[str(owner)].append(raw)
            for owner in owners:
                self._whole(kind, binding, self._chosen(kind, groups[owner]))
            return

        def look(owner: Observed) -> Sequence[Raw] | None:
            return binding.members(self._reach.api, owner) if binding.members else None

        chosen: list[Raw] = []
        for one, raws in self._each(kind, look, list(owners.values()), _series):
            if raws is None:
                why = "its code is none that they can be listed by; --ids can name them"
                self._miss(kind, _series(one), why)
            chosen += self._chosen(kind, raws or ())
        self._whole(kind, binding, chosen)

    def _chosen(self, kind: ResourceType, raws: Sequence[Raw]) -> Sequence[Raw]:
        """All members of a series, or the newest; where no version has an order, the last made."""
        if self._wanted.members == ALL or not raws:
            return raws

        def newness(raw: Raw) -> tuple[bool, Order | tuple[()], int, str]:
            at, found = order(str(raw.get(kind.version, ""))), remote_id(raw)
            return at is not None, at or (), int(found) if found.isdecimal() else 0, found

        return [max(raws, key=newness)]

    def _read(self, kind: ResourceType, named: Iterable[Named]) -> None:
        binding = self._reach.kind(kind.prefix)[1]
        surely = {one.id for one in named if one.surely}
        ids = list(dict.fromkeys(one.id for one in named))

        def look(found: str) -> Raw | None:
            try:
                return binding.read(self._reach.api, found)
            except NotFound:
                return None

        for found, raw in self._each(kind, look, ids, lambda found: f" id {found}"):
            if raw is not None and not binding.is_ours(self._reach.api, raw):
                if found in surely:
                    self._miss(kind, f" id {found}", "it is not this tenant's")
            elif raw is not None:
                self._keep(kind, binding, raw)
            elif found in surely:
                self._miss(kind, f" id {found}", "there is none, or it is hidden from this token")

    def _whole(self, kind: ResourceType, binding: Binding, raws: Iterable[Raw]) -> None:
        """Keep listed objects, read one by one where list items are short."""
        if not binding.list_is_whole:
            self._read(kind, [Named(remote_id(raw)) for raw in raws])
            return
        for raw in raws:
            self._keep(kind, binding, raw)

    def _keep(self, kind: ResourceType, binding: Binding, raw: Raw) -> None:
        one = binding.decode(raw, self._reach.marks())
        self._found[kind.prefix][one.remote_id] = one

    def _each(
        self,
        kind: ResourceType,
        look: Callable[[T], R],
        items: Sequence[T],
        name: Callable[[T], str],
    ) -> list[tuple[T, R]]:
        """Several looks at once, in order; one that failed is missed, alone."""

        def guarded(item: T) -> R | RemoteError:
            try:
                return look(item)
            except _FINAL:
                raise
            except RemoteError as failure:
                return failure

        done: list[tuple[T, R]] = []
        for item, result in zip(items, self._pool.map(guarded, items), strict=True):
            if isinstance(result, RemoteError):
                self._miss(kind, name(item), words(result).rstrip("."))
            else:
                done.append((item, result))
        return done

    def _miss(self, kind: ResourceType, what: str, why: str) -> None:
        self.missed.append(Missed(kind.prefix, f"{kind.prefix}{what}", why))


def _has_codes(binding: Binding) -> bool:
    return any("code" in forms for forms in (binding.lookup, *binding.lookup_if.values()))


def _series(owner: Observed) -> str:
    return f"s of {called(owner)}"
