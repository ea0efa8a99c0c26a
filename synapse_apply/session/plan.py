"""Use case: what would be done. Reads state and backend, writes nothing."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from synapse_apply.applying.settle import Settled, after_settling
from synapse_apply.model.address import Address
from synapse_apply.model.aim import aimed_plan
from synapse_apply.model.diagnostic import Diagnostic, warning
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Base, Plan
from synapse_apply.model.ports import Progress
from synapse_apply.model.refactoring import Moved, turned
from synapse_apply.model.state import Record, State
from synapse_apply.planning.moving import let_go, moving
from synapse_apply.planning.planner import plan as make_plan
from synapse_apply.planning.refusals import WAITS, listing
from synapse_apply.planning.situation import Choices, Item, Situation
from synapse_apply.session.common_rules import declared_elsewhere
from synapse_apply.session.context import Context, Planned
from synapse_apply.session.intents import build_marks, look_up, observing
from synapse_apply.session.named_secrets import wrap_recorded_secrets
from synapse_apply.session.observe import Observer
from synapse_apply.session.other_runs import at_work
from synapse_apply.session.prepare import items
from synapse_apply.session.published import published
from synapse_apply.session.replaced import origins_of, with_replacements
from synapse_apply.session.unrecorded import told_done
from synapse_apply.session.writable import Writable


def plan(
    context: Context,
    choices: Choices,
    *,
    trying: Progress | None = None,
    looked_at: Collection[Address] = (),
) -> Planned:
    """A plan of the whole target as it stands now, held to the target's rules.

    With `trying`, which is told of each, every call that the backend can check without acting on
    it is sent so; what it refuses is refused in the plan. Recorded addresses that are not declared
    are read where a delete needs it, and where they are `looked_at`. RemoteError never leaves here:
    a read that failed is a finding of its address. StateError and InputError as the stores and the
    manifests raise them, LockLost where a lock that is held was lost meanwhile.
    """
    look = _look(context, choices, looked_at)
    if other_run := at_work(context.store, look.serial):
        # It may have ended by now; then this look tells of one moment.
        look = _look(context, choices, looked_at)
        other_run = at_work(context.store, look.serial)
    situation = replace(
        look.situation,
        is_changing=bool(other_run),
        diagnostics=(
            *context.diagnostics,
            *(other_run or _unsettled(look.settled)),
            *look.situation.diagnostics,
        ),
    )
    plan = make_plan(situation)
    planned = Planned(plan, situation.items, look.settled, situation.capabilities)
    plan = plan if trying is None else _tried(context, planned, situation, trying)
    # Without the lock nothing more was sent: what could not be read then says nothing.
    context.store.check()
    return replace(planned, plan=_for_readers(context, plan, situation.items))


@frozen
class _Look:
    """What state and backend were found to be; the state is that of `serial`."""

    serial: int
    situation: Situation
    settled: tuple[Settled, ...]


def _look(context: Context, choices: Choices, looked_at: Collection[Address]) -> _Look:
    """Read the state, then all that is live of what it and the manifests name."""
    state = context.store.read()
    observer = observing(context, state)
    settled = look_up(context, state, observer)
    opened = tuple(item.intent for item in settled if item.is_open)
    believed, forged = context.signer.without_forged(state.records)
    moves = moving(after_settling(believed, settled), _moves(context), opened)
    records = moves.records
    observer.marks = build_marks(context, records, state.open_intents)
    desired, unnamed = wrap_recorded_secrets(
        context.desired, records, context.loaded.marks, state.open_intents
    )
    observer.observe(desired, records)
    _read_undeclared(context, observer, records, looked_at, prune=choices.prune)
    wanted = desired.keys() if choices.selected is None else desired.keys() & choices.selected
    twins = tuple(observer.twins({at: desired[at] for at in desired if at in wanted}, records))
    live, untold = published(context, observer, records, choices.selected)
    made = items(context.catalogue, observer, desired, records, context.secrets, context.new_salt)
    situation = Situation(
        plan_id=str(uuid.uuid4()),
        created=context.clock.now(),
        tool_version=context.version,
        base=_base(context, state),
        catalogue=context.catalogue,
        items=made,
        open_intents=opened,
        settles_in=_settles_in(settled),
        told=_told(context, state),
        waiting=moves.waiting,
        choices=replace(choices.under(context.target), partial=context.partial),
        capabilities=observer.capabilities,
        diagnostics=(
            *moves.diagnostics,
            *unnamed,
            *untold,
            *map(_build_forged_finding, forged),
            *twins,
        ),
        elsewhere=context.elsewhere() if any(map(_may_be_proved, made.values())) else {},
        moved=moves.moved,
        removed=let_go(context.project.removed, records, context.desired),
        published=live,
        can_write=Writable(context),
        elsewhere_declared=declared_elsewhere(context, made),
    )
    return _Look(state.serial, situation, tuple(settled))


def _for_readers(context: Context, plan: Plan, made: Mapping[Address, Item]) -> Plan:
    """The plan with what new packages replace, and with commands that name the target."""
    root, allow_files = context.project.root, context.target.allow_files
    found = with_replacements(plan, made, origins_of(context), root, allow_files)
    return aimed_plan(found, context.aim)


def _moves(context: Context) -> tuple[Moved, ...]:
    """The project's moves; manifests of a Git ref may have the addresses of before."""
    moved = context.project.moved
    return turned(moved, context.desired) if context.revision else moved


