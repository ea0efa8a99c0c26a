"""A whole state as one value: read, copied to another store, listed; and how a file is kept."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from synapse_apply.files import opening
from synapse_apply.model.errors import StateError
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.paused_collection import pause_gc
from synapse_apply.model.state import (
    MAX_ACTING,
    AuditEntry,
    BackendIdentity,
    Intent,
    IntentState,
    ProjectAndKeyIds,
    Record,
    State,
    StateHeader,
    StateProgress,
)
from synapse_apply.stores import schema
from synapse_apply.stores.database import Row, SqlRunner, Statement
from synapse_apply.stores.state_messages import fault, require_format_not_newer

if TYPE_CHECKING:
    from synapse_apply.stores.sql import SqlStore

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


def header_of(meta_row: Row) -> StateHeader:
    """Identity, lineage and progress in a row of GET_META."""
    _, lineage, serial, url, tenant, data_set, fence, *_ = meta_row
    return StateHeader(
        BackendIdentity(url, tenant, data_set),
        str(lineage),
        StateProgress(int(serial), int(fence)),
    )


def decode_state(rows: StateRows, location: str) -> State:
    """The rows as values; StateError (damaged) if they are not what a store writes."""
    meta_row, record_rows, intent_rows = rows
    # Thousands of new objects without garbage among them would trigger many collections.
    with pause_gc():
        records = [schema.decode(Record, text, location, address) for address, text in record_rows]
    records_by_address = {record.address: record for record in records}
    header = header_of(meta_row)
    intents = [schema.decode(Intent, text, location, intent_id) for intent_id, text in intent_rows]
    forgotten_calls = tuple(one for one in intents if one.state is not IntentState.OPEN)
    calls_of = dict[tuple[str, str, str], list[Intent]]()
    for call in forgotten_calls:
        calls_of.setdefault((call.address.kind, call.api, call.remote_id), []).append(call)
    for address, record in records_by_address.items() if forgotten_calls else ():
        own_calls = calls_of.get((address.kind, record.api, record.remote_id), ())
        known = {call.id for call in record.given_up}
        again = [replace(call, address=address) for call in own_calls if call.id not in known]
        if again:
            given_up = (*again, *record.given_up)[-MAX_ACTING:]
            records_by_address[address] = replace(record, given_up=given_up)
    return State(
        lineage=header.lineage,
        serial=header.progress.serial,
        binding=header.identity,
        records={address: records_by_address[address] for address in sorted(records_by_address)},
        open_intents=tuple(one for one in intents if one.state is IntentState.OPEN),
        forgotten_calls=forgotten_calls,
    )


def read_history(run: SqlRunner, location: str) -> StateHistory:
    """All rows of table `plans`, sorted by id, and all audit entries, oldest first."""
    plans = sorted((plan_id, applied_at) for plan_id, applied_at in run(schema.ALL_PLANS, ()))
    audit = (
        schema.decode(AuditEntry, text, location, "audit") for (text,) in run(schema.ALL_AUDIT, ())
    )
    return StateHistory(tuple(plans), tuple(audit))


def read_project_and_key_ids(run: SqlRunner) -> ProjectAndKeyIds:
    """The ids that a state is shared under; "" for a missing one, or one of another form."""
    ids = []
    for row_id, form in zip(schema.SHARED_ROWS, _FORMS, strict=True):
        texts = [str(text) for (text,) in run(schema.GET_PLAN, (row_id,))]
        ids.append(texts[0] if texts and form.fullmatch(texts[0]) else "")
    return ProjectAndKeyIds(*ids)


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
        key_cells = (str(address), address.kind, record.api, record.remote_id)
        record_row = (*key_cells, schema.encode(record, location))
        fill_statements.append((schema.ADD_RECORD, record_row))
    for intent in state.calls:
        text = schema.encode(intent, location)
        fill_statements.append((schema.ADD_INTENT, (intent.id, str(intent.address), text)))
    fill_statements.extend((schema.ADD_PLAN, plan_row) for plan_row in state_snapshot.plans)
    for entry in state_snapshot.audit:
        text = schema.encode(entry, location)
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
    header = header_of(require_known_format(run, location))
    ((record_count,),) = run(schema.COUNT_RECORDS, ())
    return StateOrigin(header.identity, header.lineage, record_count)


def require_known_format(run: SqlRunner, location: str) -> Row:
    """The row of GET_META; StateError if it is missing or was written by a newer version."""
    rows = run(schema.GET_META, ())
    if not rows:
        raise fault("damaged", location, reason="its first row is missing")
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


def copy_and_verify_state_under_source_lock(
    source: SqlStore, target: SqlStore, timeout: float = 0.0
) -> State:
    """Copy all of a state except its lock, and compare the copy; returns the copied state.

    StateError if the target has a state already, or the copy differs. The source is locked
    meanwhile (LockHeld after `timeout` seconds) and not changed.
    """
    with source.lock("state backup", timeout):
        if target.exists():
            raise fault("exists", target.where)
        state_snapshot = source.read_snapshot()
        target.create_from_snapshot(state_snapshot)
        if target.read_snapshot() != state_snapshot:
            raise StateError.from_summary(
                "The copy of the state differs",
                f"The content of {target.where} now differs from {source.where}.",
                f"{source.where} is unchanged: continue to use it. Do not use {target.where}.",
            )
    return state_snapshot.state


def build_inventory_sorted_by_address(state: State) -> list[dict[str, str | None]]:
    """An object with `address`, `id`, `api`, `version` and `digest` for each record, by address.

    `version` and `digest` may be None; `api` is the API version that the id belongs to.
    """
    return [
        {
            "address": str(address),
            "id": record.remote_id,
            "api": record.api,
            "version": record.version or None,
            "digest": record.digest,
        }
        for address, record in sorted(state.records.items())
    ]


# Appended to the name of the replaced state file.
KEPT_FILE_SUFFIX = "before-restore"


def iter_numbered_paths(first_path: Path) -> Iterator[Path]:
    """`first_path`, then the same name with -2, -3, ... appended, without end."""
    yield first_path
    for number in count(2):
        yield first_path.with_name(f"{first_path.name}-{number}")


def keep_under_free_name(path: Path, first_path: Path) -> Path:
    """Give a file a second name, the first free one; returns that path.

    It is a hard link, or a copy on a file system without links.
    """
    for candidate in iter_numbered_paths(first_path):
        try:
            opening.link_own_file_to_sibling(candidate, path.name)
        except FileExistsError:
            continue
        # A file system without hard links.
        except OSError:
            break
        return candidate
    return _copy_under_free_name(path, first_path)


def _copy_under_free_name(path: Path, first_path: Path) -> Path:
    """Copy a file, flushed to disk, to the first free name; removes a partial copy on failure."""
    # Creating the file claims the name, since that fails for an existing one.
    for copy_path in iter_numbered_paths(first_path):
        try:
            opening.create_own_file(copy_path)
        except FileExistsError:
            continue
        break
    try:
        with (
            os.fdopen(opening.open_own_file_with_flags(path, os.O_RDONLY), "rb") as source_file,
            os.fdopen(opening.open_own_file_with_flags(copy_path, os.O_WRONLY), "wb") as copy_file,
        ):
            shutil.copyfileobj(source_file, copy_file)
            copy_file.flush()
            os.fsync(copy_file.fileno())
    except BaseException:
        opening.remove_own_file(copy_path)
        raise
    return copy_path
