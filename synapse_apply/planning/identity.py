"""When two addresses claim one object, when one was renamed, and which moves are to be made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field

from synapse_apply.kinds.compare import is_same_value
from synapse_apply.kinds.descriptor import ApiBinding
from synapse_apply.kinds.wire import Claim, list_conflicts, list_key_conflicts
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import (
    Diagnostic,
    FieldPath,
    Position,
    error_finding,
    warning_finding,
)
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
from synapse_apply.model.values import ABSENT, Fields, get_at_or_absent
from synapse_apply.planning.fields import unflatten
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
    for conflict_group in (
        list_key_conflicts(
            (resource.natural_key, resource.desired)
            for resource in resources.values()
            if resource.desired is not None
        ),
        _equal_ids(resources, renames),
        _wrong_pins(resources),
    ):
        for diagnostic, addresses in conflict_group:
            for address in addresses:
                conflicts[address].append(diagnostic)
    return IdentityClaims(
        conflicts, renames, _held_records(resources, renames), _member_renames(resources, renames)
    )


def changed_identity(resource: ResourceState) -> list[str]:
    """Immutable identity fields in which the live object differs from the recorded one."""
    record, found_by = resource.record, resource.lookup_result.found_by
    if record is None or resource.lookup_result.observed is None or found_by is FoundBy.KEY:
        return []
    if all(
        _is_same_text(record.seen, resource.live_fields, (name,))
        for name in resource.type.identity_fields
    ):
        return []
    last_seen, live = unflatten(record.seen), unflatten(resource.live_fields)
    return [
        name
        for name in resource.type.identity_fields
        if (before := get_at_or_absent(last_seen, (name,))) is not ABSENT
        and not is_same_value(before, get_at_or_absent(live, (name,)))
    ]


def _is_same_text(last_seen: Fields, live: Fields, path: FieldPath) -> bool:
    """Whether a field is the same text on both sides, which decides nearly every case cheaply."""
    return type(last_seen.get(path)) is str and last_seen[path] == live.get(path)


def known_remote_id(resource: ResourceState) -> str:
    """The remote id of an address: that of the found object, else the pinned, else the recorded."""
    if resource.lookup_result.observed is not None:
        return resource.lookup_result.observed.remote_id
    if resource.desired is not None and resource.desired.remote_id:
        return resource.desired.remote_id
    return resource.record.remote_id if resource.record is not None else ""


# Each API version has ids of its own. A record of another version is found by its natural key
# and keeps what it proves (digest, last run). Runs are v1's and name a v2 plugin by its code. The
# emulator's `v2_ids=own` tests it.
def _build_object_key(resource: ResourceState) -> ObjectKey:
    """The key of an address's object; its id is "" where none is known."""
    observed = resource.lookup_result.observed
    if observed is not None:
        return ObjectKey(resource.address.kind, resource.binding.api, observed.remote_id)
    # A pinned id is of the API version in use, whatever version the record is from.
    is_pinned = resource.desired is not None and resource.desired.remote_id
    record = None if is_pinned else resource.record
    return ObjectKey(
        resource.address.kind,
        record.api if record else resource.binding.api,
        known_remote_id(resource),
    )


ConflictFindings = list[tuple[Diagnostic, list[Address]]]


def _equal_ids(resources: Resources, renames: Mapping[Address, Address]) -> ConflictFindings:
    # A renamed record shares its id with the new address, which is refused as a rename instead.
    renamed = set(renames.values())
    return list_conflicts(
        (
            Claim(key, resource.address, _find_position(resource))
            for resource in resources.values()
            if (key := _build_object_key(resource))[-1]
            and not (renamed and resource.address in renamed)
        ),
        "One object under two addresses",
        lambda remote_id, names: f"id {remote_id} belongs to {names}.",
        Text("Correct metadata.id, or ", Command("state rm ADDRESS"), " the wrong one."),
    )


def _wrong_pins(resources: Resources) -> ConflictFindings:
    conflicts: ConflictFindings = []
    pinned = [
        pinned_address
        for pinned_address, resource in resources.items()
        if resource.desired and resource.desired.remote_id
    ]
    for address in sorted(pinned):
        resource = resources[address]
        pin, record = resource.desired.remote_id if resource.desired else None, resource.record
        if record and record.api == resource.binding.api and record.remote_id != pin:
            detail = f"{address} pins id {pin}, and the state records id {record.remote_id}."
            hint = Text(
                "Remove metadata.id, or ", Command("state rm", address), " to follow the pin."
            )
            finding = error_finding("The pinned id is not the recorded one", detail, hint)
        elif resource.lookup_result.observed is None and resource.lookup_result.problem is None:
            detail = f"{address} pins id {pin}, and there is no such object."
            finding = error_finding(
                "The pinned object does not exist",
                detail,
                "Correct metadata.id, or remove it to create the object.",
            )
        else:
            continue
        conflicts.append(
            (
                finding.with_changes(position=_find_position(resource), address=str(address)),
                [address],
            )
        )
    return conflicts


def _find_renames(resources: Resources) -> dict[Address, Address]:
    """New addresses (declared, without record), and the undeclared record that matches each."""
    by_key: dict[tuple[str, str], Address] = {}
    by_id: dict[tuple[str, str, str], Address] = {}
    undeclared = [
        candidate
        for candidate, resource in resources.items()
        if resource.record is not None and resource.desired is None
    ]
    undeclared_new = [
        candidate
        for candidate, resource in resources.items()
        if resource.record is None and resource.desired is not None
    ]
    if not (undeclared and undeclared_new):
        return {}
    # In reverse order, so that the first of several addresses with one key is the one that stays.
    for address in sorted(undeclared, reverse=True):
        resource = resources[address]
        by_id[_build_object_key(resource)] = address
        for key in known_keys(resource.record, resource.binding):
            by_key[address.kind, key] = address
    renames: dict[Address, Address] = {}
    for address in sorted(undeclared_new):
        resource = resources[address]
        old = by_id.get(_build_object_key(resource))
        old = old or by_key.get((address.kind, resource.natural_key))
        if old is not None:
            renames[address] = old
    return renames


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
        record, found = resource.record, list(by_object.get(_build_object_key(resource), ()))
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
    records = [
        resource.record
        for resource in resources.values()
        if resource.record is not None and resource.record.series
    ]
    series_names = {record.series for record in records}
    owners = {old: new for new, old in old_by_new_address.items() if str(old) in series_names}
    series = {str(old): new for old, new in owners.items()}
    renamed_members = with_member_renames(records, owners)
    return {
        renamed_members[record.address]: series[record.series]
        for record in records
        if record.address in renamed_members
        and old_by_new_address.get(renamed_members[record.address]) == record.address
        if record.series in series
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


def _find_position(resource: ResourceState) -> Position | None:
    return resource.desired.position if resource.desired else None


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
