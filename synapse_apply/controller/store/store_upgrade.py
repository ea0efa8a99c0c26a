"""How a store of an older format becomes one of this version's: what each format added."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

from synapse_apply.controller.store.row_table import RowTable
from synapse_apply.controller.store.store_schema import (
    META_FORMAT,
    META_OLDEST_WRITER,
    OLDEST_WRITING_FORMAT,
    RUNS,
    SOURCES,
    STATE_RANKS,
    STATEMENTS_SINCE_FORMAT_2,
    STATEMENTS_SINCE_FORMAT_3,
    STORE_FORMAT,
    TARGETS,
)


def upgrade_store_if_older(connection: sqlite3.Connection) -> None:
    """Bring a store of an older format to this one, in one transaction; only for its only user."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        statement = "SELECT value FROM meta WHERE key = ?"
        (text,) = connection.execute(statement, [META_FORMAT]).fetchone()
        old_format = int(text)
        for since, iter_changes in ((2, _iter_changes_to_2), (3, _iter_changes_to_3)):
            if old_format < since:
                for change in iter_changes(connection):
                    connection.execute(change)
        if old_format < STORE_FORMAT:
            _write_format(connection)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _iter_changes_to_3(connection: sqlite3.Connection) -> Iterator[str]:
    """The statements from format 2: rollouts, and what several processes share."""
    yield from _iter_missing_columns(connection, SOURCES)
    yield from _iter_missing_columns(connection, TARGETS)
    yield from STATEMENTS_SINCE_FORMAT_3
    yield "UPDATE targets SET head_digest = wanted_digest"


def _iter_changes_to_2(connection: sqlite3.Connection) -> Iterator[str]:
    """The statements from format 1: tables for people, columns for applies, more states."""
    # They were made by format 1 and never used.
    yield "DROP TABLE holds"
    yield "DROP TABLE approvals"
    yield from _iter_missing_columns(connection, TARGETS)
    yield from _iter_missing_columns(connection, RUNS)
    yield from STATEMENTS_SINCE_FORMAT_2
    # Format 1 knew only mode observe, in which what was planned is done.
    yield (
        "UPDATE targets SET progress = CASE WHEN input_digest = wanted_digest THEN 'done' ELSE"
        " 'failing' END WHERE (input_digest = wanted_digest AND input_digest <> '')"
        " OR failures > 0"
    )
    ranks = " ".join(f"WHEN '{state.value}' THEN {rank}" for state, rank in STATE_RANKS.items())
    yield f"UPDATE targets SET state_rank = CASE state {ranks} END"  # noqa: S608 - our own words


def _iter_missing_columns(connection: sqlite3.Connection, table: RowTable[Any]) -> Iterator[str]:
    rows = connection.execute(f"PRAGMA table_info({table.name})").fetchall()
    present = {row[1] for row in rows}
    for definition, default in table.list_column_definitions_with_defaults(present):
        (literal,) = connection.execute("SELECT quote(?)", [default]).fetchone()
        yield f"ALTER TABLE {table.name} ADD COLUMN {definition} DEFAULT {literal}"


def _write_format(connection: sqlite3.Connection) -> None:
    connection.executemany(
        "UPDATE meta SET value = ? WHERE key = ?",
        [
            (str(STORE_FORMAT), META_FORMAT),
            (str(OLDEST_WRITING_FORMAT), META_OLDEST_WRITER),
        ],
    )
