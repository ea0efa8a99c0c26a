"""What `controller approve` and `reject` print: the rows that wait, and what is still needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.views.sanitize import escape_ci_commands, sanitize

if TYPE_CHECKING:
    from synapse_apply.controller.remote.answers import ShownField, ShownRow


# What the rows of a run's plan change, by the run and by address.
ShownFields = dict[str, dict[str, "tuple[ShownField, ...]"]]
_MAX_VALUE_LENGTH = 2000
# Of rows whose detail says nothing more.
_REASON_PHRASES = {"approval": "the mode is approve", "guard": "it stops the plan"}


def format_held_rows(target: str, url: str, rows: Sequence[ShownRow], fields: ShownFields) -> str:
    """The rows with their fields, why each waits, and the digest of each that can be approved."""
    if not rows:
        return sanitize(f"No row of {target} waits for a person.") + "\n"
    verb = "waits" if len(rows) == 1 else "wait"
    lines = [f"{format_count_and_noun(len(rows), 'row')} of {target} {verb} for a person:"]
    commit = ""
    for row in rows:
        lines += ["", *_iter_row_lines(row, fields.get(row.run, {}).get(row.address, ()))]
        if row.commit not in {"", commit}:
            lines.append(f"    at: {row.commit}")
            commit = row.commit
    if any(row.run not in fields for row in rows):
        lines += ["", "What some rows change could not be read here: look at it on the page first."]
    lines += ["", f"With all of the plan: {url}/targets/{target}"]
    return escape_ci_commands("".join(f"{sanitize(line)}\n" for line in lines))


def format_approval_result(
    target: str, rows: Sequence[ShownRow], who: str, rows_left: Sequence[ShownRow]
) -> str:
    """What was approved, and what is still needed of the rows that wait after it."""
    lines = [f"Approved {format_count_and_noun(len(rows), 'row')} of {target} as {who}."]
    digests = {row.digest for row in rows}
    for row in rows_left:
        if row.digest in digests:
            lines += _approval_lines(row, who)
    return escape_ci_commands("".join(f"{sanitize(line)}\n" for line in lines))


def _iter_row_lines(row: ShownRow, fields: Sequence[ShownField]) -> Iterator[str]:
    name = f"guard {row.address}" if row.action == "guard" else row.address
    yield f"  {name}: {row.summary or row.action}"
    for field in fields:
        values = [_cut_value(value) for value in (field.before, field.after) if value]
        yield f"      {field.path}: {' -> '.join(values)}"
    yield f"    waits: {row.detail or _REASON_PHRASES.get(row.reason, row.reason)}"
    if row.causes:
        yield f"    because of: {', '.join(row.causes)}"
    if names := ", ".join(approval.who for approval in row.approvals if not approval.reason):
        yield f"    approved by: {names} ({row.approvals_needed} needed)"
    if row.rejected_by:
        yield f"    rejected by: {row.rejected_by}: {row.rejected_reason}"
    if row.can_be_approved:
        yield f"    {row.digest}"


def _cut_value(value: str) -> str:
    """A value on one line, as it is or with what is left out of a very long one."""
    if len(value) <= _MAX_VALUE_LENGTH:
        return value
    return f"{value[:_MAX_VALUE_LENGTH]} ... ({len(value) - _MAX_VALUE_LENGTH:,} more characters)"


def _approval_lines(row: ShownRow, who: str) -> Iterator[str]:
    counting = {approval.who for approval in row.approvals if not approval.reason}
    missing_count = row.approvals_needed - len(counting)
    reason = next(
        (approval.reason for approval in row.approvals if approval.who == who and approval.reason),
        "",
    )
    if reason:
        yield f"  {row.address}: yours does not count: {reason}."
    if missing_count > 0:
        yield f"  {row.address}: {format_count_and_noun(missing_count, 'more approval')} needed."
