"""Which renames of a project file are still to be made in the records of one state."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field

from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Refusal
from synapse_apply.model.project import (
    MovedAddress,
    PolicyRule,
    RemovedAddress,
    iter_records_changed_by_renames,
    list_member_addresses,
    with_member_renames,
)
from synapse_apply.model.state import Intent, Record


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
    new_by_old = {move.old: move.new for move in moves}
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
    for old in sorted(new_by_old.keys() & {entry.address for entry in recorded_or_open}):
        # A state that missed several renames makes them all at once.
        chain = [new_by_old[old]]
        while chain[-1] in new_by_old:
            chain.append(new_by_old[chain[-1]])
        recorded = [address for address in chain if address in records]
        all_renames = with_member_renames(members[str(old)], {old: chain[-1]})
        open_calls = sorted({*all_renames, *chain} & open_addresses)
        reason = _rename_obstacle(all_renames, records, open_calls, recorded)
        if reason:
            warnings.append(_not_moved(move_by_old[old], chain[-1], reason))
            unmoved |= all_renames.keys() & records.keys()
            blocked |= {new: open_calls[0] for new in all_renames.values() if open_calls}
            continue
        denied = [
            _left_rule(rule, MovedAddress(before, after, move_by_old[old].position))
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
    removed_addresses = {removed_entry.address for removed_entry in removed} - set(declared)
    return frozenset(
        removed_addresses | list_member_addresses(records.values(), removed_addresses)
    ) - frozenset(declared)


def _rename_obstacle(
    all_renames: Mapping[Address, Address],
    records: Mapping[Address, Record],
    open_calls: Sequence[Address],
    recorded: Iterable[Address],
) -> str:
    if recorded_targets := sorted(
        {*recorded, *(new for new in all_renames.values() if new in records)}
    ):
        return f"{recorded_targets[0]} is recorded, too"
    return f"an earlier call of {open_calls[0]} is open" if open_calls else ""


def _not_moved(move: MovedAddress, end: Address, reason: str) -> Diagnostic:
    return warning_finding(
        "An address was not moved",
        f"{move.old} cannot become {end}: {reason}.",
        Text(Command("state list"), " shows what is recorded."),
        position=move.position,
        address=str(move.old),
    )


def _left_rule(rule: PolicyRule, move: MovedAddress) -> Refusal:
    reason = f"`moved` makes {move.old} {move.new}, to which the rule would not apply"
    way_out = f"let the rule apply to {move.new} too, or add `except: [{move.old}]` to it"
    ways_out = ("take the entry out of `moved`", way_out)
    return Refusal(rule.id, f"{reason} (policy: {rule.name})", ways_out, move.position)
