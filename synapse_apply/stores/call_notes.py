"""How begun and ended calls of several threads are written to the state in a few statements.

Each statement releases the interpreter lock and has to acquire it again, and to a database on
another machine it is a round trip: with 1 ms of latency and 16 threads, a call that has statements
of its own took 25 ms in PostgreSQL, and takes 5 ms where several calls share them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from synapse_apply.model.errors import StateError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.phrases import format_short_list
from synapse_apply.model.state import WITHOUT_EFFECT, Intent, IntentState, Record
from synapse_apply.stores import schema
from synapse_apply.stores.database import Row, SqlRunner
from synapse_apply.stores.state_messages import duplicate_remote_id, fault


def _run_in(run: SqlRunner, statement_head: str, values: Sequence[str]) -> list[Row]:
    """Run a statement for `IN (values)`; returns its result, [] for no values."""
    return run(schema.append_in_clause(statement_head, len(values)), values) if values else []


def _insert(run: SqlRunner, table: str, rows: Sequence[Row]) -> None:
    if rows:
        statement = schema.build_insert_many(table, len(rows))
        run(statement, [cell for row in rows for cell in row])


def read_used_approval_ids(run: SqlRunner, approval_ids: Sequence[str]) -> tuple[str, ...]:
    """Those of these ids that are used up, in their order."""
    row_ids = _row_ids(approval_ids)
    used = {row_id for (row_id,) in _run_in(run, schema.SELECT_PLANS_BY_ID, row_ids)}
    return tuple(
        row_id.removeprefix(schema.APPROVAL_PREFIX) for row_id in row_ids if row_id in used
    )


def use_approvals_up(run: SqlRunner, approval_ids: Sequence[str], moment: str) -> None:
    """Use approvals up; StateError where one of these was used before."""
    if used_ids := read_used_approval_ids(run, approval_ids):
        raise fault("approval used", ids=format_short_list(used_ids))
    _insert_approvals(run, approval_ids, moment)


def _insert_approvals(run: SqlRunner, approval_ids: Sequence[str], moment: str) -> None:
    _insert(run, "plans", [(row_id, moment) for row_id in _row_ids(approval_ids)])


def _row_ids(approval_ids: Iterable[str]) -> list[str]:
    """The ids of their rows, each once."""
    return [f"{schema.APPROVAL_PREFIX}{approval_id}" for approval_id in dict.fromkeys(approval_ids)]


# With more, a statement would exceed the number of parameters that some databases accept.
MAX_NOTES = 100


class NotCombinable(Exception):
    """The notes cannot be written in one set of statements; nothing was written."""


@frozen
class CallNote:
    """What is written to the state when a call begins or ends.

    `intent_text` is the stored text of an intent that is opened, "" if the call ended. Then the
    intent is closed, `record_row` replaces the record or `drops_record` deletes it, and
    `audit_row` is appended. The intent's approvals are used up at `opened_at`, and given back where
    it ended without effect. Called by itself, it writes only this note.
    """

    intent: Intent
    intent_text: str = ""
    record: Record | None = None
    record_row: tuple[Any, ...] = ()
    drops_record: bool = False
    audit_row: tuple[str, str, str] | tuple[()] = ()
    opened_at: str = ""

    def __call__(self, run: SqlRunner) -> None:
        """Write this note alone; StateError if it does not fit the stored rows."""
        _write_notes(run, [self])

    @property
    def changed_record_address(self) -> str:
        """The address whose record is written or dropped, "" for none."""
        return str(self.intent.address) if self.record_row or self.drops_record else ""


# A few statements for all calls of a commit: around each statement other threads get the
# interpreter, and a commit waited longer for that than for the disk. What the merged statements
# cannot decide is done call by call.
def write_notes(works: Sequence[Callable[[SqlRunner], object]], run: SqlRunner) -> bool:
    """Write all works in one set of statements; False, with nothing written, if that is impossible.

    Each must then be done by itself: some are no CallNotes, there are too many, or one is faulty.
    """
    notes = [work for work in works if isinstance(work, CallNote)]
    if len(notes) < len(works) or len(notes) > MAX_NOTES:
        return False
    try:
        _write_notes(run, notes)
    except NotCombinable:
        return False
    return True


def _write_notes(run: SqlRunner, notes: Sequence[CallNote]) -> None:
    """Check all notes, then write them; StateError or NotCombinable before anything is written."""
    ids = [note.intent.id for note in notes]
    intent_texts: dict[str, str] = dict(_run_in(run, schema.SELECT_INTENTS_BY_ID, ids))
    stored_texts = _fitting_records(run, notes, intent_texts)
    changed_notes = [
        note
        for note in notes
        if note.record_row and stored_texts.get(note.record_row[0]) != note.record_row[-1]
    ]
    _require_unused_ids(run, notes, changed_notes)
    _require_unused_approvals(run, notes)
    # Old rows are deleted first: two records may exchange their ids, which are unique.
    deleted_addresses = [
        note.record_row[0] for note in changed_notes if note.record_row[0] in stored_texts
    ]
    deleted_addresses += [note.changed_record_address for note in notes if note.drops_record]
    # A call that is opened again takes the place of one that had ended.
    replaced_intent_ids = list(intent_texts)
    opening_notes = [note for note in notes if note.intent_text]
    audit_rows = [note.audit_row for note in notes if note.audit_row]
    ((last_intent_number, last_audit_number),) = run(schema.GET_LAST_NUMBERS, ())
    _run_in(run, schema.DROP_RECORDS, deleted_addresses)
    _insert(run, "records", [note.record_row for note in changed_notes])
    _run_in(run, schema.DROP_INTENTS, replaced_intent_ids)
    intent_rows = [
        (note.intent.id, number, str(note.intent.address), note.intent_text)
        for number, note in enumerate(opening_notes, last_intent_number + 1)
    ]
    _insert(run, "intents", intent_rows)
    numbered_audit_rows = enumerate(audit_rows, last_audit_number + 1)
    _insert(run, "audit", [(number, *audit_row) for number, audit_row in numbered_audit_rows])
    for note in notes:
        if note.intent_text:
            _insert_approvals(run, note.intent.approvals, note.opened_at)
        elif note.intent.state in WITHOUT_EFFECT:
            _run_in(run, schema.DROP_PLANS, _row_ids(note.intent.approvals))
    run(schema.ADD_TO_SERIAL, (len(notes),))


def _fitting_records(
    run: SqlRunner, notes: Sequence[CallNote], intent_texts: Mapping[str, str]
) -> dict[str, str]:
    """The stored record texts by address, of the records that the notes replace.

    `intent_texts` are the stored intents of the notes, by their id.

    StateError or NotCombinable if an intent to be opened is open already, or one to be closed is
    not. NotCombinable if two notes are about one intent or one record.
    """
    intent_ids = [note.intent.id for note in notes]
    changed_addresses = [
        note.changed_record_address for note in notes if note.changed_record_address
    ]
    if any(len(set(keys)) < len(keys) for keys in (intent_ids, changed_addresses)):
        raise NotCombinable
    for note in notes:
        text = intent_texts.get(note.intent.id)
        # What is to be closed is open, but for a call that ended when its object was forgotten.
        is_open = text is not None and not (note.intent_text and _has_ended(note, text))
        # One that is to be opened is open already, or one to be closed is not open.
        if bool(note.intent_text) is is_open:
            intent = note.intent
            named = {"verb": intent.verb, "id": intent.id}
            error = (
                fault("announced", of=intent.address, **named)
                if note.intent_text
                else fault("not announced", address=intent.address, **named)
            )
            raise _own_error(notes, error)
    addresses = [note.record_row[0] for note in notes if note.record_row]
    return dict(_run_in(run, schema.SELECT_RECORDS_BY_ADDRESS, addresses))


def _has_ended(note: CallNote, text: str) -> bool:
    stored = schema.decode(Intent, text, str(note.intent.address), note.intent.id)
    return stored.state is not IntentState.OPEN


def _require_unused_ids(
    run: SqlRunner, notes: Sequence[CallNote], changed_notes: Sequence[CallNote]
) -> None:
    """StateError if a changed record has a remote id that another address has already."""
    notes_by_remote_key = {note.record_row[1:4]: note for note in changed_notes}
    if len(notes_by_remote_key) < len(changed_notes):
        raise NotCombinable
    if not changed_notes:
        return
    statement = schema.select_addresses_by_ids(len(changed_notes))
    remote_cells = [cell for remote_key in notes_by_remote_key for cell in remote_key]
    for owner_address, *remote_key in run(statement, remote_cells):
        note = notes_by_remote_key[tuple(remote_key)]
        if owner_address != note.record_row[0] and note.record is not None:
            raise _own_error(notes, duplicate_remote_id(note.record, owner_address))


def _require_unused_approvals(run: SqlRunner, notes: Sequence[CallNote]) -> None:
    """StateError if a call that begins uses up an approval that was used before."""
    approval_ids = [
        approval_id
        for note in notes
        if note.intent_text
        for approval_id in dict.fromkeys(note.intent.approvals)
    ]
    used_ids = read_used_approval_ids(run, approval_ids)
    if used_ids or len(set(approval_ids)) < len(approval_ids):
        raise _own_error(notes, fault("approval used", ids=format_short_list(used_ids)))


def _own_error(notes: Sequence[CallNote], note_error: StateError) -> Exception:
    """The error of a single note, else NotCombinable.

    Of several notes only the faulty one may fail: each is then written by itself.
    """
    return note_error if len(notes) == 1 else NotCombinable()
