"""How rows are read, which messages are next, and how SQL sums up the targets of a revision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from synapse_apply.controller.rows import RevisionProgress
from synapse_apply.controller.store.dialect import SqlDialect
from synapse_apply.controller.store.row_table import RowTable
from synapse_apply.controller.store.store_database import StoreConnection

R = TypeVar("R")

# What a row of `targets` counts for in RevisionProgress.
_IS_AT_HEAD = "wanted_digest = head_digest"
_IS_FOR_LATER_WAVE = "(wanted_digest <> head_digest)"
_IS_DONE = f"({_IS_AT_HEAD} AND input_digest = head_digest AND progress = 'done')"
_IS_OBSERVED = f"{_IS_DONE} AND mode = 'observe'"
# A failure at an older head says nothing of this revision.
_IS_FAILING = (
    f"({_IS_AT_HEAD} AND progress IN ('failing', 'refused') AND looked_number >= touched_number)"
)
_IS_HELD = f"({_IS_AT_HEAD} AND progress = 'held')"
_IS_WAITING = f"({_IS_AT_HEAD} AND progress = 'waiting')"
# What is told of one subject arrives in order. `{}` is SqlDialect.message_subject.
IS_FIRST_MESSAGE_OF_SUBJECT = (
    "id IN (SELECT MIN(id) FROM messages WHERE sent_at = 0 AND refusal = '' GROUP BY channel, {})"
)
SELECT_FINDINGS_OF_TARGETS = (
    "SELECT source, target, backend_host,"
    " (SELECT findings FROM runs WHERE runs.id = targets.last_run) FROM targets"
)
# The index runs_applied has these runs. `{}` is SqlDialect.call_count.
_SUM_APPLIED_ROWS = (
    "SELECT COALESCE(SUM({}), 0) FROM runs WHERE verb = 'apply' AND source = ?"
    ' AND "commit" = (SELECT "commit" FROM revisions WHERE source = ? AND number = ?)'
)


def read_rows(
    connection: StoreConnection,
    table: RowTable[R],
    sql_after_table: str,
    values: Sequence[object] = (),
    constants: Mapping[str, str] | None = None,
) -> list[R]:
    statement = table.build_select_statement(sql_after_table, constants)
    return [table.decode_row(cells) for cells in connection.execute(statement, values)]


def sum_up_progress(
    connection: StoreConnection, dialect: SqlDialect, source: str, number: int
) -> RevisionProgress:
    touched = "FROM targets WHERE source = ? AND touched_number = ? AND is_gone = 0"
    counts = ", ".join(
        f"COUNT(*) FILTER (WHERE {condition})"
        for condition in (
            *("1 = 1", _IS_DONE, _IS_FAILING, _IS_HELD, _IS_WAITING),
            *(f"{_IS_DONE} AND mode <> 'observe'", _IS_FOR_LATER_WAVE),
        )
    )
    sums = ", ".join(
        f"COALESCE(SUM(CASE WHEN {_IS_OBSERVED} THEN {column} END), 0)"
        for column in ("change_count", "refused_count")
    )
    statement = f"SELECT {counts}, {sums} {touched}"
    cells = connection.execute(statement, [source, number]).fetchone()
    touched_count, done_count, failing_count, held_count, waiting_count, *rest = map(int, cells)
    applied_count, later_wave_count, change_count, refused_count = rest
    (applied_row_count,) = connection.execute(
        _SUM_APPLIED_ROWS.format(dialect.call_count), [source, source, number]
    ).fetchone()

    def first_target_names(condition: str) -> tuple[str, ...]:
        names_statement = f"SELECT target {touched} AND {condition} ORDER BY target LIMIT 3"
        names = connection.execute(names_statement, [source, number])
        return tuple(name for (name,) in names)

    return RevisionProgress(
        touched_count=touched_count,
        done_count=done_count,
        failing_count=failing_count,
        failing_names=first_target_names(_IS_FAILING) if failing_count else (),
        change_count=change_count,
        refused_count=refused_count,
        held_count=held_count,
        held_names=first_target_names(_IS_HELD) if held_count else (),
        waiting_count=waiting_count,
        waiting_names=first_target_names(_IS_WAITING) if waiting_count else (),
        applied_count=applied_count,
        applied_row_count=int(applied_row_count),
        later_wave_count=later_wave_count,
    )
