"""The state store for tests: the same rules, kept in this process."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import RLock
from typing import Any
from uuid import uuid4

from synapse_apply.model import codec
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic
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
from synapse_apply.stores import faults, texts
from synapse_apply.stores.contents import Contents

WHERE = "memory"

# What must not stand under two addresses: kind, API version, remote id.
Remote = tuple[str, str, str]


@dataclass
class Rows:
    """What a database would hold; values are the same texts, so that nothing else gets in."""

    lineage: str
    binding: Binding
    serial: int = 0
    records: dict[Address, str] = field(default_factory=dict)
    remotes: dict[Address, Remote] = field(default_factory=dict)
    owners: dict[Remote, Address] = field(default_factory=dict)
    intents: dict[str, str] = field(default_factory=dict)
    plans: dict[str, str] = field(default_factory=dict)
    audit: list[str] = field(default_factory=list)


class MemoryStore:
    """A StateStore (model/ports.py) that ends with its process."""

    def __init__(self) -> None:
        """No state yet: `init` makes one."""
        self._rows: Rows | None = None
        self._lock_id = ""
        self._held = False
        self._turn = RLock()

    @property
    def where(self) -> str:
        """The place of this state, for messages."""
        return WHERE

    def exists(self) -> bool:
        return self._rows is not None

    def warnings(self) -> tuple[Diagnostic, ...]:
        """Nobody keeps this one."""
        return ()

    def init(self, binding: Binding, lineage: str, above: Position = START) -> None:
        self.fill(Contents(State(lineage, above.next().serial, binding)))

    def binding(self) -> Binding:
        return self._now().binding

    def lineage(self) -> str:
        return self._now().lineage

    def serial(self) -> int:
        return self._now().serial

    def position(self) -> Position:
        """Its lock is never counted: nobody else can hold it."""
        return Position(self.serial(), 0)

    def read(self) -> State:
        with self._turn:
            rows = self._now()
            return State(
                lineage=rows.lineage,
                serial=rows.serial,
                binding=rows.binding,
                records=_records(rows),
                open_intents=tuple(_intents(rows)),
            )

    def record(self, address: Address) -> Record | None:
        text = self._now().records.get(address)
        return None if text is None else texts.record_from(text, WHERE, str(address))

    @contextmanager
    def lock(self, operation: str, timeout: float = 0.0) -> Iterator[None]:  # noqa: ARG002
        """Nobody else can hold it: there is nothing to wait for."""
        with self._turn:
            if self._held:
                raise faults.locked_here(WHERE, operation)
            self._held, self._lock_id = True, str(uuid4())
        try:
            yield
        finally:
            self._held, self._lock_id = False, ""

    def still_ours(self) -> bool:
        return bool(self._lock_id)

    def in_the_way(self) -> tuple[Diagnostic, ...]:
        """Nothing: only this process can hold it."""
        return ()

    def broken(self) -> bool:
        """Memory takes everything."""
        return False

    def lost(self) -> bool:
        return self._held and not self._lock_id

    def check(self) -> None:
        if self.lost():
            raise faults.lost_to(WHERE, "")

    def unlock(self, lock_id: str) -> None:
        with self._turn:
            if not self._lock_id or lock_id != self._lock_id:
                raise faults.not_that_lock(WHERE, lock_id, None)
            self._lock_id = ""

    def note(self, *entries: AuditEntry) -> None:
        told = [texts.audit_to(entry, WHERE) for entry in entries]
        with self._writing() as rows:
            rows.audit.extend(told)

    def begin(self, intent: Intent) -> None:
        with self._writing() as rows:
            if intent.id in rows.intents:
                raise faults.begun_twice(intent)
            rows.intents[intent.id] = texts.intent_to(intent, WHERE)
            rows.serial += 1

    def settle(self, intent: Intent, record: Record | None, entry: AuditEntry) -> None:
        if intent.state is IntentState.OPEN:
            raise ValueError("settling an intent says how it ended")
        with self._writing() as rows:
            if intent.id not in rows.intents:
                raise faults.not_begun(intent)
            text = texts.audit_to(entry, WHERE)
            if record is not None:
                _put(rows, [record])
            elif intent.state is IntentState.DONE:
                _drop(rows, intent.address)
            del rows.intents[intent.id]
            rows.audit.append(text)
            rows.serial += 1

    def put(self, *records: Record) -> None:
        with self._writing() as rows:
            rows.serial += _put(rows, records)

    def remove(self, *addresses: Address) -> None:
        with self._writing() as rows:
            gone = [_drop(rows, address) for address in addresses]
            rows.serial += any(gone)

    def move(self, renames: Renames, finish: Finish = after_alone) -> None:
        with self._writing() as rows:
            for old, new in renames.items():
                if old not in rows.records:
                    raise faults.unknown_address(old, WHERE)
                if new in rows.records:
                    raise faults.taken(new, WHERE)
            for intent in _intents(rows):
                if intent.address in renames:
                    raise faults.unsettled(intent.address, intent.verb)
            changed = list(renamed(_records(rows).values(), renames, finish))
            for old in renames:
                _drop(rows, old)
            rows.serial += _put(rows, changed)

    def rebind(self, binding: Binding) -> None:
        with self._writing() as rows:
            rows.serial += rows.binding != binding
            rows.binding = binding

    def audit(self, limit: int = 1000) -> list[AuditEntry]:
        newest = self._now().audit[::-1][:limit]
        return [texts.audit_from(text, WHERE, "audit") for text in newest]

    def mark_applied(self, plan_id: str) -> None:
        """Use up a saved plan; StateError when it was used before. The serial stays."""
        with self._writing() as rows:
            if plan_id in rows.plans:
                raise faults.applied_before(plan_id)
            rows.plans[plan_id] = ""

    def was_applied(self, plan_id: str) -> bool:
        return plan_id in self._now().plans

    def contents(self) -> Contents:
        with self._turn:
            rows = self._now()
            audit = tuple(texts.audit_from(text, WHERE, "audit") for text in rows.audit)
            return Contents(self.read(), tuple(sorted(rows.plans.items())), audit)

    def fill(self, made: Contents) -> None:
        with self._turn:
            if self._rows is not None:
                raise faults.exists(WHERE)
            self._rows = _rows(made)

    def backup(self, to: str) -> None:
        data = {
            "synapse_apply_state": STATE_FORMAT,
            "state": codec.state_to_json(self.read()),
            "plans": sorted(self._now().plans),
            "audit": [json.loads(text) for text in self._now().audit],
        }
        try:
            with Path(to).open("x", encoding="utf-8") as file:
                json.dump(data, file)
        except FileExistsError:
            raise faults.backup_exists(to) from None

    def restore(
        self, source: str, vet: Vet = any_state, keep: str = "", above: Above = from_start
    ) -> str:
        """Nothing is kept: memory has no place for it."""
        del keep
        rows = _restored(source)
        vet(rows.binding, rows.lineage)
        with self._turn:
            serial = self._rows.serial if self._rows else 0
            least = max(serial, rows.serial, above(rows.lineage).serial)
            self._rows = replace(rows, serial=least + 1)
        return ""

    def close(self) -> None:
        """Nothing to let go of: the state stays for the next use."""

    def _now(self) -> Rows:
        if self._rows is None:
            raise faults.missing(WHERE)
        return self._rows

    @contextmanager
    def _writing(self) -> Iterator[Rows]:
        """Rows to change; who writes checks everything before changing anything."""
        if not self._held:
            raise faults.not_locked(WHERE)
        self.check()
        with self._turn:
            yield self._now()


def _records(rows: Rows) -> dict[Address, Record]:
    return {
        address: texts.record_from(text, WHERE, str(address))
        for address, text in sorted(rows.records.items())
    }


def _intents(rows: Rows) -> list[Intent]:
    return [texts.intent_from(text, WHERE, at) for at, text in rows.intents.items()]


def _put(rows: Rows, records: Iterable[Record]) -> bool:
    latest = {record.address: record for record in records}
    written = {address: texts.record_to(record, WHERE) for address, record in latest.items()}
    changed = {at: text for at, text in written.items() if rows.records.get(at) != text}
    claimed: dict[Remote, Address] = {}
    for address in changed:
        remote = (address.kind, latest[address].api, latest[address].remote_id)
        owner = rows.owners.get(remote)
        other = claimed.get(remote) or (owner if owner not in changed else None)
        if other is not None:
            raise faults.two_addresses(latest[address], str(other))
        claimed[remote] = address
    for address in changed:
        _drop(rows, address)
    rows.records.update(changed)
    rows.owners.update(claimed)
    rows.remotes.update({address: remote for remote, address in claimed.items()})
    return bool(changed)


def _drop(rows: Rows, address: Address) -> bool:
    remote = rows.remotes.pop(address, None)
    if remote is not None:
        del rows.owners[remote]
    return rows.records.pop(address, None) is not None


def _restored(source: str) -> Rows:
    data = _read_json(source)
    found = data.get("synapse_apply_state")
    if not isinstance(found, int):
        raise faults.not_a_backup(source, "was not written by synapse-apply")
    if found > STATE_FORMAT:
        raise faults.newer(source, found)
    try:
        state = codec.state_from_json(data.get("state"))
        audit = tuple(codec.audit_from_json(at) for at in data.get("audit", ()))
    except ValueError as problem:
        raise faults.damaged(source, str(problem)) from None
    return _rows(Contents(state, tuple((plan, "") for plan in data.get("plans", ())), audit))


def _rows(made: Contents) -> Rows:
    state = made.state
    rows = Rows(state.lineage, state.binding, state.serial, plans=dict(made.plans))
    rows.intents.update((one.id, texts.intent_to(one, WHERE)) for one in state.open_intents)
    rows.audit.extend(texts.audit_to(entry, WHERE) for entry in made.audit)
    _put(rows, state.records.values())
    return rows


def _read_json(source: str) -> dict[str, Any]:
    try:
        data = json.loads(Path(source).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise faults.not_a_backup(source, "does not exist") from None
    except (OSError, ValueError):
        raise faults.not_a_backup(source, "cannot be read as JSON") from None
    return data if isinstance(data, dict) else {}
