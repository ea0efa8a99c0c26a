"""What the state notes of calls, begun or ended, of several threads in a few statements.

Around each statement the interpreter goes to other threads and has to be got back. With eleven
statements for a call, transactions waited longer for that than for the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from synapse_apply.model.errors import StateError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.state import Intent, Record
from synapse_apply.stores import faults, schema
from synapse_apply.stores.database import Row, Run

# Of more the statements would have more parameters than some databases take.
MOST = 100


class Apart(Exception):
    """They cannot be noted together; nothing was written."""


@frozen
class Note:
    """What is noted of one call; as work by itself, it raises StateError where it is wrong.

    `begun` is the text of an intent that begins. Of one that ended: the record and its `row`, or
    that it `drops` the record, and the row of the audit.
    """

    intent: Intent
    begun: str = ""
    record: Record | None = None
    row: tuple[Any, ...] = ()
    drops: bool = False
    entry: tuple[str, str, str] | tuple[()] = ()

    def __call__(self, run: Run) -> None:
        """Note this one alone."""
        _note(run, [self])

    @property
    def touches(self) -> str:
        """The address whose record it writes or drops, "" for none."""
        return str(self.intent.address) if self.row or self.drops else ""


def together(works: Sequence[Callable[[Run], object]], run: Run) -> bool:
    """Note all that came together; False, with nothing written, where each must go by itself."""
    notes = [work for work in works if isinstance(work, Note)]
    if len(notes) < len(works) or len(notes) > MOST:
        return False
    try:
        _note(run, notes)
    except Apart:
        return False
    return True


def _note(run: Run, notes: Sequence[Note]) -> None:
    """First all that could be in the way, then all that is written."""
    known = _checked(run, notes)
    changed = [note for note in notes if note.row and known.get(note.row[0]) != note.row[-1]]
    _check_owners(run, notes, changed)
    # Old rows go first, so that two records may exchange their ids.
    gone = [note.row[0] for note in changed if note.row[0] in known]
    gone += [note.touches for note in notes if note.drops]
    ended = [note.intent.id for note in notes if not note.begun]
    begun = [note for note in notes if note.begun]
    entries = [note.entry for note in notes if note.entry]
    ((intents, audit),) = run(schema.LAST_NUMBERS, ())
    _run(run, partial(schema.among, schema.DROP_RECORDS), [(address,) for address in gone])
    _run(run, partial(schema.insert_many, "records"), [note.row for note in changed])
    _run(run, partial(schema.among, schema.DROP_INTENTS), [(at,) for at in ended])
    numbered = [
        (note.intent.id, number, str(note.intent.address), note.begun)
        for number, note in enumerate(begun, intents + 1)
    ]
    _run(run, partial(schema.insert_many, "intents"), numbered)
    _run(
        run,
        partial(schema.insert_many, "audit"),
        [(number, *entry) for number, entry in enumerate(entries, audit + 1)],
    )
    run(schema.ADD_TO_SERIAL, (len(notes),))


def _checked(run: Run, notes: Sequence[Note]) -> dict[str, str]:
    """The texts of the records that are written, as they are; what is wrong is raised."""
    ids = [(note.intent.id,) for note in notes]
    touched = [note.touches for note in notes if note.touches]
    if len(set(ids)) < len(ids) or len(set(touched)) < len(touched):
        raise Apart
    is_open = set(_run(run, partial(schema.among, schema.OPEN_INTENTS), ids))
    for note in notes:
        if bool(note.begun) is ((note.intent.id,) in is_open):
            wrong = faults.begun_twice if note.begun else faults.not_begun
            raise _of(notes, wrong(note.intent))
    rows = [(note.row[0],) for note in notes if note.row]
    return dict(_run(run, partial(schema.among, schema.SOME_RECORDS), rows))


def _check_owners(run: Run, notes: Sequence[Note], changed: Sequence[Note]) -> None:
    """No object may come under a second address."""
    wanted = {note.row[1:4]: note for note in changed}
    if len(wanted) < len(changed):
        raise Apart
    for owner, *remote in _run(run, schema.owners_among, [*wanted]):
        note = wanted[tuple(remote)]
        if owner != note.row[0] and note.record is not None:
            raise _of(notes, faults.two_addresses(note.record, owner))


def _of(notes: Sequence[Note], wrong: StateError) -> Exception:
    """What is wrong with one of several is found when each goes by itself."""
    return wrong if len(notes) == 1 else Apart()


def _run(run: Run, statement: Callable[[int], str], rows: Sequence[tuple[Any, ...]]) -> list[Row]:
    """One statement for so many rows; none for no row."""
    if not rows:
        return []
    return run(statement(len(rows)), [value for row in rows for value in row])
