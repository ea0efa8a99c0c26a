"""A database that goes away in the middle: what was acknowledged is kept, nothing is doubled."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack, contextmanager
from threading import Event, Thread

import pytest
from contract.stores.leases import NEVER, eventually, quick
from contract.stores.samples import BINDING, LINEAGE, entry, intent, record
from postgres.proxy import Proxy
from waiting import finish

from synapse_apply.model.errors import LockLost, StateError
from synapse_apply.model.state import IntentState
from synapse_apply.stores.lock.lease_lock import LockRunner
from synapse_apply.stores.postgres.postgres_database import (
    PostgresDatabase,
    make_unconnected_postgres_store,
)
from synapse_apply.stores.postgres.postgres_url import parse_postgres_state_url
from synapse_apply.stores.sql import SqlStore


@contextmanager
def opened(url, patience=60.0, runner=None):
    """A store that waits that long for a database that was there before."""
    store = SqlStore(
        PostgresDatabase(parse_postgres_state_url(url, "t"), patience),
        runner=runner or LockRunner(),
    )
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def pg(url):
    """A store with an empty state."""
    with opened(url) as store:
        store.create_state(BINDING, LINEAGE)
        yield store


@pytest.fixture
def proxy(server):
    """A way to the server that can break."""
    made = Proxy(server.port)
    yield made
    made.close()


@pytest.fixture
def behind(proxy, pg, url, server):
    """A store on the same state whose connection can break; it gives no signs of life."""
    with opened(
        url.replace(f":{server.port}/", f":{proxy.port}/"), runner=quick(lease=60, beat=NEVER)
    ) as store:
        yield store


def test_a_connection_that_ended_meanwhile_is_made_anew(server, pg):
    """Between two calls: a restart, a pooler, a firewall. Nobody notices."""
    with pg.lock("apply"):
        pg.write_records(record())
        for number in range(3):
            pid = pg._database._connection.info.backend_pid
            server.run(f"SELECT pg_terminate_backend({pid}, 5000)")
            if number != 1:
                assert len(pg.read_state().records) == number + 1
            pg.write_records(record(f"p{number}", f"9{number}"))
    assert pg.read_serial() == 4


def test_work_that_broke_off_is_done_again_from_its_beginning(server, pg):
    """Nothing of a transaction without its end is kept."""
    tried = []

    def work(run):
        tried.append(run("SELECT pg_backend_pid()", ())[0][0])
        run("INSERT INTO plans (id, applied) VALUES (?, '')", (f"plan {len(tried)}",))
        if len(tried) == 1:
            server.run(f"SELECT pg_terminate_backend({tried[0]}, 5000)")
        return run("SELECT id FROM plans", ())

    assert pg._database.write_in_transaction(work) == [("plan 2",)]
    assert len(set(tried)) == 2


def test_kill_9_of_the_server_in_the_middle_of_writes(server, pg):
    """Each write that returned is there, once; those that were under way are too, in the end."""
    acknowledged, enough = [], Event()

    def write():
        while not enough.is_set() or len(acknowledged) < 20:
            name = f"p{len(acknowledged)}"
            pg.write_records(record(name, name))
            acknowledged.append(name)

    with pg.lock("apply"):
        writer = Thread(target=write)
        writer.start()
        for _ in range(3):
            seen = len(acknowledged)
            eventually(lambda seen=seen: len(acknowledged) > seen + 3)
            server.kill()
            server.start()
        enough.set()
        writer.join()
    state = pg.read_state()
    assert sorted(at.name for at in state.records) == sorted(acknowledged)
    assert state.serial == len(acknowledged)


def test_a_server_that_stays_away_is_told_as_such(server, url, pg):
    """After the wait, in words; what was recorded before is kept, and the next run goes on."""
    with opened(url, patience=0.3) as store:
        with store.lock("apply"):
            store.write_records(record())
            server.kill()
            try:
                with pytest.raises(StateError, match="cannot be reached") as caught:
                    store.write_records(record("later", "2"))
            finally:
                server.start()
        finding = caught.value.diagnostics[0]
        # The second where a busy machine came to one try alone.
        assert re.search("Connection refused|closed the connection", finding.detail)
        assert "Everything recorded before is kept" in finding.hint
        with store.lock("again"):
            store.write_records(record("later", "2"))
        assert len(store.read_state().records) == 2


def test_a_server_that_stands_still_is_not_waited_for_without_end(server, url, pg, proxy):
    """Its machine answers and it does not: told as a lost connection, and the lock's end, too."""
    through = url.replace(f":{server.port}/", f":{proxy.port}/")
    database = PostgresDatabase(parse_postgres_state_url(through, "t"), patience=0.3)
    store = SqlStore(database, runner=quick(lease=60, beat=NEVER))
    with store.lock("apply"):
        store.write_records(record())
        proxy.flows.clear()
        # From here on: a busy machine may take longer before.
        database._max_seconds, database._parameters["connect_timeout"] = 0.5, 2
        with pytest.raises(StateError, match=r"was lost|cannot be reached"):
            finish(lambda: store.write_records(record("later", "2")))
        assert store.has_failed_write()
    proxy.flows.set()
    assert len(pg.read_state().records) >= 1
    store.close()


