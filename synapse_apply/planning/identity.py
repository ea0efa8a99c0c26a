"""Who is who: two claims on one object are errors, an object under a new address is a rename."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from synapse_apply.kinds.compare import same
from synapse_apply.model.address import Address, in_order
from synapse_apply.model.diagnostic import Diagnostic, Path, Position, error
from synapse_apply.model.frozen import frozen
from synapse_apply.model.observed import FoundBy
from synapse_apply.model.refactoring import with_members
from synapse_apply.model.state import CREATE_VERB, Intent
from synapse_apply.model.values import ABSENT, Fields, dig
from synapse_apply.planning.refusals import listing
from synapse_apply.planning.situation import Item
from synapse_apply.planning.whole import nested

Items = Mapping[Address, Item]


@frozen
class Claims:
    """`conflicts`: errors by each address they stop (one error may stop several).

    `renames`: a new address and the recorded one it takes over; `held`: recorded addresses that
    are not forgotten because a rename is under way. `along`: a new address that the rename of its
    owner brings about as well, and that owner's new address.
    """

    conflicts: Mapping[Address, list[Diagnostic]]
    renames: Mapping[Address, Address]
    held: frozenset[Address]
    along: Mapping[Address, Address]

    def rename_of(self, address: Address) -> tuple[Address, Address] | None:
        """What to rename so that this new address has its record, from and to; None if nothing."""
        if not self.renames:
            return None
        new = self.along.get(address, address)
        return (self.renames[new], new) if new in self.renames else None


def claims(items: Items) -> Claims:
    """Every conflict and rename among all items."""
    renames = _renames(items)
    conflicts: dict[Address, list[Diagnostic]] = defaultdict(list)
    for found in (_double_keys(items), _double_ids(items, renames), _pins(items)):
        for diagnostic, addresses in found:
            for address in addresses:
                conflicts[address].append(diagnostic)
    return Claims(conflicts, renames, _held(items, renames), _along(items, renames))


def differing_identity(item: Item) -> list[str]:
    """Immutable identity fields in which the live object is not the recorded one."""
    record, found_by = item.record, item.sighting.found_by
    if record is None or item.sighting.observed is None or found_by is FoundBy.KEY:
        return []
    if all(_is_shown_alike(record.seen, item.live, (name,)) for name in item.type.identity):
        return []
    seen, live = nested(record.seen), nested(item.live)
    return [
        name
        for name in item.type.identity
        if (before := dig(seen, (name,))) is not ABSENT and not same(before, dig(live, (name,)))
    ]


def _is_shown_alike(seen: Fields, live: Fields, path: Path) -> bool:
    """Whether a field is the same text on both sides, which is nearly always all there is to it."""
    return type(seen.get(path)) is str and seen[path] == live.get(path)


def remote_id(item: Item) -> str:
    """The id this address stands for: of the object found, the pin, or the record."""
    if item.sighting.observed is not None:
        return item.sighting.observed.remote_id
    if item.desired is not None and item.desired.remote_id:
        return item.desired.remote_id
    return item.record.remote_id if item.record is not None else ""


def _object(item: Item) -> tuple[str, str, str]:
    """Kind, API version and id of what an address stands for: ids of two versions say nothing."""
    observed = item.sighting.observed
    if observed is not None:
        return item.address.kind, item.binding.api, observed.remote_id
    pinned = item.desired is not None and item.desired.remote_id
    recorded = None if pinned else item.record
    return item.address.kind, recorded.api if recorded else item.binding.api, remote_id(item)


def _where(item: Item) -> str:
    place = f" ({item.desired.position})" if item.desired and item.desired.position else ""
    return f"{item.address}{place}"


def _grouped(pairs: Iterable[tuple[tuple[str, ...], Item]]) -> list[list[Item]]:
    first: dict[tuple[str, ...], Item] = {}
    groups: dict[tuple[str, ...], list[Item]] = {}
    for key, item in pairs:
        other = first.setdefault(key, item)
        if other is not item:
            groups.setdefault(key, [other]).append(item)
    return [sorted(groups[key], key=lambda item: item.address) for key in sorted(groups)]


Found = list[tuple[Diagnostic, list[Address]]]


def _double_keys(items: Items) -> Found:
    declared = (
        ((item.address.kind, item.natural_key), item)
        for item in items.values()
        if item.desired is not None and item.natural_key
    )
    return [
        (
            error(
                "Two resources declare one object",
                f"{listing(map(_where, group))} all have {group[0].natural_key}.",
                "Delete one of the documents, or give it another identity.",
                position=_position(group[-1]),
                address=str(group[-1].address),
            ),
            [item.address for item in group],
        )
        for group in _grouped(declared)
    ]


def _double_ids(items: Items, renames: Mapping[Address, Address]) -> Found:
    renamed = set(renames.values())
    owners = (
        (at, item)
        for item in items.values()
        if (at := _object(item))[-1] and not (renamed and item.address in renamed)
    )
    return [
        (
            error(
                "One object under two addresses",
                f"id {remote_id(group[0])} belongs to {listing(map(_where, group))}.",
                "Correct metadata.id, or `synapse-apply state rm ADDRESS` the wrong one.",
                position=_position(group[-1]),
                address=str(group[-1].address),
            ),
            [item.address for item in group],
        )
        for group in _grouped(owners)
    ]


def _pins(items: Items) -> Found:
    found: Found = []
    pinned = [at for at, item in items.items() if item.desired and item.desired.remote_id]
    for address in in_order(pinned):
        item = items[address]
        pin, record = item.desired.remote_id if item.desired else None, item.record
        if record and record.api == item.binding.api and record.remote_id != pin:
            detail = f"{address} pins id {pin}, and the state records id {record.remote_id}."
            hint = f"Remove metadata.id, or `synapse-apply state rm {address}` to follow the pin."
            finding = error("The pinned id is not the recorded one", detail, hint)
        elif item.sighting.observed is None and item.sighting.problem is None:
            detail = f"{address} pins id {pin}, and there is no such object."
            finding = error(
                "The pinned object does not exist",
                detail,
                "Correct metadata.id, or remove it to create the object.",
            )
        else:
            continue
        found.append((finding.with_(position=_position(item), address=str(address)), [address]))
    return found


def _renames(items: Items) -> dict[Address, Address]:
    """New addresses (declared, without record) and the undeclared record that is theirs."""
    by_key: dict[tuple[str, str], Address] = {}
    by_id: dict[tuple[str, str, str], Address] = {}
    left = [at for at, item in items.items() if item.record is not None and item.desired is None]
    new = [at for at, item in items.items() if item.record is None and item.desired is not None]
    if not (left and new):
        return {}
    for address in reversed(in_order(left)):
        item = items[address]
        by_id[_object(item)] = address
        for key in _keys(item):
            by_key[address.kind, key] = address
    renames: dict[Address, Address] = {}
    for address in in_order(new):
        item = items[address]
        old = by_id.get(_object(item))
        old = old or by_key.get((address.kind, item.natural_key))
        if old is not None:
            renames[address] = old
    return renames


def _keys(item: Item) -> Iterator[str]:
    """Every natural key that a recorded object has, of which its manifest may have given one.

    A server may give an object a code that nobody declares.
    """
    if item.record is not None:
        if item.record.natural_key:
            yield item.record.natural_key
        yield from item.binding.keys(nested(item.record.seen))


def perhaps_made(
    items: Items, intents: Mapping[Address, Intent], waiting: Mapping[Address, Address]
) -> dict[Address, Intent]:
    """Declared addresses whose object an open create of another address may have made.

    It has the same natural key, or a rename of the project file leads there, which is `waiting`.
    """
    keyed = {
        (at.kind, intent.natural_key): intent
        for at, intent in intents.items()
        if intent.verb == CREATE_VERB and intent.natural_key
    }
    found = {new: intents[old] for new, old in waiting.items()}
    for address, item in items.items():
        intent = keyed.get((address.kind, item.natural_key))
        if item.desired is not None and intent is not None and intent.address != address:
            found.setdefault(address, intent)
    return found


def _along(items: Items, renames: Mapping[Address, Address]) -> dict[Address, Address]:
    """Renamed members of a series whose owner is renamed alike."""
    records = [
        item.record for item in items.values() if item.record is not None and item.record.series
    ]
    named = {record.series for record in records}
    owners = {old: new for new, old in renames.items() if str(old) in named}
    series = {str(old): new for old, new in owners.items()}
    whole = with_members(records, owners)
    return {
        whole[record.address]: series[record.series]
        for record in records
        if record.address in whole and renames.get(whole[record.address]) == record.address
        if record.series in series
    }


def _held(items: Items, renames: Mapping[Address, Address]) -> frozenset[Address]:
    """Renamed records, and undeclared ones that hang on them: their own rename comes next."""
    held = set(renames.values())
    below: dict[Address, list[Address]] = defaultdict(list)
    for address, item in items.items():
        if item.desired is None and item.record is not None:
            for need in item.record.depends_on:
                below[need].append(address)
    waiting = list(held)
    while waiting:
        for address in below[waiting.pop()]:
            if address not in held:
                held.add(address)
                waiting.append(address)
    return frozenset(held)


def _position(item: Item) -> Position | None:
    return item.desired.position if item.desired else None
