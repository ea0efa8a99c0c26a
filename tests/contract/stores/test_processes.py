"""Several threads, several processes, and processes that end in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from contract.stores.samples import entry, intent, record

from synapse_apply.model.errors import LockHeld, StateError
from synapse_apply.model.state import IntentState
from synapse_apply.stores.sqlite.sqlite_database import make_unopened_sqlite_store

TESTS = Path(__file__).resolve().parents[2]

HOLD = """
import sys
from contract.stores.samples import entry, intent, record
from synapse_apply.stores.sqlite.sqlite_database import make_unopened_sqlite_store

store = make_unopened_sqlite_store(sys.argv[1], run_url="https://ci.example/run/7")
with store.lock("apply"):
    store.write_records(record())
    store.open_intent_and_use_up_its_approvals(intent("fresh", "i9"))
    print("announced", flush=True)
    sys.stdin.read()
"""


TEAR = """
import os, signal, sys
from contract.stores.samples import record
from synapse_apply.stores.sqlite.sqlite_database import make_unopened_sqlite_store

store = make_unopened_sqlite_store(sys.argv[1])
with store.lock("apply"):
    store.write_records(record())
    database = store._database
    database._require_connection_to_current_file().execute("PRAGMA cache_size = 1")

    def work(run):
        run("UPDATE records SET record = 'torn'", ())
        for number in range(2000):
            run("INSERT INTO plans (id, applied) VALUES (?, '')", (f"{number:0200}",))
        os.kill(os.getpid(), signal.SIGKILL)

    database.write_in_transaction(work)
"""


def surroundings():
    """The environment in which another process finds the tests and the package."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}


@pytest.fixture
def other(sqlite, path):
    """Another process that holds the lock and has announced a call; stdin lets it end."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=surroundings(),
    ) as process:
        assert process.stdout.readline() == "announced\n"
        yield process
        process.kill()


def test_a_lock_ends_with_its_process(sqlite, other):
    """Nobody has to unlock anything after a normal end."""
    other.communicate("")
    with sqlite.lock("apply"):
        sqlite.write_records(record("next", "2"))


def test_kill_9_leaves_the_open_intent_and_all_that_was_written(sqlite, other):
    """What was acknowledged before is there, and the next process can go on."""
    other.send_signal(signal.SIGKILL)
    other.wait()
    state = sqlite.read_state()
    assert [one.address.name for one in state.records.values()] == ["yolo"]
    (left,) = state.open_intents
    assert (left.id, left.state) == ("i9", IntentState.OPEN)
    with sqlite.lock("apply"):
        made = record("fresh", "2")
        sqlite.close_ended_intent(replace(left, state=IntentState.DONE), made, entry("fresh"))
    assert sqlite.read_state().open_intents == ()


def test_kill_9_inside_a_write_undoes_that_write(sqlite, path):
    """Pages of a half-done transaction are in the file; the journal takes them back."""
    sqlite.close()
    done = subprocess.run([sys.executable, "-c", TEAR, str(path)], check=False, env=surroundings())
    assert done.returncode == -signal.SIGKILL
    assert path.with_name("prod.db-journal").stat().st_size > 0
    assert path.stat().st_size > 200_000
    assert list(sqlite.read_state().records.values()) == [record()]
    assert not sqlite.was_plan_applied("0" * 200)


def test_two_stores_of_one_process_keep_each_other_out(sqlite, path):
    """The lock belongs to a store, not to a process."""
    second = make_unopened_sqlite_store(path)
    with sqlite.lock("plan"), pytest.raises(LockHeld, match="locked"), second.lock("apply"):
        pytest.fail("two stores held one lock")
    with second.lock("apply"):
        second.write_records(record())
    second.close()


def test_a_lock_is_not_reentrant(locked):
    """Taking it twice is a mistake of the program, not a wait."""
    with pytest.raises(StateError, match="This process already holds"), locked.lock("again"):
        pytest.fail("one store was locked twice")
    locked.write_records(record())


def test_a_lock_ends_with_an_error_too(store):
    """The next command can work after one that failed."""
    with pytest.raises(RuntimeError), store.lock("first"):
        raise RuntimeError
    with store.lock("second"):
        store.write_records(record())


def test_nothing_is_written_without_the_lock(store):
    """Every write is guarded; reading is free."""
    ended = intent(state=IntentState.DONE)
    address = record().address
    for write in (
        lambda: store.write_records(record()),
        lambda: store.open_intent_and_use_up_its_approvals(intent()),
        lambda: store.close_ended_intent(ended, None, entry()),
        lambda: store.remove_records(address),
        lambda: store.rename_addresses({address: address}),
        lambda: store.replace_backend_identity(store.read_backend_identity()),
        lambda: store.mark_plan_applied("p"),
    ):
        with pytest.raises(StateError, match="not locked"):
            write()
    assert store.read_state().serial == 0
