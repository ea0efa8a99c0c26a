"""Which formats of the store this version may write, and how an older one becomes its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from synapse_apply.controller.planned_rows import Binding
from synapse_apply.controller.rules.bindings import format_backend
from synapse_apply.controller.store import store_errors
from synapse_apply.controller.store.dialect import SqlDialect
from synapse_apply.controller.store.row_table import RowTable
from synapse_apply.controller.store.store_database import StoreConnection
from synapse_apply.controller.store.store_errors import StoreLocation, StoreTooNew
from synapse_apply.controller.store.store_schema import (
    CREATE_STATEMENTS_ADDED_BY_FORMAT_5,
    META_FORMAT,
    META_OF_THIS_FORMAT,
    META_OLDEST_WRITER,
    RUNS,
    SOURCES,
    STATE_RANKS,
    STORE_FORMAT,
    TARGETS,
    added_by_format_3,
    encode_binding,
    list_create_statements_added_by_format_2,
)
from synapse_apply.model.state import BackendIdentity


def require_upgradable(meta: Mapping[str, str], location: StoreLocation) -> None:
    """Check the rows of `meta`: StoreTooNew for a format that this version would harm.

    ControllerStoreError for rows that name none.
    """
    try:
        format_number, oldest = int(meta[META_FORMAT]), int(meta[META_OLDEST_WRITER])
    except (KeyError, ValueError):
        raise store_errors.damaged_store(location, "it names no format") from None
    if oldest > STORE_FORMAT:
        raise StoreTooNew.from_summary(
            "The controller's store was written by a newer version of synapse-apply",
            f"{location.name} has format {format_number}; this version writes format "
            f"{STORE_FORMAT}.",
            "Use the newer version, or put the store back as it was before the upgrade. With an "
            f"empty {location.words.empty} every target is looked at again.",
        )


def upgrade_tables_if_older_without_commit(
    connection: StoreConnection, dialect: SqlDialect, keep_copy: Callable[[int], str] = lambda _: ""
) -> str:
    """Bring the tables to this version's format, within a transaction of the only writer.

    `keep_copy` gets the older format before. Returns what was done, for the log, or "".
    """
    statement = "SELECT value FROM meta WHERE key = ?"
    (text,) = connection.execute(statement, [META_FORMAT]).fetchone()
    old_format = int(text)
    if old_format >= STORE_FORMAT:
        return ""
    kept = keep_copy(old_format)
    for since, iter_changes in (
        (2, _from_1_to_2),
        (3, _from_2_to_3),
        (4, _from_3_to_4),
        (5, _from_4_to_5),
    ):
        if old_format < since:
            for change in iter_changes(connection, dialect):
                connection.execute(change)
    for key, value in META_OF_THIS_FORMAT.items():
        connection.execute("UPDATE meta SET value = ? WHERE key = ?", [value, key])
    return f"format {old_format} to {STORE_FORMAT}, which older versions refuse{kept}"


def _from_4_to_5(connection: StoreConnection, dialect: SqlDialect) -> Iterator[str]:
    """The statements from format 4, whose indexes told the letters of a tenant apart."""
    yield from _add_columns(connection, dialect, SOURCES)
    yield "DROP INDEX IF EXISTS targets_by_binding"
    yield "DROP INDEX IF EXISTS targets_by_found_binding"
    yield from CREATE_STATEMENTS_ADDED_BY_FORMAT_5


def _from_3_to_4(connection: StoreConnection, dialect: SqlDialect) -> Iterator[str]:
    """The statements from format 3: each target is bound to what its newest plan was made of.

    Of two targets that were bound to one thing, that is one that is declared, then the older one.
    """
    for table in (TARGETS, RUNS):
        yield from _add_columns(connection, dialect, table)
    newest_plans = (
        "SELECT r.source, r.target, MAX(r.id) FROM runs r JOIN targets t ON t.source = r.source "
        "AND t.target = r.target WHERE r.plan_json <> '' AND r.outcome <> 'plan_error' GROUP BY "
        "r.source, r.target ORDER BY MIN(is_gone), MIN(r.id)"
    )
    bind = (
        "UPDATE targets SET binding = ?, found_binding = ? WHERE source = ? AND target = ?"
        " AND NOT EXISTS (SELECT 1 FROM targets WHERE binding = ?)"
    )
    for source, target, run in connection.execute(newest_plans).fetchall():
        # One at a time: a plan may be large.
        cells = connection.execute("SELECT plan_json FROM runs WHERE id = ?", [run]).fetchone()
        with suppress(ValueError, LookupError, TypeError):
            base = json.loads(cells[0])["base"]
            backend = format_backend(BackendIdentity(**base["binding"]))
            text = encode_binding(Binding(backend, base["lineage"]) if base["lineage"] else None)
            connection.execute(bind, [text, text, source, target, text])


def _from_2_to_3(connection: StoreConnection, dialect: SqlDialect) -> Iterator[str]:
    """The statements from format 2: rollouts, and what several processes share."""
    yield from _add_columns(connection, dialect, SOURCES)
    yield from _add_columns(connection, dialect, TARGETS)
    yield from added_by_format_3(dialect)
    yield "UPDATE targets SET head_digest = wanted_digest"


def _from_1_to_2(connection: StoreConnection, dialect: SqlDialect) -> Iterator[str]:
    """The statements from format 1: tables for people, columns for applies, more states."""
    # They were made by format 1 and never used.
    yield "DROP TABLE holds"
    yield "DROP TABLE approvals"
    yield from _add_columns(connection, dialect, TARGETS)
    yield from _add_columns(connection, dialect, RUNS)
    yield from list_create_statements_added_by_format_2(dialect)
    # Format 1 knew only mode observe, in which what was planned is done.
    yield (
        "UPDATE targets SET progress = CASE WHEN input_digest = wanted_digest THEN 'done' ELSE "
        "'failing' END WHERE (input_digest = wanted_digest AND input_digest <> '') OR failures > 0"
    )
    ranks = " ".join(f"WHEN '{state.value}' THEN {rank}" for state, rank in STATE_RANKS.items())
    yield f"UPDATE targets SET state_rank = CASE state {ranks} END"  # noqa: S608 - our own words


def _add_columns(
    connection: StoreConnection, dialect: SqlDialect, table: RowTable[Any]
) -> Iterator[str]:
    present = {name for (name,) in connection.execute(dialect.column_names, [table.name])}
    for definition in table.missing_columns(present, dialect):
        yield f"ALTER TABLE {table.name} ADD COLUMN {definition}"
