"""Which tables and indexes the store has, and which of its formats this version may write."""

from __future__ import annotations

from synapse_apply.controller.fleet_rows import LeaseRow, ProcessRow
from synapse_apply.controller.planned_rows import Binding
from synapse_apply.controller.rollout_rows import RolloutRow, RolloutTargetRow, WaveRow
from synapse_apply.controller.rows import (
    ApprovalRow,
    AuditRow,
    HoldRow,
    MessageRow,
    PauseRow,
    RevisionRow,
    RunCause,
    RunRow,
    SourceRow,
    StatusRow,
    TargetCondition,
    TargetRow,
)
from synapse_apply.controller.store.dialect import SqlDialect
from synapse_apply.controller.store.row_table import RowTable
from synapse_apply.model.coding.canonical_json import format_canonical_json
from synapse_apply.model.coding.json_shapes import build_coder

# "SynC" in ASCII, in the header of the file (sqlite.org/fileformat2, offset 68).
APPLICATION_ID = 0x53796E43
STORE_FORMAT = 5
# Changes of the format only add until a later version removes; a version that would harm what a
# newer one wrote is shut out by this number. One of format 3 would apply to whatever a commit gives
# a target's name to, and store nothing of what its rule was given for.
OLDEST_WRITING_FORMAT = 4

# The order in which pages show targets: those that need a person first.
STATE_RANKS = {condition: rank for rank, condition in enumerate(TargetCondition)}

# Somebody waits for these; what is due by its interval or after a failure comes behind them.
_URGENT_CAUSES = frozenset(RunCause) - {RunCause.INTERVAL, RunCause.RETRY}

SOURCES = RowTable("sources", SourceRow, ["name"])
REVISIONS = RowTable("revisions", RevisionRow, ["source", "number"])
TARGETS = RowTable(
    "targets",
    TargetRow,
    ["source", "target"],
    numbers={
        "state_rank": lambda row: STATE_RANKS[row.state],
        "is_urgent": lambda row: row.due_cause in _URGENT_CAUSES,
        "change_count": lambda row: row.counts.row_count_without_guards,
        "refused_count": lambda row: row.counts.refused + row.counts.guards,
    },
)
RUNS = RowTable("runs", RunRow, ["id"], last_field="plan_json")
STATUSES = RowTable("statuses", StatusRow, ["source", "commit", "context"])
MESSAGES = RowTable("messages", MessageRow, ["id"])
AUDIT = RowTable("audit", AuditRow, ["number"])
HOLDS = RowTable("holds", HoldRow, ["source", "target", "row_digest"])
APPROVALS = RowTable("approvals", ApprovalRow, ["id"])
PAUSES = RowTable("pauses", PauseRow, ["scope"])
ROLLOUTS = RowTable("rollouts", RolloutRow, ["name"])
WAVES = RowTable("waves", WaveRow, ["rollout", "number", "wave"])
ROLLOUT_TARGETS = RowTable("rollout_targets", RolloutTargetRow, ["source", "target"])
LEASES = RowTable("leases", LeaseRow, ["name"])
PROCESSES = RowTable("processes", ProcessRow, ["holder"])


def encode_binding(binding: Binding | None) -> str:
    """The cell of a binding; those of one backend begin with the same text."""
    return str(format_canonical_json(binding and build_coder(Binding).encode(binding)))


META_FORMAT, META_OLDEST_WRITER = "format", "oldest_format_that_may_write"
META_CONTROLLER = "controller"
META_CONFIGURATION_FINDINGS = "configuration_findings"
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
    )
