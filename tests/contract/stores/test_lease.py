"""Who holds a state, who may take it over, and what becomes of the one before."""

from __future__ import annotations

import re
from contextlib import nullcontext, suppress
from dataclasses import replace
from threading import Thread

import pytest
from contract.stores.leases import ELSEWHERE, LOGS, NEVER, Hands, eventually, find_fast_beat, quick
from contract.stores.samples import BINDING, LINEAGE, entry, intent, record, told

from synapse_apply.model.errors import LockHeld, LockLost, NotFound, StateError, Unreachable
from synapse_apply.model.state import BackendIdentity, IntentState
from synapse_apply.stores.lock.lock_owner import identify_this_process


@pytest.fixture
def theirs(open_store, shared):
    """A store of somebody on another machine, with a state."""
    runner = Hands().runner(process=ELSEWHERE, run_url="https://ci.example/run/7")
    store = open_store(shared, runner=runner, now=lambda: "2099-01-01T00:00:00Z")
    store.create_state(BINDING, LINEAGE)
    return store


@pytest.fixture
def ours(open_store, shared, theirs):
    """Our store on the same state; its clock moves when we wait."""
    return open_store(shared, runner=Hands().runner())


def token(store):
    """The token of the lock now."""
    return store._lock.read_owner_or_none().token


def test_the_holder_is_named_with_the_way_out(theirs, ours):
    """Who, where, since when, doing what, in which run, and the command that removes it."""
    with theirs.lock("apply"), pytest.raises(LockHeld) as caught, ours.lock("plan"):
        pytest.fail("two held one lock")
    words = told(caught)
    for word in ("they@elsewhere", "process 1", "2099-01-01", "running apply", "/run/7"):
        assert word in words
    assert re.search(r"synapse-apply state unlock [0-9a-f-]{36}\.", words)
    assert "Wait until the other run has ended" in words
    assert ours.where in words
    assert caught.value.exit_code == 6


def test_who_is_in_the_way_can_be_asked_without_wanting_the_lock(theirs, ours):
    """The same words; nothing while it is free, nor of a process that has ended."""
    assert ours.list_lock_held_findings_unless_owner_ended() == ()
    with theirs.lock("apply"):
        (found,) = ours.list_lock_held_findings_unless_owner_ended()
        with pytest.raises(LockHeld) as caught, ours.lock("plan"):
            pytest.fail("two held one lock")
        assert (found,) == caught.value.diagnostics
    ended = replace(identify_this_process(), start_ticks="before")
    theirs._lock._runner = replace(theirs._lock._runner, process=ended)
    with theirs.lock("apply"):
        assert ours.list_lock_held_findings_unless_owner_ended() == ()


def test_a_reader_waits_for_a_sign_of_life(theirs, ours):
    """A holder that gives none for a lease is out of the way; one that gives a sign is not."""
    assert ours.wait_out_lock_owner()
    with theirs.lock("apply"):
        assert ours.wait_out_lock_owner()
        assert 1030 <= ours._runner.timing.monotonic() <= 1036
        assert ours.list_lock_held_findings_unless_owner_ended() == ()
        clock = ours._runner.timing.monotonic.__self__
        clock._on_pause = theirs._lease._send_heartbeat
        assert not ours.wait_out_lock_owner()
        assert clock.now <= 1041
        assert ours.list_lock_held_findings_unless_owner_ended()


def test_a_waiter_gets_the_lock_when_it_is_given_back(theirs, ours):
    """It looks again and again for as long as it was told."""
    held = theirs.lock("apply")
    held.__enter__()
    clock = ours._runner.timing.monotonic.__self__
    clock._on_pause = lambda: clock.now > 1004 and theirs._lease and held.__exit__(*[None] * 3)
    with ours.lock("plan", timeout=20):
        assert ours.holds_lock()
        ours.write_records(record())
    assert clock.now < 1020


def test_a_waiter_gives_up_in_time(theirs, ours):
    """Not much later than it was told."""
    with theirs.lock("apply"), pytest.raises(LockHeld), ours.lock("plan", timeout=7):
        pytest.fail("two held one lock")
    assert ours._runner.timing.monotonic() == 1007


def test_a_silent_holder_is_replaced_after_one_lease(theirs, ours):
    """By the taker's own clock, whatever the holder's wall clock says."""
    with theirs.lock("apply"):
        before = token(ours)
        with ours.lock("apply", timeout=45):
            assert 1030 <= ours._runner.timing.monotonic() <= 1036
            assert token(ours) > before
            with pytest.raises(LockLost) as caught:
                theirs.write_records(record())
            assert caught.value.exit_code == 6
            assert "running apply" in told(caught)
            assert not theirs.holds_lock()
            ours.write_records(record("ours"))
    assert [at.name for at in ours.read_state().records] == ["ours"]