def test_a_lock_is_given_back_without_a_second_wait(server, url, pg):
    """A database that stayed away for the whole wait is asked once more, and no longer."""
    asked = []
    with opened(url, patience=0.5, runner=quick(lease=60, beat=NEVER)) as store:
        connect = store._database._open_connection
        with ExitStack() as restarted:
            with store.lock("apply"):
                server.kill()
                restarted.callback(server.start)
                with pytest.raises(StateError):
                    store.write_records(record())
                store._database._open_connection = lambda: asked.append("once") or connect()
            assert asked == ["once"]


def test_a_holder_that_cannot_reach_the_database_for_a_lease_stops(server, url, pg):
    """Its lock may be another's by then: it starts nothing, before it even hears of it."""
    ahead = [0.0]
    runner = quick(lease=60, beat=0.1, boottime=lambda: time.monotonic() + ahead[0])
    with opened(url, patience=0.1, runner=runner) as store:
        with store.lock("apply"):
            server.kill()
            try:
                with pytest.raises(StateError):
                    store.write_records(record())
                assert store.holds_lock()
                ahead[0] = 60.0
                assert not store.holds_lock()
            finally:
                server.start()
            with pytest.raises(LockLost):
                store.write_records(record())
        assert store.read_state().records == {}


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_commit_without_an_answer_is_looked_up_and_never_doubled(behind, proxy, moment):
    """Whether the server heard it or not: once, and the caller need not know."""
    with behind.lock("apply"):
        behind.open_intent_and_use_up_its_approvals(intent())
        proxy.break_at = moment
        behind.close_ended_intent(intent(state=IntentState.DONE), record(), entry())
        assert proxy.broken.wait(60)
        assert proxy.break_at is None
        proxy.break_at = moment
        behind.mark_plan_applied("p1")
    state = behind.read_state()
    assert (list(state.records.values()), state.open_intents) == ([record()], ())
    assert (behind.list_audit_entries_newest_first(), behind.read_serial()) == ([entry()], 2)
    assert behind.was_plan_applied("p1")


def test_a_commit_that_cannot_be_looked_up_is_told_as_unknown(server, url, pg, proxy):
    """Not as done and not as failed."""
    through = url.replace(f":{server.port}/", f":{proxy.port}/")
    with opened(through, patience=0.3, runner=quick(lease=60, beat=NEVER)) as store:
        with store.lock("apply"):
            proxy.break_at = "after"
            database = store._database
            connect, database._open_connection = database._open_connection, _refuse
            with pytest.raises(StateError, match="unknown whether"):
                store.write_records(record())
            database._open_connection = connect
        assert len(store.read_state().records) == 1


def _refuse():
    raise StateError


def test_a_stopped_writer_does_not_keep_others_out_for_ever(server, pg, url):
    """The server ends a transaction that its client left open."""
    other = make_unconnected_postgres_store(url, "t")
    begun = []

    def work(run):
        begun.append(run("SHOW idle_in_transaction_session_timeout", ()))
        return run("SHOW lock_timeout", ())

    assert other._database.write_in_transaction(work) == [("30s",)]
    assert begun == [[("20s",)]]
    other.close()


def test_a_standby_is_named_as_read_only(server, pg):
    """It can be read; what it says to a write names the way out."""
    signal = server.folder / "data" / "standby.signal"
    server.kill()
    signal.touch()
    server.start()
    try:
        assert pg.read_state().records == {}
        with pytest.raises(StateError, match="read-only") as caught, pg.lock("apply"):
            pg.write_records(record())
        assert "primary" in caught.value.diagnostics[0].hint
    finally:
        server.kill()
        signal.unlink()
        server.start()
