"""The state store over any SQL database: its rules and its statements, once.

Every public write is one piece of work inside `_write` (locked.py).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import StateError
from synapse_apply.model.ports import Above, Vet, any_state, from_start
from synapse_apply.model.refactoring import Finish, Renames, after_alone, renamed
from synapse_apply.model.state import (
    START,
    STATE_FORMAT,
    AuditEntry,
    Binding,
    Intent,
    IntentState,
    Position,
    Record,
    State,
)
from synapse_apply.stores import contents, faults, schema, texts
from synapse_apply.stores.contents import Contents, History, Rows
from synapse_apply.stores.database import Database, Row, Run, Statement
from synapse_apply.stores.holder import Holder
from synapse_apply.stores.lock import Runner
from synapse_apply.stores.locked import Locked
from synapse_apply.stores.notes import Note


def utc_now() -> str:
    """RFC 3339 UTC with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class SqlStore(Locked):
    """A StateStore (model/ports.py) whose rows live in a Database."""

    def __init__(
        self,
        database: Database,
        tool_version: str = "",
        now: Callable[[], str] = utc_now,
        runner: Runner | None = None,
    ) -> None:
        """Touches nothing: a state is looked for when it is first used."""
        super().__init__(database, runner or Runner(), now)
        self._tool_version = tool_version
        self._now = now

    def warnings(self) -> tuple[Diagnostic, ...]:
        """What is risky about where this state is kept."""
        return self._database.warnings()

    def exists(self) -> bool:
        return self._database.exists()

    def init(self, binding: Binding, lineage: str, above: Position = START) -> None:
        """Also without the lock: it is taken for the moment then."""
        first = above.next()
        self.fill(Contents(State(lineage, first.serial, binding), fence=first.fence))

    def binding(self) -> Binding:
        return Binding(*self._database.read(self._meta)[schema.BINDING])

    def lineage(self) -> str:
        return str(self._database.read(self._meta)[1])

    def serial(self) -> int:
        return int(self._database.read(self._meta)[schema.SERIAL])

    def position(self) -> Position:
        meta = self._database.read(self._meta)
        return Position(int(meta[schema.SERIAL]), int(meta[schema.FENCE]))

    def read(self) -> State:
        return contents.state_of(self._database.read(self._rows), self.where)

    def record(self, address: Address) -> Record | None:
        def work(run: Run) -> list[Row]:
            self._meta(run)
            return run(schema.GET_RECORD, (str(address),))

        rows = self._database.read(work)
        return texts.record_from(rows[0][0], self.where, str(address)) if rows else None

    def note(self, *entries: AuditEntry) -> None:
        rows = [(one.at, one.address, texts.audit_to(one, self.where)) for one in entries]

        def work(run: Run) -> bool:
            for row in rows:
                run(schema.ADD_AUDIT, row)
            return False

        if rows:
            self._write(work)

    def begin(self, intent: Intent) -> None:
        self._group.write(Note(intent, begun=texts.intent_to(intent, self.where)))

    def settle(self, intent: Intent, record: Record | None, entry: AuditEntry) -> None:
        """An intent that is not open is a StateError, one whose `state` is OPEN a ValueError."""
        if intent.state is IntentState.OPEN:
            raise ValueError("settling an intent says how it ended")
        note = Note(
            intent,
            record=record,
            row=() if record is None else self._row(record),
            drops=record is None and intent.state is IntentState.DONE,
            entry=(entry.at, entry.address, texts.audit_to(entry, self.where)),
        )
        self._group.write(note)

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

    def move(self, renames: Renames, finish: Finish = after_alone) -> None:
        """What depends on an old address depends on the new; an open call on it refuses all."""

        def work(run: Run) -> bool:
            for old, new in renames.items():
                if not run(schema.GET_RECORD, (str(old),)):
                    raise faults.unknown_address(old, self.where)
                if run(schema.GET_RECORD, (str(new),)):
                    raise faults.taken(new, self.where)
                for (text,) in run(schema.INTENT_AT, (str(old),)):
                    raise faults.unsettled(old, texts.intent_from(text, self.where, str(old)).verb)
            rows = run(schema.ALL_RECORDS, ())
            records = [texts.record_from(text, self.where, at) for at, text in rows]
            for old in renames:
                run(schema.DROP_RECORD, (str(old),))
            changed = renamed(records, renames, finish)
            return self._put(run, [(record, self._row(record)) for record in changed])

        self._write(work)

    def rebind(self, binding: Binding) -> None:
        def work(run: Run) -> bool:
            if Binding(*self._meta(run)[schema.BINDING]) == binding:
                return False
            run(schema.BIND, (binding.url, binding.tenant, binding.data_set))
            return True

        self._write(work)

    def audit(self, limit: int = 1000) -> list[AuditEntry]:
        def work(run: Run) -> list[Row]:
            self._meta(run)
            return run(schema.NEWEST_AUDIT, (limit,))

        rows = self._database.read(work)
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
        def work(run: Run) -> bool:
            self._meta(run)
            return bool(run(schema.GET_PLAN, (plan_id,)))

        return self._database.read(work)

    def backup(self, to: str) -> None:
        """Needs no lock; an existing file is a StateError."""
        self.serial()
        self._database.backup(to)

    def restore(
        self, source: str, vet: Vet = any_state, keep: str = "", above: Above = from_start
    ) -> str:
        """Also without the lock: it is taken for the moment then.

        The serial ends above both, so that no plan made before fits by accident, and above what
        was seen of it.
        """

        def check(run: Run) -> list[Statement]:
            meta = self._meta(run, source)
            vet(Binding(*meta[schema.BINDING]), str(meta[1]))
            seen = above(str(meta[1]))
            at_least = max(int(meta[schema.SERIAL]), serial, seen.serial) + 1
            holder, made = holding.entry(max(int(meta[schema.FENCE]), seen.fence))
            entered.append(holder)
            return [(schema.SET_SERIAL, (at_least,)), *made]

        entered: list[Holder] = []
        with self._locked_or_now("state restore", repair=True) as holding:
            holding.check()
            serial = self._serial_if_readable()
            written_at = self._runner.timing.boottime()
            kept = self._database.replace(source, check, keep)
            holding.seat(entered[-1], written_at)
        return kept

    def contents(self) -> Contents:
        """The state with its history, as one snapshot."""

        def work(run: Run) -> tuple[Rows, History]:
            return self._rows(run), contents.history(run, self.where)

        rows, (plans, audit) = self._database.read(work)
        fence = int(rows[0][schema.FENCE])
        return Contents(contents.state_of(rows, self.where), plans, audit, fence)

    def fill(self, made: Contents) -> None:
        """Make a state of these contents; StateError when there is one already."""
        if self.exists():
            raise faults.exists(self.where)
        state = made.state
        at = (state.binding.url, state.binding.tenant, state.binding.data_set)
        meta = (1, STATE_FORMAT, state.lineage, 0, *at, self._now(), self._tool_version, 0)
        with self._locked_or_now("state init") as holding:
            holder, entry = holding.entry(made.fence)
            statements: list[Statement] = [(table, ()) for table in schema.TABLES]
            statements.append((schema.ADD_META, meta))
            statements += [*contents.statements(made, self.where), *entry]
            written_at = self._runner.timing.boottime()
            self._database.create(statements)
            holding.seat(holder, written_at)

    def _rows(self, run: Run) -> Rows:
        return self._meta(run), run(schema.ALL_RECORDS, ()), run(schema.ALL_INTENTS, ())

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