def test_giving_back_what_was_lost_leaves_the_new_holder_alone(theirs, ours):
    """The one that was replaced ends while the other works."""
    with theirs.lock("apply"):
        taken = ours.lock("apply", timeout=45)
        taken.__enter__()
    ours.write_records(record())
    assert theirs._lock.read_owner_or_none().process == identify_this_process()
    taken.__exit__(None, None, None)


def test_a_holder_that_gives_signs_of_life_is_never_replaced(theirs, ours):
    """However long it takes; a wait of many leases ends without the lock."""
    with theirs.lock("apply"):
        ours._runner.timing.monotonic.__self__._on_pause = theirs._lease._send_heartbeat
        with pytest.raises(LockHeld), ours.lock("apply", timeout=200):
            pytest.fail("two held one lock")
        theirs.write_records(record())


def test_a_holder_that_was_suspended_stops_by_itself(theirs, shared):
    """Nobody has taken its place, and it still writes nothing."""
    # In a log each write is a sign of life; in a database only the heartbeat is.
    seconds_left = 30 if shared in LOGS else 1
    clock = theirs._runner.timing.boottime.__self__
    with theirs.lock("apply"):
        theirs.write_records(record())
        clock.now += 29
        assert theirs.holds_lock()
        theirs.write_records(record("in time", "2"))
        clock.now += seconds_left
        assert not theirs.holds_lock()
        assert theirs.is_lock_lost()
        with pytest.raises(LockLost, match="has expired") as caught:
            theirs.write_records(record("late", "3"))
        assert "30 seconds" in told(caught)
        with pytest.raises(LockLost):
            theirs._lease._send_heartbeat()
    assert len(theirs.read_state().records) == 2
    with theirs.lock("again"):
        theirs.write_records(record("later", "4"))


def test_every_write_is_refused_to_a_lock_that_was_lost(theirs, ours):
    """Its rows say so, in the transaction of the write."""
    with theirs.lock("apply"):
        theirs.write_records(record())
        theirs.open_intent_and_use_up_its_approvals(intent())
        before = theirs.read_snapshot()
        ours.remove_lock_even_if_in_use(theirs._lease.lock_owner.lock_id)
        at = record().address
        for write in (
            lambda: theirs.write_records(record("more", "2")),
            lambda: theirs.open_intent_and_use_up_its_approvals(intent(ident="i2")),
            lambda: theirs.close_ended_intent(intent(state=IntentState.DONE), None, entry()),
            lambda: theirs.remove_records(at),
            lambda: theirs.rename_addresses({at: at._replace(name="new")}),
            lambda: theirs.replace_backend_identity(BackendIdentity("https://other")),
            lambda: theirs.mark_plan_applied("p"),
        ):
            theirs._lease._lost_error = None
            with pytest.raises(LockLost, match="lost"):
                write()
        assert ours.read_snapshot() == before


def test_unlock_takes_the_lock_with_that_id_only(theirs, ours):
    """A command copied from an old message does no harm."""
    with pytest.raises(StateError, match="not locked"):
        ours.remove_lock_even_if_in_use("0")
    with theirs.lock("apply"):
        with pytest.raises(StateError, match="has a different lock") as caught:
            ours.remove_lock_even_if_in_use("0")
        lock_id = theirs._lease.lock_owner.lock_id
        assert f"unlock {lock_id}" in told(caught)
        ours.remove_lock_even_if_in_use(lock_id)
        with ours.lock("apply"), pytest.raises(LockLost):
            theirs.write_records(record())


def test_tokens_only_grow(theirs, ours, tmp_path):
    """Also while nobody holds the lock, and through a restore."""
    seen = []
    theirs.write_backup(str(tmp_path / "old"))
    for store in (theirs, ours, theirs):
        with store.lock("apply"):
            seen.append(token(store))
    ours.restore_backup_and_return_kept_path_or_empty(str(tmp_path / "old"))
    for _ in range(2):
        with theirs.lock("apply"):
            seen.append(token(theirs))
    assert seen == sorted(set(seen))


