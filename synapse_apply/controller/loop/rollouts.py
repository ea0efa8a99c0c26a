"""How rollouts bring a head to their targets: what the rules decide is read and written."""

from __future__ import annotations

from collections.abc import Sequence

from synapse_apply.controller.loop.claiming import ClaimedTarget, FinishedRun
from synapse_apply.controller.loop.deciding import TargetDecision
from synapse_apply.controller.loop.parts import LoopParts
from synapse_apply.controller.page.addresses import build_rollout_path
from synapse_apply.controller.rows import (
    RolloutRow,
    RolloutState,
    RolloutTargetRow,
    RunCause,
    SourceRow,
    TargetRow,
    WaveEnd,
    WaveRow,
    say,
)
from synapse_apply.controller.rules import rollouts
from synapse_apply.controller.rules.assessment import Assessment
from synapse_apply.controller.rules.due import get_interval_or_default, reminder_number
from synapse_apply.controller.settings import DAY, Controller, Event, Rollout, Wave
from synapse_apply.controller.store.store_writer import StoreWriter
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, error_finding, warning_finding
from synapse_apply.model.frozen import replace
from synapse_apply.model.phrases import format_count_and_noun


def write_next_steps(parts: LoopParts, source: str) -> None:
    """Bring the rollouts of a source as far as what their targets have shown lets them go.

    One that has ended, or stopped, makes room for a newer head that waited for it
    (`new_head: queue`).
    """
    for rollout in rollouts_of_source(parts.settings, source):
        row = parts.store.find_rollout(rollout.name)
        if row is None or row.source != source:
            continue
        # Most of the time there is nothing to do: that costs no transaction.
        if not row.state.is_over:
            row = _write_next_step(parts, rollout) or row
        _request_fetch(parts, rollout, row)


def _write_next_step(parts: LoopParts, rollout: Rollout) -> RolloutRow | None:
    """One step of a rollout, and the rollout after it; None where it ended or was forgotten."""
    with parts.write() as writer:
        row = parts.store.find_rollout(rollout.name)
        if row is None or row.state.is_over or _is_revision_refused(parts, row):
            return None
        if row.waves_digest != rollouts.wave_digest(rollout):
            # Which target is in which wave now says the comparison that was asked for.
            return None
        name = row.name

        def read_members(wave: int) -> list[rollouts.RolloutMember]:
            rows = parts.store.list_rollout_targets(name, wave)
            targets = {row.name: row for row in parts.store.wave_targets(name, wave)}
            return [rollouts.RolloutMember(row, targets.get(row.target)) for row in rows]

        waves = parts.store.list_waves(name, row.number)
        if _waits_for_person(rollout, row, waves):
            return None
        step = rollouts.compute_rollout_step(
            rollout, row, waves, read_members, parts.clock.read_wall()
        )
        _write_step(parts, writer, row, step)
    return step.rollout


def _waits_for_person(rollout: Rollout, row: RolloutRow, waves: Sequence[WaveRow]) -> bool:
    """Whether nothing goes on before a person has acted; the targets need not be read then."""
    if row.state is RolloutState.WAITING:
        is_approved = any(wave.wave == row.wave and wave.approved_by for wave in waves)
        return not is_approved and any(wave.approve for wave in rollout.waves[row.wave - 1 :][:1])
    return row.state is RolloutState.STOPPED


def _is_revision_refused(parts: LoopParts, row: RolloutRow) -> bool:
    """Whether the revision that it brings was refused since: which waves there are is not known."""
    revision = parts.store.find_revision(row.source, row.commit)
    return revision is not None and revision.number == row.number and revision.finding is not None


def _write_step(
    parts: LoopParts, writer: StoreWriter, before: RolloutRow, step: rollouts.RolloutStep
) -> None:
    after = step.rollout
    if after != before:
        writer.put(after)
    for wave in step.waves:
        writer.put(wave)
        # Note that a wave was opened or closed; nothing of one in which nothing was to be done.
        text = f"wave {wave.wave} of {after.wave_count}"
        if wave.end is WaveEnd.NONE:
            moved_count = sum(member.row.wave == wave.wave for member in step.members)
            moved = format_count_and_noun(moved_count, "target")
            audit_and_log_step(parts, writer, after, "open wave", f"{text}: {moved} moved")
        elif wave.closed_at > wave.opened_at:
            audit_and_log_step(parts, writer, after, "close wave", f"{text}: {wave.end.value}")
    writer.put(*step.rollout_targets)
    for target in step.targets:
        writer.put(target)
    if after.state is not before.state and after.state is not RolloutState.RUNNING:
        reason = after.state_reason or after.description
        audit_and_log_step(parts, writer, after, f"rollout {after.state.value}", reason)
    queue_rollout_news(parts, writer, before, after)


