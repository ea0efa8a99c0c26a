"""How a state remembers which approvals are used up: in rows of table `plans`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from synapse_apply.stores import schema, state_messages
from synapse_apply.stores.database import SqlRunner


def read_used_approval_ids(run: SqlRunner, approval_ids: Sequence[str]) -> tuple[str, ...]:
    """Those of these ids that are used up, in their order."""
    row_ids = _row_ids(approval_ids)
    if not row_ids:
        return ()
    rows = run(schema.append_in_clause(schema.SELECT_PLANS_BY_ID, len(row_ids)), row_ids)
    used_row_ids = {row_id for (row_id,) in rows}
    return tuple(
        approval_id
        for approval_id, row_id in zip(dict.fromkeys(approval_ids), row_ids, strict=True)
        if row_id in used_row_ids
    )


def require_unused_approvals(run: SqlRunner, approval_ids: Sequence[str]) -> None:
    """StateError where one of these is used up."""
    if used_ids := read_used_approval_ids(run, approval_ids):
        raise state_messages.build_approval_used_error(used_ids)


def insert_used_approvals(run: SqlRunner, approval_ids: Sequence[str], moment: str) -> None:
    """Use up approvals that were not used before."""
    row_ids = _row_ids(approval_ids)
    if row_ids:
        cells = [cell for row_id in row_ids for cell in (row_id, moment)]
        run(schema.build_insert_many("plans", len(row_ids)), cells)


def delete_used_approvals(run: SqlRunner, approval_ids: Sequence[str]) -> None:
    """Make approvals usable again; an unused one is ignored."""
    row_ids = _row_ids(approval_ids)
    if row_ids:
        run(schema.append_in_clause(schema.DROP_PLANS, len(row_ids)), row_ids)


def _row_ids(approval_ids: Iterable[str]) -> list[str]:
    """The ids of their rows, each once."""
    return [f"{schema.APPROVAL_PREFIX}{approval_id}" for approval_id in dict.fromkeys(approval_ids)]
