"""What people are told of rollouts, in messages, audit and log: one waits, stopped or goes on."""

from __future__ import annotations

from synapse_apply.controller.loop.parts import LoopParts
from synapse_apply.controller.page.addresses import build_rollout_path
from synapse_apply.controller.rows import RolloutRow, RolloutState
from synapse_apply.controller.rules.rollouts.advancing import OVERDUE_SECONDS, is_overdue_for_a_week
from synapse_apply.controller.rules.sending import reminder_number
from synapse_apply.controller.settings import DAY, Event
from synapse_apply.controller.store_ports import StoreWriter
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, error_finding, warning_finding

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
    for row in parts.store.list_begun_rollouts_even_ended():
        if row.name not in parts.settings.rollouts:
            continue
        if is_overdue_for_a_week(row, now):
            number = reminder_number(row.reached_at + OVERDUE_SECONDS, now)
            fact = f"rollout {row.name} of {row.source} long since {row.reached_at}, day {number}"
            days = int((now - row.reached_at) // DAY)
            finding = warning_finding(
                f"The last wave was not reached for {days} days",
                f"It is in wave {row.wave} of {row.wave_count}, {row.state.value}: "
                f"{row.description}"
                if row.description
                else f"It is in wave {row.wave} of {row.wave_count}, {row.state.value}.",
                Text(
                    "See what it waits for: ", Command("controller rollout status", row.name), "."
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
            f"More targets failed than `max_failures` of wave {row.wave} lets. Nothing is rolled "
            "back; later waves stay where they are.",
            Text(
                "Mend it by a commit, or try again what failed: ",
                Command("controller rollout resume", row.name),
                ".",
            ),
        )
    return warning_finding(
        row.description,
        "Its targets stay at the revision that they have until then.",
        Text("Let it begin: ", Command("controller rollout approve", row.name), "."),
    )
