"""How statuses and messages are sent and read back: one attempt each, in its newest row."""

from __future__ import annotations

from synapse_apply.controller.loop.parts import LoopParts
from synapse_apply.controller.ports import SendResult, StatusUnreadable
from synapse_apply.controller.rows import MessageRow, StatusRow, StatusText
from synapse_apply.controller.rules.sending import (
    after_failed_read,
    build_message_after_send,
    build_status_after_read,
    build_status_after_send,
    is_message_due,
    is_status_due,
)
from synapse_apply.model.diagnostic import error_finding


def send_or_read_status(parts: LoopParts, row: StatusRow, *, is_unsure: bool) -> bool:
    """Send a status that is due, or read it back first where `is_unsure` what the forge shows.

    Whether it is certain afterwards what that is: after a failure the status may have arrived.
    """
    # As it is now: it may have been sent, or have failed, since the row was listed.
    newest = parts.store.find_status(row.source, row.commit, row.context)
    now, spacing = parts.clock.read_wall(), parts.settings.defaults.status_spacing
    if newest is None or not is_status_due(newest, now, spacing):
        return not is_unsure
    return read_back_status(parts, newest) if is_unsure else _send_status(parts, newest)


def _send_status(parts: LoopParts, row: StatusRow) -> bool:
    """Send what a status is to show, and write what became of it; whether that is certain."""
    sender = parts.configured.status_senders.get(row.source)
    if sender is None:
        return True
    try:
        result = sender.send(row)
    except Exception as problem:  # noqa: BLE001 - a sender must not end the controller
        result = _internal_error(problem)
    _log_if_failed(parts, result, "status", source=row.source, commit=row.commit)
    _write_status(parts, row, result=result, sent=row.wished)
    return result.finding is None or result.is_final


def read_back_status(parts: LoopParts, row: StatusRow) -> bool:
    """Read back what a status shows, and write it; whether it could be read."""
    sender = parts.configured.status_senders.get(row.source)
    if sender is None:
        return False
    try:
        text = sender.read_shown_text_or_wished_if_equivalent_or_none(row)
    except StatusUnreadable as problem:
        result = problem.result
    except Exception as problem:  # noqa: BLE001
        result = _internal_error(problem)
    else:
        _write_status(parts, row, shown_text=text)
        return True
    _log_if_failed(parts, result, "status not read", source=row.source, commit=row.commit)
    _write_status(parts, row, result=result)
    return False


def _write_status(
    parts: LoopParts,
    row: StatusRow,
    *,
    result: SendResult | None = None,
    sent: StatusText | None = None,
    shown_text: StatusText | None = None,
) -> None:
    """Write a status after `sent` was sent (None: it was read), into the row as it is by now."""
    with parts.write() as writer:
        now, defaults = parts.clock.read_wall(), parts.settings.defaults
        newest = parts.store.find_status(row.source, row.commit, row.context) or row
        if result is None:
            updated = build_status_after_read(newest, shown_text, now)
        elif sent is None:
            updated = after_failed_read(newest, result, now, defaults, parts.clock.draw_fraction())
        else:
            chance = parts.clock.draw_fraction()
            updated = build_status_after_send(newest, sent, result, now, defaults, chance)
        writer.put_status(updated)


def send_message(parts: LoopParts, row: MessageRow) -> None:
    """Send a message, and write what became of it; nothing where it is not due."""
    # As it is now: it may have been sent since the row was listed.
    newest = parts.store.find_message(row.id)
    if newest is None or not is_message_due(newest, parts.clock.read_wall()):
        return
    row = newest
    sender = parts.configured.message_senders.get(row.channel)
    if sender is None:
        finding = error_finding("The configuration no longer has this channel")
        result = SendResult(finding, is_final=True)
    else:
        try:
            result = sender.send(row)
        except Exception as problem:  # noqa: BLE001
            result = _internal_error(problem)
    _log_if_failed(parts, result, "message", channel=row.channel, message=row.id)
    with parts.write() as writer:
        now, chance = parts.clock.read_wall(), parts.clock.draw_fraction()
        updated = build_message_after_send(row, result, now, parts.settings.defaults, chance)
        writer.replace_existing_message(updated)


def _internal_error(problem: Exception) -> SendResult:
    # The text of an unknown exception may hold anything.
    return SendResult(
        error_finding("It ended with an internal error", f"{type(problem).__name__} was raised.")
    )


def _log_if_failed(parts: LoopParts, result: SendResult, event: str, **values: object) -> None:
    if result.finding is not None:
        outcome = "refused" if result.is_final else "failed"
        parts.log("warn", f"{event} {outcome}", **values, summary=result.finding.summary)
