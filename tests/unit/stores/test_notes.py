"""What several threads note at once is what each would note by itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from synapse_apply.model.address import Address
from synapse_apply.model.errors import StateError
from synapse_apply.model.state import AuditEntry, BackendIdentity, Intent, IntentState, Record
from synapse_apply.stores.call_notes import MAX_NOTES
from synapse_apply.stores.database import LeaseTiming
from synapse_apply.stores.lock.lease_lock import LockRunner
from synapse_apply.stores.sql import SqlStore
from synapse_apply.stores.sqlite.sqlite_database import make_unopened_sqlite_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    # Its lease does not run out, however long so many threads need.
    runner = LockRunner(timing=LeaseTiming(boottime=lambda: 0.0))
    made = make_unopened_sqlite_store(tmp_path / "state.db", runner=runner)
    made.create_state(BackendIdentity("http://localhost"), "lineage")
    yield made
    made.close()


def intent(name: str, **more) -> Intent:
    return Intent(f"id-{name}", "plan", Address("storage", name), "create", "v1", "", **more)


def record(name: str, remote: str) -> Record:
    return Record(Address("storage", name), remote, "v1", updated_at="now")


def ended(name: str, remote: str = "") -> tuple[Intent, Record | None, AuditEntry]:
    closed = replace(intent(name), state=IntentState.DONE)
    kept = record(name, remote) if remote else None
    return closed, kept, AuditEntry("t", "me", "", "plan", f"storage/{name}", "create", remote, "", "done")  # fmt: skip


class Together:
    """Works that begin while a first transaction is under way, and so share the next one."""

    def __init__(self, store: SqlStore) -> None:
        self.store = store
        self.statements: list[str] = []

    def do(self, *works) -> list[BaseException | None]:
        """How each ended; the statements of their transaction are kept."""
        database, group = self.store._database, self.store._write_batch
        write, gate, begun = database.write_in_transaction, threading.Event(), threading.Event()

        def gated(work):
            def watched(run):
                def kept(sql, values):
                    self.statements.append(sql)
                    return run(sql, values)

                return work(kept)

            if not gate.is_set():
                begun.set()
                gate.wait(60)
            self.statements.clear()
            return write(watched)

        database.write_in_transaction = gated
        try:
            with ThreadPoolExecutor(len(works) + 1) as pool:
                first = pool.submit(self.store.append_audit_entries, ended("first")[2])
                begun.wait(60)
                rest = [pool.submit(work) for work in works]
                while len(group._queue) < len(works):
                    pass
                gate.set()
                assert first.exception(60) is None
                return [one.exception(60) for one in rest]
        finally:
            database.write_in_transaction = write


@pytest.fixture
def together(store: SqlStore):
    with store.lock("test"):
        yield Together(store)


def test_many_are_noted_in_a_few_statements(store: SqlStore, together: Together) -> None:
    """However many they are; each intent, record and line of the audit is there, and counted."""
    for name in "abcdefgh":
        store.open_intent_and_use_up_its_approvals(intent(name))
    before = store.read_serial()
    begins = [
        lambda name=name: store.open_intent_and_use_up_its_approvals(intent(name))
        for name in "pqrstuvw"
    ]
    settles = [
        lambda name=name: store.close_ended_intent(*ended(name, f"id-{name}"))
        for name in "abcdefgh"
    ]
    assert together.do(*begins, *settles) == [None] * 16
    assert len(together.statements) <= 10
    state = store.read_state()
    assert [one.address.name for one in state.records.values()] == list("abcdefgh")
    assert {one.id for one in state.open_intents} == {f"id-{name}" for name in "pqrstuvw"}
    assert len(store.list_audit_entries_newest_first()) == 9
    assert store.read_serial() - before == 16


def test_one_that_is_wrong_fails_alone(store: SqlStore, together: Together) -> None:
    """With its own words; the others are noted."""
    for name in "abc":
        store.open_intent_and_use_up_its_approvals(intent(name))
    store.write_records(record("other", "taken"))
    failures = together.do(
        lambda: store.close_ended_intent(*ended("a", "new")),
        lambda: store.open_intent_and_use_up_its_approvals(intent("b")),
        lambda: store.close_ended_intent(*ended("never", "x")),
        lambda: store.close_ended_intent(*ended("c", "taken")),
        lambda: store.open_intent_and_use_up_its_approvals(intent("d")),
    )
    assert [isinstance(one, StateError) for one in failures] == [False, True, True, True, False]
    assert "storage/other" in str(failures[3].diagnostics)
    state = store.read_state()
    assert set(map(str, state.records)) == {"storage/a", "storage/other"}
    assert {one.id for one in state.open_intents} == {"id-b", "id-c", "id-d"}


def test_two_that_want_one_object_or_one_address(store: SqlStore, together: Together) -> None:
    """The first of them has it, as if they had come one after the other."""
    for name in "ab":
        store.open_intent_and_use_up_its_approvals(intent(name))
    failures = together.do(
        lambda: store.close_ended_intent(*ended("a", "same")),
        lambda: store.close_ended_intent(*ended("b", "same")),
    )
    assert sorted(map(bool, failures)) == [False, True]
    assert len(store.read_state().records) == 1
    twice = replace(intent("a"), id="id-second")
    store.open_intent_and_use_up_its_approvals(twice)
    store.open_intent_and_use_up_its_approvals(replace(intent("a"), id="id-third"))
    closed = ended("a", "one")
    others = [(replace(closed[0], id=at), *closed[1:]) for at in ("id-second", "id-third")]
    assert together.do(*[lambda one=one: store.close_ended_intent(*one) for one in others]) == [
        None,
        None,
    ]
    assert store.find_record(Address("storage", "a")).remote_id == "one"


def test_a_record_goes_and_another_comes(store: SqlStore, together: Together) -> None:
    """A delete and a create of one transaction."""
    store.write_records(record("old", "1"))
    for name in ("old", "new"):
        store.open_intent_and_use_up_its_approvals(intent(name))
    works = [
        lambda: store.close_ended_intent(*ended("old")),
        lambda: store.close_ended_intent(*ended("new", "2")),
    ]
    assert together.do(*works) == [None, None]
    assert set(map(str, store.read_state().records)) == {"storage/new"}


def test_more_than_a_statement_takes(store: SqlStore, together: Together) -> None:
    """Each goes by itself then."""
    names = [f"n{number:03}" for number in range(MAX_NOTES + 1)]
    assert together.do(
        *[lambda at=at: store.open_intent_and_use_up_its_approvals(intent(at)) for at in names]
    ) == [None] * len(names)
    assert len(store.read_state().open_intents) == len(names)
