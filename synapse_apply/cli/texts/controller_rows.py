"""What `controller approve` and `reject` print: the rows that wait, and what is still needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from synapse_apply.views.grammar import pluralize
from synapse_apply.views.sanitize import escape_ci_commands, sanitize

if TYPE_CHECKING:
    from synapse_apply.controller.remote.answers import ShownRow


def format_held_rows(target: str, url: str, rows: Sequence[ShownRow]) -> str:
    """The rows with why each waits, and the digest of each that can be approved."""
    if not rows:
        return sanitize(f"No row of {target} waits for a person.") + "\n"
    lines = [f"{pluralize(len(rows), 'row')} of {target} wait for a person:"]
    for row in rows:
        lines += ["", *_iter_row_lines(row)]
    lines += ["", f"Every field of them: {url}/targets/{target}"]
    return escape_ci_commands("".join(f"{sanitize(line)}\n" for line in lines))


def format_approval_result(
    target: str, rows: Sequence[ShownRow], who: str, rows_left: Sequence[ShownRow]
) -> str:
    """What was approved, and what is still needed of the rows that wait after it."""
    lines = [f"Approved {pluralize(len(rows), 'row')} of {target} as {who}."]
    digests = {row.digest for row in rows}
    for row in rows_left:
        if row.digest in digests:
            lines += _iter_lines_on_missing_approvals(row, who)
    return escape_ci_commands("".join(f"{sanitize(line)}\n" for line in lines))


def _iter_row_lines(row: ShownRow) -> Iterator[str]:
    yield f"  {row.address}: {row.summary or row.action}"
    yield f"    waits: {': '.join(filter(None, (row.reason, row.detail)))}"
    if row.causes:
        yield f"    because of: {', '.join(row.causes)}"
    if row.commit:
        yield f"    at: {row.commit}"
    if names := ", ".join(approval.who for approval in row.approvals if not approval.reason):
        yield f"    approved by: {names} ({row.approvals_needed} needed)"
    if row.rejected_by:
        yield f"    rejected by: {row.rejected_by}: {row.rejected_reason}"
    if row.can_be_approved:
        yield f"    {row.digest}"


def _iter_lines_on_missing_approvals(row: ShownRow, who: str) -> Iterator[str]:
    counting = {approval.who for approval in row.approvals if not approval.reason}
    missing_count = row.approvals_needed - len(counting)
    reason = next(
        (approval.reason for approval in row.approvals if approval.who == who and approval.reason),
        "",
    )
    if reason:
        yield f"  {row.address}: yours does not count: {reason}."
    if missing_count > 0:
        yield f"  {row.address}: {pluralize(missing_count, 'more approval')} needed."
