"""A whole state with its history: what moves when a state moves to another store."""

from __future__ import annotations

from dataclasses import field

from synapse_apply.model.address import in_order
from synapse_apply.model.frozen import frozen
from synapse_apply.model.state import STATE_FORMAT, AuditEntry, Binding, State
from synapse_apply.model.unhurried import unhurried_gc
from synapse_apply.stores import faults, schema, texts
from synapse_apply.stores.database import Row, Run, Statement


@frozen
class Contents:
    """Everything but the lock. `plans` are (plan id, when applied); `audit` the oldest first.

    `fence` is the number of the last holding of its lock; a copy goes on counting from there.
    """

    state: State
    plans: tuple[tuple[str, str], ...] = ()
    audit: tuple[AuditEntry, ...] = ()
    fence: int = field(default=0, compare=False)


# The answers to GET_META, ALL_RECORDS and ALL_INTENTS.
Rows = tuple[Row, list[Row], list[Row]]
# As in Contents: plans and audit.
History = tuple[tuple[tuple[str, str], ...], tuple[AuditEntry, ...]]


def state_of(rows: Rows, where: str) -> State:
    """The rows as values; StateError (damaged) where they are not what a store writes."""
    meta, record_rows, open_rows = rows
    with unhurried_gc():
        records = [texts.record_from(text, where, address) for address, text in record_rows]
    by_address = {record.address: record for record in records}
    return State(
        lineage=meta[1],
        serial=meta[schema.SERIAL],
        binding=Binding(*meta[schema.BINDING]),
        records={address: by_address[address] for address in in_order(by_address)},
        open_intents=tuple(texts.intent_from(text, where, at) for at, text in open_rows),
    )


def history(run: Run, where: str) -> History:
    """Used plans by id, and the audit."""
    plans = sorted((plan, applied) for plan, applied in run(schema.ALL_PLANS, ()))
    audit = (texts.audit_from(text, where, "audit") for (text,) in run(schema.ALL_AUDIT, ()))
    return tuple(plans), tuple(audit)


def statements(contents: Contents, where: str) -> list[Statement]:
    """What fills a new state whose tables and first row are there."""
    state = contents.state
    made: list[Statement] = [(schema.SET_SERIAL, (state.serial,))]
    for address, record in state.records.items():
        row = (address.kind, record.api, record.remote_id, texts.record_to(record, where))
        made.append((schema.ADD_RECORD, (str(address), *row)))
    for intent in state.open_intents:
        text = texts.intent_to(intent, where)
        made.append((schema.ADD_INTENT, (intent.id, str(intent.address), text)))
    made.extend((schema.ADD_PLAN, plan) for plan in contents.plans)
    for entry in contents.audit:
        text = texts.audit_to(entry, where)
        made.append((schema.ADD_AUDIT, (entry.at, entry.address, text)))
    return made


@frozen
class Origin:
    """Which state it is: whose, its lineage, and how many objects it remembers."""

    binding: Binding
    lineage: str
    records: int


def origin_of(run: Run, where: str) -> Origin:
    """StateError as `meta_of`."""
    meta = meta_of(run, where)
    ((records,),) = run(schema.COUNT_RECORDS, ())
    return Origin(Binding(*meta[schema.BINDING]), str(meta[1]), records)


def meta_of(run: Run, where: str) -> Row:
    """The answer to GET_META; StateError without one, or from a newer version."""
    rows = run(schema.GET_META, ())
    if not rows:
        raise faults.damaged(where, "its first row is missing")
    if rows[0][0] > STATE_FORMAT:
        raise faults.newer(where, rows[0][0])
    return rows[0]


def all_rows(run: Run) -> list[Statement]:
    """Statements that write every row but the lock's into new tables."""
    return [
        (schema.insert_into(table), row)
        for table in schema.COLUMNS
        if table != "lock"
        for row in run(schema.select_all(table), ())
    ]
