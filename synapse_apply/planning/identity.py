"""When two addresses claim one object, when one was renamed, and which moves are to be made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from operator import attrgetter

from synapse_apply.kinds.compare import is_same_value
from synapse_apply.kinds.descriptor import ApiBinding
from synapse_apply.kinds.wire import Claim, list_conflicts, list_key_conflicts
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, error_finding, warning_finding
from synapse_apply.model.frozen import frozen
from synapse_apply.model.job import RUN_VERB
from synapse_apply.model.plan import Refusal
from synapse_apply.model.project import (
    MovedAddress,
    PolicyRule,
    RemovedAddress,
    iter_records_changed_by_renames,
    list_member_addresses,
    with_member_renames,
)
from synapse_apply.model.resource import FoundBy, ObjectKey
from synapse_apply.model.state import CREATE_VERB, Intent, Record
from synapse_apply.model.values import ABSENT, get_at_or_absent, unflatten
from synapse_apply.planning.plan_input import ResourceState

Resources = Mapping[Address, ResourceState]


@frozen
class IdentityClaims:
    """The conflicts and renames among all addresses of a plan.

    `conflicts` has errors by each address that they stop. `renames` has the recorded address by the
    new one; `held_records` are recorded addresses that are kept because of a rename.
    `member_renames` has the new address of the owner by each new address that the owner's rename
    renames as well.
    """

    conflicts: Mapping[Address, list[Diagnostic]]
    renames: Mapping[Address, Address]
    held_records: frozenset[Address]
    member_renames: Mapping[Address, Address]

    def find_rename(self, address: Address) -> tuple[Address, Address] | None:
        """The rename (from, to) that gives this new address its record; None for none."""
        if not self.renames:
            return None
        new = self.member_renames.get(address, address)
        return (self.renames[new], new) if new in self.renames else None


def collect_identity_claims(resources: Resources) -> IdentityClaims:
    """Every conflict and rename among all resources."""
    renames = _find_renames(resources)
    conflicts: dict[Address, list[Diagnostic]] = defaultdict(list)
    # A renamed record shares its id with the new address, which is refused as a rename instead.
    renamed = {*renames.values()}
    found = [
        *list_key_conflicts(
            (resource.natural_key, resource.desired)
            for resource in resources.values()
            if resource.desired is not None
        ),
        *list_conflicts(
            (
                Claim(key, address, resource.position())
                for address, resource in resources.items()
                if (key := _object_key(resource)).remote_id and address not in renamed
            ),
            "One object under two addresses",
            lambda remote_id, names: f"id {remote_id} belongs to {names}.",
            Text("Correct metadata.id, or ", Command("state rm ADDRESS"), " the wrong one."),
        ),
        *_wrong_pins(resources),
    ]
    for diagnostic, addresses in found:
        for address in addresses:
            conflicts[address].append(diagnostic)
    return IdentityClaims(
        conflicts, renames, _held_records(resources, renames), _member_renames(resources, renames)
    )


def changed_identity(resource: ResourceState) -> list[str]:
    """Immutable identity fields in which the live object differs from the recorded one."""
    record, live = resource.record, resource.live_fields
    is_by_key = resource.lookup_result.found_by is FoundBy.KEY
    if record is None or resource.observed is None or is_by_key:
        return []
    names, seen = resource.type.identity_fields, record.seen
    # The same text on both sides decides nearly every case cheaply.
    if all(type(seen.get((name,))) is str and seen[(name,)] == live.get((name,)) for name in names):
        return []
    trees = unflatten(seen), unflatten(live)
    sides = ((name, *(get_at_or_absent(tree, (name,)) for tree in trees)) for name in names)
    return [n for n, was, now in sides if was is not ABSENT and not is_same_value(was, now)]


# Each API version has ids of its own. A record of another version is found by its natural key
# and keeps what it proves (digest, last run). Runs are v1's and name a v2 plugin by its code. The
# emulator's `v2_ids=own` tests it.
def _object_key(resource: ResourceState) -> ObjectKey:
    """The key of an address's object; its id is "" where none is known."""
    # A pinned id is of the API version in use, whatever version the record is from.
    is_pinned = resource.desired is not None and resource.desired.remote_id
    is_of_record = resource.record and resource.observed is None and not is_pinned
    api = resource.record.api if resource.record and is_of_record else resource.binding.api
    return ObjectKey(resource.address.kind, api, resource.remote_id)


def _wrong_pins(resources: Resources) -> Iterator[tuple[Diagnostic, list[Address]]]:
    for address, resource in sorted(resources.items()):
        pin, record = resource.desired.remote_id if resource.desired else None, resource.record
        if not pin:
            continue
        if record and resource.pins_another:
            finding = error_finding(
                "The pinned id differs from the recorded id",
                f"{address} pins id {pin}, but the state records id {record.remote_id}.",
                Text(
                    "Remove metadata.id, or ",
                    Command("state rm", address),
                    " to use the pinned id.",
                ),
            )
        elif resource.observed is None and resource.lookup_result.problem is None:
            finding = error_finding(
                "The pinned object does not exist",
                f"{address} pins id {pin}, but the backend has no such object.",
                "Correct metadata.id, or remove it to create the object.",
            )
        else:
            continue
        yield finding.with_changes(position=resource.position(), address=str(address)), [address]