def _request_fetch(parts: LoopParts, rollout: Rollout, row: RolloutRow) -> None:
    """Have the source compared soon where its head waits for this rollout no more.

    Which waves the targets of the head belong to is known from the project file alone.
    """
    source = parts.store.find_source(row.source)
    if source is None or not row.number < source.keyed_number == source.head_number:
        return
    if not rollouts.is_newer_head_due(rollout, row, source.head_number):
        return
    head = parts.store.find_revision(source.name, source.head)
    if head is None or head.finding is not None:
        return
    parts.request_comparison(source.name)
    with parts.write() as writer:
        writer.request_fetch_at_once(source.name)


def rollouts_of_source(settings: Controller, source: str) -> list[Rollout]:
    """The rollouts that a configuration has for a source."""
    return [rollout for rollout in settings.rollouts.values() if rollout.source == source]


def write_rollouts_at_head(
    parts: LoopParts,
    writer: StoreWriter,
    source: SourceRow,
    assignments: rollouts.RolloutAssignments,
) -> None:
    """Write what the head of a source makes of its rollouts; the next round opens their waves.

    One that the configuration no longer has is forgotten: its targets are at the head as any other.
    """
    configured = {
        rollout.name: rollout for rollout in rollouts_of_source(parts.settings, source.name)
    }
    for row in parts.store.list_rollouts():
        is_unknown = row.source == source.name and row.name not in configured
        if is_unknown or row.source not in parts.settings.sources:
            writer.delete_rollout(row.name)
            audit_and_log_step(
                parts, writer, row, "forget rollout", "controller.yaml no longer has it"
            )
    beginnings = []
    for rollout in configured.values():
        before = parts.store.find_rollout(rollout.name)
        targets_before: Sequence[RolloutTargetRow] = ()
        if before is not None and before.source != source.name:
            writer.delete_rollout(before.name)
            before = None
        elif before is not None:
            targets_before = parts.store.list_rollout_targets(rollout.name)
        beginning = rollouts.compute_rollout_beginning(
            rollout,
            before,
            targets_before,
            assignments.targets_by_rollout[rollout.name],
            commit=source.head,
            number=source.head_number,
            now=parts.clock.read_wall(),
        )
        beginnings.append((before, beginning))
    # A target may have left one rollout for another.
    for _, beginning in beginnings:
        writer.delete_from_rollouts(beginning.removed_names)
    for before, beginning in beginnings:
        for wave in beginning.waves:
            writer.put(wave)
        writer.put(*beginning.targets)
        after = beginning.rollout
        if after is None and before is not None and beginning.removed_names:
            after = (
                replace(before, state=RolloutState.RUNNING)
                if before.state is RolloutState.WAITING
                else before
            )
        if after is not None:
            writer.put(after)
            if before is None or before.number != after.number:
                audit_and_log_step(
                    parts,
                    writer,
                    after,
                    "begin rollout",
                    format_count_and_noun(after.wave_count, "wave"),
                )
            elif before.wave != after.wave:
                detail = f"wave {after.wave} again: its targets changed"
                audit_and_log_step(parts, writer, after, "begin waves again", detail)
            queue_rollout_news(parts, writer, before, after)


def record_evidence(
    parts: LoopParts,
    writer: StoreWriter,
    after: TargetRow,
    claimed: ClaimedTarget,
    run: FinishedRun,
    decision: TargetDecision,
    assessment: Assessment,
) -> TargetRow:
    """Write what a run of a target has shown of its rollout, in the transaction of the run.

    The target as it is after the run, due at the end of its soak at the latest.
    """
    row = parts.store.find_rollout_target(after.name)
    if row is None:
        return after
    shown_run = rollouts.ShownRun(
        rollouts.choose_shown_state(run.result, decision.judgement, assessment, run.verb),
        claimed.row.wanted_digest,
        claimed.epoch,
        run.began_at,
        run.ended_at,
    )
    interval = get_interval_or_default(decision.rule, parts.settings.defaults)
    updated = rollouts.add_evidence(row, shown_run, interval=interval)
    wave = _configured_wave(parts, row)
    if wave is None or updated == row:
        return after
    is_shown = bool(row.good_since) and row.soaked >= wave.soak
    if not (
        is_shown and (row.good_since, row.failed_at) == (updated.good_since, updated.failed_at)
    ):
        writer.put(updated)
    soak_end = rollouts.find_soak_end(updated, wave)
    if soak_end is None or soak_end >= after.due_at:
        return after
    due_at = max(soak_end, parts.clock.read_wall())
    return replace(after, due_at=due_at, due_cause=RunCause.INTERVAL)


