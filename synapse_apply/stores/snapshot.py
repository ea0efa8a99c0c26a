"""What a state consists of, which state format is too new to be read, how rows are decoded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import NamedTuple

from synapse_apply.model.frozen import frozen
from synapse_apply.model.runtime.paused_collection import pause_gc
from synapse_apply.model.state import AuditEntry, BackendIdentity, ProjectAndKeyIds, State
from synapse_apply.stores import row_texts, schema, state_messages
from synapse_apply.stores.database import Row, SqlRunner, Statement
from synapse_apply.stores.state_format import require_format_not_newer

# Of the ids that a state is shared under, in the order of the rows and of the fields. A plan with
# such an id, which somebody made up, has a time in this place, which is of none of these forms.
_FORMS = (
    re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}"),
    re.compile(r"[0-9a-f]{16}"),
    re.compile(r"[a-z0-9][a-z0-9._-]{0,62}"),
)


@frozen
class StateSnapshot:
    """All of a state except its lock. `audit` is oldest first.

    `plans` are (plan id, when applied), and the rows of the ids that a state is shared under.
    `fence` is the token of the last lock owner; the tokens of a copy continue from there.
    """

    state: State
    plans: tuple[tuple[str, str], ...] = ()
    audit: tuple[AuditEntry, ...] = ()
    fence: int = field(default=0, compare=False)


class StateRows(NamedTuple):
    """The rows of GET_META, ALL_RECORDS and ALL_INTENTS."""

    meta_row: Row
    record_rows: list[Row]
    intent_rows: list[Row]


class StateHistory(NamedTuple):
    """Used plans and audit entries as in `StateSnapshot`."""

    plans: tuple[tuple[str, str], ...]
    audit: tuple[AuditEntry, ...]


def decode_state(rows: StateRows, location: str) -> State:
    """The rows as values; StateError (damaged) if they are not what a store writes."""
    meta_row, record_rows, intent_rows = rows
    # Thousands of new objects without garbage among them would trigger many collections.
    with pause_gc():
        records = [
            row_texts.decode_record(text, location, address) for address, text in record_rows
        ]
    records_by_address = {record.address: record for record in records}
    return State(
        lineage=meta_row[1],
        serial=meta_row[schema.SERIAL_INDEX],
        binding=BackendIdentity(*meta_row[schema.IDENTITY_SLICE]),
        records={address: records_by_address[address] for address in sorted(records_by_address)},
        open_intents=tuple(
            row_texts.decode_intent(text, location, intent_id) for intent_id, text in intent_rows
        ),
    )


def read_history(run: SqlRunner, location: str) -> StateHistory:
    """All rows of table `plans`, sorted by id, and all audit entries, oldest first."""
    plans = sorted((plan_id, applied_at) for plan_id, applied_at in run(schema.ALL_PLANS, ()))
    audit = (
        row_texts.decode_audit_entry(text, location, "audit")
        for (text,) in run(schema.ALL_AUDIT, ())
    )
    return StateHistory(tuple(plans), tuple(audit))


def read_project_and_key_ids(run: SqlRunner) -> ProjectAndKeyIds:
    """The ids that a state is shared under; "" for a missing one, or one of another form."""
    return select_shared_ids(
        {
            row_id: str(text)
            for row_id in schema.SHARED_ROWS
            for (text,) in run(schema.GET_PLAN, (row_id,))
        }
    )


def select_shared_ids(plans: Mapping[str, str]) -> ProjectAndKeyIds:
    """The ids among the rows of table `plans`, by their ids; as `read_project_and_key_ids`."""
    texts = (plans.get(row_id, "") for row_id in schema.SHARED_ROWS)
    return ProjectAndKeyIds(
        *(text if form.fullmatch(text) else "" for form, text in zip(_FORMS, texts, strict=True))
    )


def list_shared_id_rows(shared_ids: ProjectAndKeyIds) -> tuple[tuple[str, str], ...]:
    """The rows of table `plans` that hold these ids."""
    ids = (shared_ids.project_id, shared_ids.key_id, shared_ids.target)
    rows = zip(schema.SHARED_ROWS, ids, strict=True)
    return tuple(row for row in rows if row[1])


def build_filling_statements(state_snapshot: StateSnapshot, location: str) -> list[Statement]:
    """The statements that fill a new state, whose tables and meta row exist already."""
    state = state_snapshot.state
    fill_statements: list[Statement] = [(schema.SET_SERIAL, (state.serial,))]
    for address, record in state.records.items():
        record_cells = (
            address.kind,
            record.api,
            record.remote_id,
            row_texts.encode_record(record, location),
        )
        fill_statements.append((schema.ADD_RECORD, (str(address), *record_cells)))
    for intent in state.open_intents:
        text = row_texts.encode_intent(intent, location)
        fill_statements.append((schema.ADD_INTENT, (intent.id, str(intent.address), text)))
    fill_statements.extend((schema.ADD_PLAN, plan_row) for plan_row in state_snapshot.plans)
    for entry in state_snapshot.audit:
        text = row_texts.encode_audit_entry(entry, location)
        fill_statements.append((schema.ADD_AUDIT, (entry.at, entry.address, text)))
    return fill_statements


@frozen
class StateOrigin:
    """Which state a backup is of: backend identity, lineage, and number of records."""

    binding: BackendIdentity
    lineage: str
    record_count: int


def read_state_origin(run: SqlRunner, location: str) -> StateOrigin:
    """The origin of the state at `location`; StateError as `require_known_format`."""
    meta_row = require_known_format(run, location)
    ((record_count,),) = run(schema.COUNT_RECORDS, ())
    return StateOrigin(
        BackendIdentity(*meta_row[schema.IDENTITY_SLICE]), str(meta_row[1]), record_count
    )


def require_known_format(run: SqlRunner, location: str) -> Row:
    """The row of GET_META; StateError if it is missing or was written by a newer version."""
    rows = run(schema.GET_META, ())
    if not rows:
        raise state_messages.build_damaged_state_error(location, "its first row is missing")
    require_format_not_newer(rows[0][0], location)
    return rows[0]


def read_rows_as_inserts(run: SqlRunner) -> list[Statement]:
    """All rows, except the lock's, as statements that insert them into new tables."""
    return [
        (schema.build_insert(table), row)
        for table in schema.TABLE_COLUMNS
        if table != "lock"
        for row in run(schema.build_select_all_rows(table), ())
    ]