def _find_renames(resources: Resources) -> dict[Address, Address]:
    """New addresses (declared, without record), and the undeclared record that matches each."""
    undeclared = [one for one in resources.values() if one.record and not one.desired]
    new = [one for one in resources.values() if one.desired and not one.record]
    by_key: dict[tuple[str, ...], Address] = {}
    # In reverse order, so that the first of several addresses with one key is the one that stays.
    for resource in sorted(undeclared, key=attrgetter("address"), reverse=True) if new else ():
        address = resource.address
        by_key[_object_key(resource)] = address
        for key in known_keys(resource.record, resource.binding):
            by_key[address.kind, key] = address
    renames = {
        resource.address: old
        for resource in (new if by_key else ())
        if (old := by_key.get(_object_key(resource)))
        # A pinned object is found by its id alone, whatever else has its name.
        or (
            not (resource.desired and resource.desired.remote_id)
            and (old := by_key.get((resource.address.kind, resource.natural_key)))
        )
    }
    return dict(sorted(renames.items()))


def known_keys(record: Record | None, binding: ApiBinding) -> list[str]:
    """Every natural key of a recorded object: as recorded, and from its fields.

    A server may give an object a code that nobody declares.
    """
    if record is None:
        return []
    keys = [record.natural_key] if record.natural_key else []
    return [*keys, *binding.list_natural_keys(unflatten(record.seen))]


def open_calls_of_others(
    resources: Resources,
    open_intents: Collection[Intent],
    open_call_by_new_address: Mapping[Address, Address],
    claims: IdentityClaims,
) -> dict[Address, Intent]:
    """Declared addresses whose object an open call of another address is of, or may have made.

    A create has the same natural key, as has any call of another API version; or the address was
    renamed (`open_call_by_new_address`), or seems to be (`claims`): then it waits for the calls of
    its owner and of all members.
    """
    by_address = {intent.address: intent for intent in open_intents}
    by_object: dict[ObjectKey, list[Intent]] = defaultdict(list)
    by_key: dict[tuple[str, str], list[Intent]] = defaultdict(list)
    for intent in open_intents:
        is_change = intent.remote_id and intent.verb != RUN_VERB
        if is_change:
            by_object[ObjectKey(intent.address.kind, intent.api, intent.remote_id)].append(intent)
        if intent.natural_key and (is_change or intent.verb == CREATE_VERB):
            by_key[intent.address.kind, intent.natural_key].append(intent)
    # A rename in the project file has precedence over an equal natural key.
    matches = {new: by_address[old] for new, old in open_call_by_new_address.items()}
    for new, old in claims.renames.items():
        owner = (claims.find_rename(new) or (old,))[0]
        waiting = [
            intent
            for intent in open_intents
            if intent.address in {old, owner} or intent.series == str(owner)
        ]
        if waiting:
            matches.setdefault(new, by_address.get(old, waiting[0]))
    for address, resource in resources.items():
        record, found = resource.record, list(by_object.get(_object_key(resource), ()))
        if record is not None:
            found += by_object.get(ObjectKey(address.kind, record.api, record.remote_id), ())
        found += (
            intent
            for intent in by_key.get((address.kind, resource.natural_key), ())
            if intent.verb == CREATE_VERB or intent.api != resource.binding.api
        )
        others = [intent for intent in found if intent.address != address]
        if resource.desired is not None and others:
            matches.setdefault(address, min(others, key=lambda one: one.verb == CREATE_VERB))
    return matches


def _member_renames(
    resources: Resources, old_by_new_address: Mapping[Address, Address]
) -> dict[Address, Address]:
    """The new addresses of renamed series members, each with the new address of its owner.

    Only members that are renamed in the same way as their owner.
    """
    records = [one.record for one in resources.values() if one.record and one.record.series]
    names = {record.series for record in records}
    owners = {old: new for new, old in old_by_new_address.items() if str(old) in names}
    renamed = with_member_renames(records, owners)
    series = {str(old): new for old, new in owners.items()}
    return {
        renamed[record.address]: series[record.series]
        for record in records
        if record.address in renamed and record.series in series
        if old_by_new_address.get(renamed[record.address]) == record.address
    }


def _held_records(resources: Resources, renames: Mapping[Address, Address]) -> frozenset[Address]:
    """Renamed records, and undeclared ones that depend on them, which are renamed next."""
    held_addresses = set(renames.values())
    dependents: dict[Address, list[Address]] = defaultdict(list)
    for address, resource in resources.items():
        if resource.desired is None and resource.record is not None:
            for need in resource.record.depends_on:
                dependents[need].append(address)
    queue = list(held_addresses)
    while queue:
        for address in dependents[queue.pop()]:
            if address not in held_addresses:
                held_addresses.add(address)
                queue.append(address)
    return frozenset(held_addresses)


