"""The state store over any SQL database: its rules and its statements, once.

Every public write is one piece of work inside `_write`: one transaction, which moves the serial by
one when the work changed what `read` returns. A group commit needs to change that method alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.errors import StateError
from synapse_apply.model.state import (
    STATE_FORMAT,
    AuditEntry,
    Binding,
    Intent,
    IntentState,
    Record,
    State,
)
from synapse_apply.stores import faults, schema, texts
from synapse_apply.stores.database import Database, Row, Run, Statement
from synapse_apply.stores.moves import renamed

# Tells whether it changed what `read` returns.
Work = Callable[[Run], bool]


def utc_now() -> str:
    """RFC 3339 UTC with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class SqlStore:
    """A StateStore (model/ports.py) whose rows live in a Database."""

    def __init__(
        self, database: Database, tool_version: str = "", now: Callable[[], str] = utc_now
    ) -> None:
        """Touches nothing: a state is looked for when it is first used."""
        self._database = database
        self._tool_version = tool_version
        self._now = now
        self._locked = False

    @property
    def where(self) -> str:
        """The place of this state, for messages."""
        return self._database.where

    def exists(self) -> bool:
        return self._database.exists()

    def init(self, binding: Binding, lineage: str) -> None:
        """Also without the lock: it is taken for the moment then."""
        at = (binding.url, binding.tenant, binding.data_set)
        meta = (STATE_FORMAT, lineage, *at, self._now(), self._tool_version)
        tables: list[Statement] = [(table, ()) for table in schema.TABLES]
        with self._lock_unless_held("state init"):
            self._database.create([*tables, (schema.ADD_META, meta)])

    def binding(self) -> Binding:
        with self._database.reading() as run:
            return Binding(*self._meta(run)[3:])

    def lineage(self) -> str:
        with self._database.reading() as run:
            return str(self._meta(run)[1])

    def serial(self) -> int:
        with self._database.reading() as run:
            return int(self._meta(run)[2])

    def read(self) -> State:
        with self._database.reading() as run:
            _, lineage, serial, *at = self._meta(run)
            rows = run(schema.ALL_RECORDS, ())
            open_rows = run(schema.ALL_INTENTS, ())
        records = (texts.record_from(text, self.where, address) for address, text in rows)
        return State(
            lineage=lineage,
            serial=serial,
            binding=Binding(*at),
            records={record.address: record for record in records},
            open_intents=tuple(texts.intent_from(text, self.where, at) for at, text in open_rows),
        )

    def record(self, address: Address) -> Record | None:
        with self._database.reading() as run:
            self._meta(run)
            rows = run(schema.GET_RECORD, (str(address),))
        return texts.record_from(rows[0][0], self.where, str(address)) if rows else None

    @contextmanager
    def lock(self, operation: str) -> Iterator[None]:
        """Every thread of this process may write while it is held."""
        if self._locked:
            raise faults.locked_here(self.where, operation)
        with self._database.lock(operation):
            self._locked = True
            try:
                yield
            finally:
                self._locked = False

    def begin(self, intent: Intent) -> None:
        text = texts.intent_to(intent, self.where)

        def work(run: Run) -> bool:
            if run(schema.GET_INTENT, (intent.id,)):
                raise faults.begun_twice(intent)
            run(schema.ADD_INTENT, (intent.id, str(intent.address), text))
            return True

        self._write(work)

    def settle(self, intent: Intent, record: Record | None, entry: AuditEntry) -> None:
        """An intent that is not open is a StateError, one whose `state` is OPEN a ValueError."""
        if intent.state is IntentState.OPEN:
            raise ValueError("settling an intent says how it ended")
        text = texts.audit_to(entry, self.where)
        row = None if record is None else self._row(record)

        def work(run: Run) -> bool:
            if not run(schema.GET_INTENT, (intent.id,)):
                raise faults.not_begun(intent)
            if record is not None and row is not None:
                self._put(run, [(record, row)])
            elif intent.state is IntentState.DONE:
                run(schema.DROP_RECORD, (str(intent.address),))
            run(schema.DROP_INTENT, (intent.id,))
            run(schema.ADD_AUDIT, (entry.at, entry.address, text))
            return True

        self._write(work)

    def put(self, *records: Record) -> None:
        latest = {record.address: record for record in records}
        rows = [(record, self._row(record)) for record in latest.values()]
        self._write(lambda run: self._put(run, rows))

    def remove(self, *addresses: Address) -> None:
        """An address that is not recorded is left out silently."""

        def work(run: Run) -> bool:
            known = [str(at) for at in addresses if run(schema.GET_RECORD, (str(at),))]
            for address in known:
                run(schema.DROP_RECORD, (address,))
            return bool(known)

        self._write(work)

    def move(self, old: Address, new: Address) -> None:
        """Records that depend on `old` depend on `new` then; an open call on `old` refuses it."""

        def work(run: Run) -> bool:
            if not run(schema.GET_RECORD, (str(old),)):
                raise faults.unknown_address(old, self.where)
            if run(schema.GET_RECORD, (str(new),)):
                raise faults.taken(new, self.where)
            for (text,) in run(schema.INTENT_AT, (str(old),)):
                raise faults.unsettled(old, texts.intent_from(text, self.where, str(old)).verb)
            rows = run(schema.ALL_RECORDS, ())
            records = [texts.record_from(text, self.where, at) for at, text in rows]
            run(schema.DROP_RECORD, (str(old),))
            changed = renamed(records, old, new)
            return self._put(run, [(record, self._row(record)) for record in changed])

        self._write(work)

    def rebind(self, binding: Binding) -> None:
        def work(run: Run) -> bool:
            if Binding(*self._meta(run)[3:]) == binding:
                return False
            run(schema.BIND, (binding.url, binding.tenant, binding.data_set))
            return True

        self._write(work)

    def audit(self, limit: int = 1000) -> list[AuditEntry]:
        with self._database.reading() as run:
            self._meta(run)
            rows = run(schema.NEWEST_AUDIT, (limit,))
        return [texts.audit_from(text, self.where, "audit") for (text,) in rows]

    def mark_applied(self, plan_id: str) -> None:
        """Use up a saved plan; StateError when it was used before. The serial stays."""

        def work(run: Run) -> bool:
            if run(schema.GET_PLAN, (plan_id,)):
                raise faults.applied_before(plan_id)
            run(schema.ADD_PLAN, (plan_id, self._now()))
            return False

        self._write(work)

    def was_applied(self, plan_id: str) -> bool:
        with self._database.reading() as run:
            self._meta(run)
            return bool(run(schema.GET_PLAN, (plan_id,)))

    def backup(self, to: str) -> None:
        """Needs no lock; an existing file is a StateError."""
        self.serial()
        self._database.backup(to)

    def restore(self, source: str) -> None:
        """Also without the lock: it is taken for the moment then.

        The serial ends above both, so that no plan made before fits by accident.
        """

        def check(run: Run) -> list[Statement]:
            found = int(self._meta(run, source)[2])
            return [(schema.SET_SERIAL, (max(found, serial) + 1,))]

        with self._lock_unless_held("state restore"):
            serial = self._serial_if_readable()
            self._database.replace(source, check)

    def close(self) -> None:
        self._database.close()

    def _write(self, work: Work) -> None:
        if not self._locked:
            raise faults.not_locked(self.where)
        with self._database.writing() as run:
            # Another version may have changed the format since this process looked.
            self._meta(run)
            if work(run):
                run(schema.NEXT_SERIAL, ())

    def _meta(self, run: Run, where: str = "") -> Row:
        rows = run(schema.GET_META, ())
        if not rows:
            raise faults.damaged(where or self.where, "its first row is missing")
        if rows[0][0] > STATE_FORMAT:
            raise faults.newer(where or self.where, rows[0][0])
        return rows[0]

    def _row(self, record: Record) -> tuple[Any, ...]:
        address = record.address
        text = texts.record_to(record, self.where)
        return (str(address), address.kind, record.api, record.remote_id, text)

    def _put(self, run: Run, rows: list[tuple[Record, tuple[Any, ...]]]) -> bool:
        """Old rows go first, so that two records of one call may exchange their ids."""
        changed = [
            (record, row)
            for record, row in rows
            if run(schema.GET_RECORD, (row[0],)) != [(row[-1],)]
        ]
        for _, row in changed:
            run(schema.DROP_RECORD, (row[0],))
        for record, row in changed:
            for (other,) in run(schema.FIND_REMOTE, row[1:4]):
                raise faults.two_addresses(record, other)
            run(schema.ADD_RECORD, row)
        return bool(changed)

    def _serial_if_readable(self) -> int:
        """A state that is damaged or gone is just what a restore is for."""
        try:
            return self.serial()
        except StateError:
            return 0

    @contextmanager
    def _lock_unless_held(self, operation: str) -> Iterator[None]:
        if self._locked:
            yield
        else:
            with self.lock(operation):
                yield