def _base(context: Context, state: State) -> Base:
    return Base(
        target=context.target.name,
        binding=state.binding,
        lineage=state.lineage,
        serial=state.serial,
        manifests_digest=context.loaded.manifests_digest,
        commit=context.actor.commit,
        dirty=context.actor.dirty,
        revision=context.revision,
    )


def _tried(context: Context, planned: Planned, situation: Situation, progress: Progress) -> Plan:
    """The plan of what is left when its calls were tried, and what was found by that."""
    # Here, not above: a plan that tries nothing needs no more than it reads.
    from synapse_apply.session.trials import told, trials_of

    trials = trials_of(context, planned, progress)
    found = (*situation.diagnostics, *told(trials))
    return make_plan(
        replace(situation, refused=trials.refused, trial=trials.counts, diagnostics=found)
    )


def _settles_in(settled: Iterable[Settled]) -> dict[Address, float]:
    """In how many seconds each open call can be told to have been lost, where it can be."""
    return {
        item.intent.address: item.settles_in
        for item in settled
        if item.is_open and item.settles_in is not None
    }


def _told(context: Context, state: State) -> dict[Address, str]:
    """How to record open calls that were done, as files tell."""
    found = told_done(context.project, context.target, state, context.signer.keys)
    opened = (intent for intent in state.open_intents if intent.id in found)
    return {intent.address: found[intent.id].way_out for intent in opened}


def _unsettled(settled: Iterable[Settled]) -> Iterator[Diagnostic]:
    """Why earlier calls are still open, which the refusals of their resources cannot know.

    One warning for all calls of a verb that are open for one cause.
    """
    groups: dict[tuple[str, str], list[Settled]] = defaultdict(list)
    for item in settled:
        if item.is_open:
            cause = item.why if item.settles_in is None else ""
            groups[item.intent.verb, cause].append(item)
    yield from map(_still_open, groups.values())


def _still_open(items: Sequence[Settled]) -> Diagnostic:
    """The warning of calls with one cause; how long to wait is that of the last of them."""
    last = max(items, key=lambda item: item.settles_in or 0.0)
    hint = "" if last.settles_in is None else f"{WAITS}."
    first = items[0].intent
    if len(items) == 1:
        return warning(
            "The outcome of an earlier call is still unknown",
            f"{first.verb} of {first.address} was sent at {first.sent_at}: {last.why}.",
            hint,
            address=str(first.address),
        )
    since = min(item.intent.sent_at for item in items)
    at = listing(item.intent.address for item in items)
    return warning(
        f"The outcome of {len(items)} earlier calls is still unknown",
        f"{first.verb} of {at} (the first was sent at {since}): {last.why}.",
        hint,
    )


def _build_forged_finding(address: Address) -> Diagnostic:
    """The record of a run is not what this state's key signed."""
    return warning(
        "The record of a run was changed outside of this tool",
        f"What the state says of the last run of {address} is not what was signed with the state "
        "key. It counts as not known.",
        "Find out who can write to the state.",
        address=str(address),
    )


def _may_be_proved(item: Item) -> bool:
    """Whether it is to be made here, and could have been verified elsewhere before."""
    makes = item.desired is not None and item.sighting.observed is None
    return makes and item.type.proof is not None


def _read_undeclared(
    context: Context,
    observer: Observer,
    records: Mapping[Address, Record],
    looked_at: Collection[Address],
    *,
    prune: bool,
) -> None:
    """Look at what is recorded and not declared, where a delete or somebody wants to know."""
    deletable = _deletable(context, context.desired, records) if prune else []
    observer.read({*deletable, *_undeclared(context, records, looked_at)}, records)


def _undeclared(
    context: Context, records: Mapping[Address, Record], among: Iterable[Address]
) -> Iterator[Address]:
    """Recorded addresses, of a kind this version knows, that no manifest declares."""
    for address in among:
        known = address in records and address.kind in context.catalogue
        if known and address not in context.desired:
            yield address


def _deletable(
    context: Context, desired: Mapping[Address, object], records: Mapping[Address, Record]
) -> list[Address]:
    """Recorded addresses that a delete may concern, so that it is known what is there."""
    found = []
    for address, record in sorted(records.items()):
        kind = context.catalogue.get(address.kind)
        binding = kind.bindings.get(record.api) if kind else None
        if address not in desired and binding is not None and binding.delete is not None:
            found.append(address)
    return found
