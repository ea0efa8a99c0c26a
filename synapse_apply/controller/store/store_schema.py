"""Which tables the store has, which formats this version may write, how an older one is raised."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from synapse_apply.controller import rows
from synapse_apply.controller.planned_rows import Binding
from synapse_apply.controller.rules.judging import format_backend
from synapse_apply.controller.store import store_database
from synapse_apply.controller.store.row_table import RowTable, SqlDialect
from synapse_apply.controller.store.store_database import (
    StoreConnection,
    StoreLocation,
    StoreTooNew,
)
from synapse_apply.model.codec import build_coder
from synapse_apply.model.json_values import format_canonical_json
from synapse_apply.model.state import BackendIdentity

# "SynC" in ASCII, in the header of the file (sqlite.org/fileformat2, offset 68).
APPLICATION_ID = 0x53796E43
STORE_FORMAT = 11
# Changes of the format only add until a later version removes; a version that would harm what a
# newer one wrote is shut out by this number. One of format 8 would restore
# what waits for a person since it was restored often.
OLDEST_WRITING_FORMAT = 9

# The order in which pages show targets: those that need a person first.
STATE_RANKS = {condition: rank for rank, condition in enumerate(rows.TargetCondition)}

# Somebody waits for these; what is due by its interval or after a failure comes behind them.
_URGENT_CAUSES = frozenset(rows.RunCause) - {rows.RunCause.INTERVAL, rows.RunCause.RETRY}

SOURCES = RowTable("sources", rows.SourceRow, ["name"])
REVISIONS = RowTable("revisions", rows.RevisionRow, ["source", "number"])
TARGETS = RowTable(
    "targets",
    rows.TargetRow,
    ["source", "target"],
    numbers={
        "state_rank": lambda row: STATE_RANKS[row.state],
        "is_urgent": lambda row: row.due_cause in _URGENT_CAUSES,
        "change_count": lambda row: row.counts.row_count_without_guards,
        "refused_count": lambda row: row.counts.refused + row.counts.guards,
    },
)
RUNS = RowTable("runs", rows.RunRow, ["id"], last_field="plan_json")
STATUSES = RowTable("statuses", rows.StatusRow, ["source", "commit", "context"])
MESSAGES = RowTable("messages", rows.MessageRow, ["id"])
AUDIT = RowTable("audit", rows.AuditRow, ["number"])
HOLDS = RowTable("holds", rows.HoldRow, ["source", "target", "row_digest"])
APPROVALS = RowTable("approvals", rows.ApprovalRow, ["id"])
PAUSES = RowTable("pauses", rows.PauseRow, ["scope"])
SESSIONS = RowTable("sessions", rows.SessionRow, ["digest"])
ROLLOUTS = RowTable("rollouts", rows.RolloutRow, ["name"])
WAVES = RowTable("waves", rows.WaveRow, ["rollout", "number", "wave"])
ROLLOUT_TARGETS = RowTable("rollout_targets", rows.RolloutTargetRow, ["source", "target"])
LEASES = RowTable("leases", rows.LeaseRow, ["name"])
PROCESSES = RowTable("processes", rows.ProcessRow, ["holder"])
OWNERS = RowTable("owners", rows.OwnerRow, ["url", "thing", "source", "target"])


def encode_binding(binding: Binding | None) -> str:
    """The cell of a binding; those of one backend begin with the same text."""
    return str(format_canonical_json(binding and build_coder(Binding).encode(binding)))


META_FORMAT, META_OLDEST_WRITER = "format", "oldest_format_that_may_write"
META_CONTROLLER = "controller"
META_CONFIGURATION_FINDINGS = "configuration_findings"
# Before the name of a source: the labels of its targets at its head, by target.
META_LABELS = "labels "
# Before the name of a target: what its apply has begun, while it runs.
META_APPLY = "apply "
META_OF_THIS_FORMAT = {
    META_FORMAT: str(STORE_FORMAT),
    META_OLDEST_WRITER: str(OLDEST_WRITING_FORMAT),
}


def list_create_statements_added_by_format_2(dialect: SqlDialect) -> tuple[str, ...]:
    """What makes the tables and indexes that format 2 added."""
    return (
        HOLDS.create_statement(dialect),
        APPROVALS.create_statement(dialect),
        "CREATE INDEX approvals_by_target ON approvals (source, target, id)",
        PAUSES.create_statement(dialect),
        "CREATE INDEX runs_applied ON runs (source, \"commit\") WHERE verb = 'apply'",
    )


def added_by_format_3(dialect: SqlDialect) -> tuple[str, ...]:
    """What makes the tables and indexes that format 3 added."""
    return (
        ROLLOUTS.create_statement(dialect),
        WAVES.create_statement(dialect),
        ROLLOUT_TARGETS.create_statement(dialect),
        "CREATE INDEX rollout_targets_by_wave ON rollout_targets (rollout, wave, target)",
        LEASES.create_statement(dialect),
        PROCESSES.create_statement(dialect),
        "CREATE INDEX targets_claimed ON targets (holder) WHERE holder <> ''",
    )


# What makes the indexes that format 5 added: a tenant is found in any letter case.
CREATE_STATEMENTS_ADDED_BY_FORMAT_5 = (
    "CREATE INDEX targets_by_binding ON targets (lower(binding))",
    "CREATE INDEX targets_by_found_binding ON targets (lower(found_binding))",
)


def added_by_format_7(dialect: SqlDialect) -> tuple[str, ...]:
    """What makes the table and index that format 7 added: which target manages an object."""
    return (
        OWNERS.create_statement(dialect),
        "CREATE INDEX owners_by_target ON owners (source, target)",
    )


def empty_store_statements(dialect: SqlDialect) -> tuple[str, ...]:
    """What makes all tables and indexes of an empty store, and says which format it has."""
    text = dialect.column_types[str]
    meta_columns = f"key {text} NOT NULL PRIMARY KEY, value {text} NOT NULL"
    return (
        f"CREATE TABLE meta ({meta_columns}) {dialect.table_options}",
        *(
            f"INSERT INTO meta (key, value) VALUES ('{key}', '{value}')"  # noqa: S608 - our own words
            for key, value in META_OF_THIS_FORMAT.items()
        ),
        SOURCES.create_statement(dialect),
        REVISIONS.create_statement(dialect),
        'CREATE INDEX revisions_by_commit ON revisions (source, "commit", number)',
        TARGETS.create_statement(dialect),
        "CREATE INDEX targets_by_state ON targets (is_gone, state_rank, source, target)",
        "CREATE INDEX targets_by_source ON targets (is_gone, source, state_rank, target)",
        "CREATE INDEX targets_by_due ON targets (is_gone, source, is_urgent, due_at)",
        "CREATE INDEX targets_by_touched ON targets (source, touched_number)",
        "CREATE INDEX targets_by_wanted ON targets (source, wanted_commit)",
        RUNS.create_statement(dialect),
        "CREATE INDEX runs_by_target ON runs (source, target, id, outcome)",
        STATUSES.create_statement(dialect),
        "CREATE INDEX statuses_unsent ON statuses (try_at) WHERE sent <> wished",
        MESSAGES.create_statement(dialect),
        "CREATE UNIQUE INDEX messages_by_fact ON messages (channel, event, fact)",
        "CREATE INDEX messages_unsent ON messages (try_at) WHERE sent_at = 0",
        AUDIT.create_statement(dialect),
        *list_create_statements_added_by_format_2(dialect),
        *added_by_format_3(dialect),
        *CREATE_STATEMENTS_ADDED_BY_FORMAT_5,
        *added_by_format_7(dialect),
        SESSIONS.create_statement(dialect),
    )


def require_upgradable(meta: Mapping[str, str], location: StoreLocation) -> None:
    """Check the rows of `meta`: StoreTooNew for a format that this version would harm.

    ControllerStoreError for rows that name none.
    """
    try:
        format_number, oldest = int(meta[META_FORMAT]), int(meta[META_OLDEST_WRITER])
    except (KeyError, ValueError):
        raise store_database.damaged_store(location, "it names no format") from None
    if oldest > STORE_FORMAT:
        raise StoreTooNew.from_summary(
            "The controller's store was written by a newer version of synapse-apply",
            f"{location.name} has format {format_number}; this version writes format "
            f"{STORE_FORMAT}.",
            "Use the newer version, or restore the store from before the upgrade. With an empty "
            f"{location.words.empty}, the controller checks every target again.",
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
    for since, tables, list_changes in _UPGRADES:
        if old_format < since:
            for table in tables:
                present = {n for (n,) in connection.execute(dialect.column_names, [table.name])}
                for definition in table.missing_columns(present, dialect):
                    connection.execute(f"ALTER TABLE {table.name} ADD COLUMN {definition}")
            for change in list_changes(connection, dialect):
                connection.execute(change)
    for key, value in META_OF_THIS_FORMAT.items():
        connection.execute("UPDATE meta SET value = ? WHERE key = ?", [value, key])
    is_refused = old_format < OLDEST_WRITING_FORMAT
    refused = ", which older versions refuse" if is_refused else ""
    return f"format {old_format} to {STORE_FORMAT}{refused}{kept}"


def _tell_owners_apart(connection: StoreConnection, dialect: SqlDialect) -> Iterator[str]:
    """The statements for owners of format 7, which were one of a tenant and object each."""
    columns = {name for (name,) in connection.execute(dialect.column_names, [OWNERS.name])}
    if "tenant" not in columns:
        return
    known = connection.execute(
        "SELECT o.thing, o.source, o.target, t.binding FROM owners o JOIN targets t"
        " ON t.source = o.source AND t.target = o.target"
    ).fetchall()
    yield "DROP TABLE owners"
    yield from added_by_format_7(dialect)
    insert = OWNERS.build_upsert_statement()
    for thing, source, target, text in known:
        # The next check of the target writes what is not known here.
        if (binding := json.loads(text)) is not None:
            url, name = binding["backend"].partition(" ")[0], rows.TargetName(source, target)
            row = rows.OwnerRow(url, thing, name, **binding)
            connection.execute(insert, OWNERS.encode_row(row))


def _bind_targets(connection: StoreConnection, _dialect: SqlDialect) -> Sequence[str]:
    """Bind each target to what its newest plan was made of; there are no further statements.

    Of two targets that were bound to one thing, that is one that is declared, then the older one.
    """
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
    return ()


def _add_people(_connection: StoreConnection, dialect: SqlDialect) -> Iterator[str]:
    """The statements for tables for people, and more states."""
    # They were made by format 1 and never used.
    yield "DROP TABLE holds"
    yield "DROP TABLE approvals"
    yield from list_create_statements_added_by_format_2(dialect)
    # Format 1 knew only mode observe, in which what was planned is done.
    yield (
        "UPDATE targets SET progress = CASE WHEN input_digest = wanted_digest THEN 'done' ELSE "
        "'failing' END WHERE (input_digest = wanted_digest AND input_digest <> '') OR failures > 0"
    )
    yield _rank_states()


def _rank_states() -> str:
    """The statement that ranks targets by the conditions of this format."""
    ranks = " ".join(f"WHEN '{state.value}' THEN {rank}" for state, rank in STATE_RANKS.items())
    return f"UPDATE targets SET state_rank = CASE state {ranks} END"  # noqa: S608 - our own words


# By the format that they lead to: the tables that had fewer columns before, and what follows.
_UPGRADES: tuple[
    tuple[int, tuple[RowTable[Any], ...], Callable[[StoreConnection, SqlDialect], Iterable[str]]],
    ...,
] = (
    (2, (TARGETS, RUNS), _add_people),
    # Rollouts, and what several processes share.
    (
        3,
        (SOURCES, TARGETS),
        lambda _, dialect: (
            *added_by_format_3(dialect),
            "UPDATE targets SET head_digest = wanted_digest",
        ),
    ),
    (4, (TARGETS, RUNS), _bind_targets),
    # The indexes before told the letters of a tenant apart.
    (
        5,
        (SOURCES,),
        lambda *_: (
            "DROP INDEX IF EXISTS targets_by_binding",
            "DROP INDEX IF EXISTS targets_by_found_binding",
            *CREATE_STATEMENTS_ADDED_BY_FORMAT_5,
        ),
    ),
    # Rollbacks, and a condition for them.
    (6, (TARGETS,), lambda *_: (_rank_states(),)),
    # Owners: the next checks tell them.
    (7, (), lambda _, dialect: added_by_format_7(dialect)),
    # And a commit that an operator accepts after a force push.
    (8, (SOURCES,), _tell_owners_apart),
    # How often something was restored.
    (9, (TARGETS,), lambda *_: ()),
    (10, (), lambda _, dialect: (SESSIONS.create_statement(dialect),)),
    # The reason of an approval.
    (11, (APPROVALS,), lambda *_: ()),
)