@frozen
class MovedRecords:
    """The `renames` to be made, by new address, and the `records` with them made.

    `open_call_by_new_address` has the open call that a rename waits for, by each new address whose
    object may exist under the old one. `refusals` has why rules forbid a rename, by both addresses.
    `unmoved` are recorded old addresses of renames that were left out, which nothing may forget.
    """

    renames: tuple[MovedAddress, ...]
    records: Mapping[Address, Record]
    diagnostics: tuple[Diagnostic, ...] = ()
    open_call_by_new_address: Mapping[Address, Address] = field(default_factory=dict)
    refusals: Mapping[Address, Refusal] = field(default_factory=dict)
    unmoved: frozenset[Address] = frozenset()


# Renames are made whatever is selected, under the lock, in one transaction before any call; a
# saved plan that lacks one is stale.
def make_due_renames(
    records: Mapping[Address, Record],
    moves: Sequence[MovedAddress],
    open_intents: Sequence[Intent],
    rules: Sequence[PolicyRule] = (),
) -> MovedRecords:
    """The renames that are due: of recorded old addresses, to the end of their chain, with members.

    A rename is left out with a warning if its new address is recorded as well, or if an earlier
    call of an address on the chain is open. One that was made before is not due. No rename
    leaves a rule that denies.
    """
    if not moves:
        return MovedRecords((), records)
    move_by_old = {move.old: move for move in moves}
    recorded_or_open: list[Record | Intent] = [*records.values(), *open_intents]
    members: dict[str, list[Record | Intent]] = defaultdict(list)
    for entry in recorded_or_open:
        members[entry.series].append(entry)
    open_addresses = {intent.address for intent in open_intents}
    renames: dict[Address, Address] = {}
    blocked: dict[Address, Address] = {}
    unmoved: set[Address] = set()
    refusals: dict[Address, Refusal] = {}
    warnings: list[Diagnostic] = []
    for old in sorted(move_by_old.keys() & {entry.address for entry in recorded_or_open}):
        # A state that missed several renames makes them all at once.
        chain = [move_by_old[old].new]
        while chain[-1] in move_by_old:
            chain.append(move_by_old[chain[-1]].new)
        move = move_by_old[old]
        all_renames = with_member_renames(members[str(old)], {old: chain[-1]})
        open_calls = sorted({*all_renames, *chain} & open_addresses)
        if recorded := sorted({*chain, *all_renames.values()} & records.keys()):
            obstacle = f"{recorded[0]} is also recorded"
        else:
            obstacle = f"an earlier call of {open_calls[0]} is open" if open_calls else ""
        if obstacle:
            warnings.append(
                warning_finding(
                    "An address was not moved",
                    f"{old} cannot become {chain[-1]}: {obstacle}.",
                    Text(Command("state show"), " shows what is recorded."),
                    position=move.position,
                    address=str(old),
                )
            )
            unmoved |= all_renames.keys() & records.keys()
            blocked |= {new: open_calls[0] for new in all_renames.values() if open_calls}
            continue
        denied = [
            _left_rule(rule, MovedAddress(before, after, move.position))
            for rule in rules
            for before, after in all_renames.items()
            if rule.is_denying and rule.applies_to(before) and not rule.applies_to(after)
        ]
        if denied:
            refusals |= dict.fromkeys({*all_renames, *all_renames.values()}, denied[0])
        else:
            renames |= all_renames
    renamed_records = {
        record.address: record
        for record in iter_records_changed_by_renames(records.values(), renames)
    }
    unchanged = {address: record for address, record in records.items() if address not in renames}
    due_moves = (
        MovedAddress(old, new, move_by_old[old].position if old in move_by_old else None)
        for old, new in renames.items()
    )
    return MovedRecords(
        tuple(sorted(due_moves, key=lambda move: (move.new, move.old))),
        {**unchanged, **renamed_records},
        tuple(warnings),
        blocked,
        refusals,
        frozenset(unmoved),
    )


def select_removed(
    removed: Iterable[RemovedAddress],
    records: Mapping[Address, Record],
    declared: Collection[Address],
) -> frozenset[Address]:
    """The addresses that `removed:` names, with recorded series members, unless declared again."""
    named = {entry.address for entry in removed} - set(declared)
    return frozenset(named | list_member_addresses(records.values(), named)) - {*declared}


def _left_rule(rule: PolicyRule, move: MovedAddress) -> Refusal:
    reason = f"`moved` makes {move.old} {move.new}, which the rule does not cover"
    way_out = f"extend the rule to {move.new}, or add `except: [{move.old}]` to the rule"
    ways_out = ("remove the entry from `moved`", way_out)
    return Refusal(rule.id, f"{reason} (policy: {rule.name})", ways_out, move.position)