def _configured_wave(parts: LoopParts, row: RolloutTargetRow) -> Wave | None:
    """The wave of a target in the configuration in use; None where that has it no more."""
    rollout = parts.settings.rollouts.get(row.rollout)
    if rollout is None or rollout.source != row.target.source:
        return None
    return rollout.waves[row.wave - 1] if row.wave <= len(rollout.waves) else None


_TOLD_STATES = frozenset({RolloutState.WAITING, RolloutState.STOPPED})


def queue_rollout_news(
    parts: LoopParts, writer: StoreWriter, before: RolloutRow | None, after: RolloutRow
) -> None:
    """Tell of a rollout that came to a state in which a person is needed, or left a failure."""
    if after.state in _TOLD_STATES and not (
        before is not None
        and (before.state, before.number, before.wave) == (after.state, after.number, after.wave)
    ):
        is_stopped = after.state is RolloutState.STOPPED
        event = Event.FAILED if is_stopped else Event.HELD
        fact = f"rollout {after.name} of {after.source}, {_name_stay(after)}"
        _queue_rollout_message(parts, writer, event, fact, after, _stopped_or_waiting(after))
    was_stopped = before is not None and before.state is RolloutState.STOPPED
    if before is not None and was_stopped and after.state is not RolloutState.STOPPED:
        fact = f"rollout {after.name} of {after.source} goes on, {_name_stay(before)}"
        is_aborted = after.state is RolloutState.ABORTED
        finding = warning_finding(after.description) if is_aborted else None
        _queue_rollout_message(parts, writer, Event.RECOVERED, fact, after, finding)


def queue_rollout_reminders(parts: LoopParts, writer: StoreWriter) -> None:
    """Tell once a day of the rollouts that need a person, or did not end for a week."""
    now = parts.clock.read_wall()
    for row in parts.store.list_rollouts():
        if row.name not in parts.settings.rollouts:
            continue
        if rollouts.is_overdue_for_a_week(row, now):
            number = reminder_number(row.reached_at + rollouts.OVERDUE_SECONDS, now)
            fact = f"rollout {row.name} of {row.source} long since {row.reached_at}, day {number}"
            days = int((now - row.reached_at) // DAY)
            finding = warning_finding(
                f"The rollout has not reached its last wave for {days} days",
                f"The rollout is in wave {row.wave} of {row.wave_count}, {say(row.state.value)}"
                f"{f': {row.description}' if row.description else '.'}",
                Text(
                    "To see what the rollout waits for: ",
                    Command("controller rollout status", row.name),
                    ".",
                ),
            )
            _queue_rollout_message(
                parts, writer, Event.HELD, fact, row, finding, is_reminder=number > 0
            )
        elif row.state in _TOLD_STATES and (number := reminder_number(row.state_since, now)):
            fact = f"rollout {row.name} of {row.source}, {_name_stay(row)}, day {number}"
            _queue_rollout_message(
                parts, writer, Event.HELD, fact, row, _stopped_or_waiting(row), is_reminder=True
            )


def audit_and_log_step(
    parts: LoopParts, writer: StoreWriter, row: RolloutRow, action: str, detail: str, who: str = ""
) -> None:
    """Write into the audit and the log what was done to a rollout, by the loop unless by `who`."""
    text = f"{row.commit}: {detail}" if detail else row.commit
    subject = f"{row.source}/{row.name}"
    writer.append_audit(parts.clock.read_wall(), who or parts.who, action, subject, text)
    parts.log("info", action, rollout=row.name, source=row.source, who=who, detail=text)


def _queue_rollout_message(
    parts: LoopParts,
    writer: StoreWriter,
    event: Event,
    fact: str,
    row: RolloutRow,
    finding: Diagnostic | None,
    *,
    is_reminder: bool = False,
) -> None:
    parts.queue_messages(
        writer,
        event,
        fact,
        source=row.source,
        commit=row.commit,
        finding=finding,
        rollout=row,
        is_reminder=is_reminder,
        page=build_rollout_path(row.name),
    )


def _name_stay(row: RolloutRow) -> str:
    """What one stay in a state is called, so that it is told once."""
    return f"{row.state.value} in wave {row.wave} of {row.number} since {row.state_since}"


def _stopped_or_waiting(row: RolloutRow) -> Diagnostic:
    """Why a person is needed, and what they can do."""
    if row.state is RolloutState.STOPPED:
        return error_finding(
            row.state_reason,
            f"More targets failed than `max_failures` of wave {row.wave} allows. The controller "
            "rolls nothing back, and later waves keep their revision.",
            Text(
                "Push a correction, or retry the failed targets: ",
                Command("controller rollout resume", row.name),
                ".",
            ),
        )
    return warning_finding(
        row.description,
        "Until then its targets keep their current revision.",
        Text("Approve the wave: ", Command("controller rollout approve", row.name), "."),
    )