def test_a_restore_keeps_the_lock_and_its_holder_goes_on(ours, tmp_path):
    """A backup that was made under a lock brings none along."""
    with ours.lock("apply"):
        ours.write_records(record())
        ours.write_backup(str(tmp_path / "old"))
        ours.restore_backup_and_return_kept_path_or_empty(str(tmp_path / "old"))
        ours.write_records(record("more", "2"))
        ours._lease._send_heartbeat()
        assert ours.holds_lock()
    assert ours._lock.read_owner_or_none() is None


@pytest.mark.parametrize(
    ("change", "free"),
    [
        ({}, False),
        ({"start_ticks": "1"}, True),
        ({"pid": 2**22 + 1}, True),
        ({"pid": 2**22 + 1, "host": "elsewhere"}, False),
        ({"pid": 2**22 + 1, "boot_id": "the boot before"}, False),
        ({"pid": 2**22 + 1, "boot_id": ""}, False),
    ],
)
def test_only_a_holder_that_has_certainly_ended_is_replaced_at_once(
    open_store, shared, change, free
):
    """On this host, in this boot: its number is free, or a younger process has it."""
    process = replace(identify_this_process(), **change)
    theirs = open_store(shared, runner=Hands().runner(process=process))
    theirs.create_state(BINDING, LINEAGE)
    ours = open_store(shared)
    with theirs.lock("apply"):
        if free:
            with ours.lock("plan"):
                ours.write_records(record())
        else:
            with pytest.raises(LockHeld), ours.lock("plan"):
                pytest.fail("two held one lock")


def test_signs_of_life_are_given_by_themselves(open_store, shared):
    """And change nothing else; they end with the lock."""
    runner = quick(lease=30, beat=find_fast_beat(shared))
    store, other = open_store(shared, runner=runner), open_store(shared)
    store.create_state(BINDING, LINEAGE)
    with store.lock("apply"):
        eventually(lambda: other._lock.read_owner_or_none().counter >= 3)
        assert store.holds_lock()
        store.write_records(record())
        assert not store.is_lock_lost()
    assert (other._lock.read_owner_or_none(), other.read_serial()) == (None, 1)
    assert not store.holds_lock()
    assert not store.is_lock_lost()


def test_a_lock_lost_between_two_writes_is_noticed_without_a_write(open_store, shared):
    """The next sign of life tells, so that no further request is started."""
    runner = quick(lease=30, beat=find_fast_beat(shared))
    store, other = open_store(shared, runner=runner), open_store(shared)
    store.create_state(BINDING, LINEAGE)
    with store.lock("apply"):
        other.remove_lock_even_if_in_use(store._lease.lock_owner.lock_id)
        eventually(lambda: not store.holds_lock())
        assert store.is_lock_lost()


def test_what_fails_without_the_lock_is_told_as_its_loss(open_store, shared):
    """What could not be read or sent then is a consequence; while it is held an error is itself."""
    runner = quick(lease=30, beat=find_fast_beat(shared))
    store, other = open_store(shared, runner=runner), open_store(shared)
    store.create_state(BINDING, LINEAGE)
    store.require_lock_not_lost()

    def work(problem, *, unlocked):
        with store.lock("apply"):
            store.require_lock_not_lost()
            if unlocked:
                other.remove_lock_even_if_in_use(store._lease.lock_owner.lock_id)
                eventually(store.is_lock_lost)
            raise problem

    with pytest.raises(NotFound):
        work(NotFound("not there"), unlocked=False)
    with pytest.raises(LockLost, match="lost"):
        work(Unreachable("not sent"), unlocked=True)
    with store.lock("apply"):
        other.remove_lock_even_if_in_use(store._lease.lock_owner.lock_id)
        eventually(store.is_lock_lost)
        with pytest.raises(LockLost, match="lost"):
            store.require_lock_not_lost()
    store.require_lock_not_lost()


def test_two_that_come_at_once_are_one_after_the_other(open_store, shared):
    """Before there is a state and after."""
    done, made = [], []

    def make_state_once(store):
        # A log knows no lock before there is a state: one of those who make it succeeds.
        may_lose = suppress(StateError) if shared in LOGS else nullcontext()
        with may_lose, store.lock("init", timeout=120):
            if not store.exists():
                store.create_state(BINDING, LINEAGE)
                made.append(store)

    def work():
        store = open_store(shared, runner=quick(lease=30, beat=NEVER))
        make_state_once(store)
        for _ in range(5):
            with store.lock("apply", timeout=120):
                done.append("in")
                store.write_records(record(remote_id=str(store.read_serial())))
                done.append("out")

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == ["in", "out"] * 20
    assert len(made) == 1
    assert open_store(shared).read_serial() == 20
