"""Several processes on one state: stopped, killed, and all at once."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest
from contract.stores.leases import CHAIN, ELSEWHERE, GIT, NEVER, open_at, patient
from contract.stores.programs import COUNTER, HOLDER, ask, program
from contract.stores.samples import BINDING, LINEAGE, record
from stopping import has_ended, suspend

from synapse_apply.model.address import Address
from synapse_apply.model.errors import LockHeld
from synapse_apply.model.project import Target
from synapse_apply.stores.bucket.bucket_url import is_bucket_url
from synapse_apply.stores.postgres.postgres_url import is_postgres_url
from synapse_apply.workspace.own_folder import LastSeenFiles


@pytest.fixture
def made(where):
    """A store with a state; its user sits at another machine."""
    store = open_at(where, runner=patient(process=ELSEWHERE))
    store.create_state(BINDING, LINEAGE)
    yield store
    store.close()


@pytest.fixture
def hour_passes(tmp_path):
    """A file that is not there: when it is, the lease of the holder has run out by its own clock."""
    return tmp_path / "hour passes"


def file_at(where):
    """The file of a state that is not in a database."""
    is_elsewhere = is_postgres_url(where) or is_bucket_url(where)
    return None if is_elsewhere or where.startswith((CHAIN, GIT)) else Path(where)


def names(store):
    """What is recorded."""
    return sorted(at.name for at in store.read_state().records)


def test_a_stopped_holder_that_wakes_up_writes_nothing(made, where, hour_passes):
    """Stopped past its lease, replaced, and continued: no request and no write."""
    with program(HOLDER, where, 0, hour_passes) as holder:
        assert holder.stdout.readline() == "held\n"
        assert ask(holder, "put before") == "written"
        assert ask(holder, "request") == "True"
        suspend(holder, file_at(where))
        with made.lock("apply", timeout=NEVER):
            made.write_records(record("taken", "2"))
            hour_passes.touch()
            holder.send_signal(signal.SIGCONT)
            assert ask(holder, "request") == "False"
            assert ask(holder, "put after").startswith("LockLost")
            assert holder.communicate("end\n", timeout=60)[0] == ""
            assert made.holds_lock()
            made.write_records(record("more", "3"))
    assert names(made) == ["before", "more", "taken"]


@pytest.mark.parametrize("timeout", [0, 20])
def test_a_killed_holder_is_replaced(made, where, hour_passes, timeout):
    """At once on its own machine, after a lease from another one. Nothing written is lost."""
    with program(HOLDER, where, 0, hour_passes) as holder:
        assert holder.stdout.readline() == "held\n"
        assert ask(holder, "put before") == "written"
        holder.kill()
        # Not collected yet: a process that only waits for its parent has ended.
        here = open_at(where) if timeout == 0 else made
        if timeout:
            with pytest.raises(LockHeld), here.lock("apply"):
                pytest.fail("another machine cannot know that it is gone")
        else:
            has_ended(holder)
        with here.lock("apply", timeout=60 * timeout):
            assert names(here) == ["before"]
        here.close()


def test_many_processes_take_turns(where):
    """From before there is a state: none is in while another one is, and nothing is lost."""
    with ExitStack() as stack:
        running = [stack.enter_context(program(COUNTER, where, 5)) for _ in range(4)]
        for process in running:
            process.communicate(timeout=60)
    assert [process.returncode for process in running] == [0] * 4
    store = open_at(where)
    assert store.find_record(Address("plugin", "yolo")).series == "20"
    store.close()


def test_all_at_once_one_writes_and_the_others_hear_of_it(made, where, hour_passes):
    """Without a wait, each of six either holds the lock or says that it is held."""
    with ExitStack() as stack:
        running = [stack.enter_context(program(HOLDER, where, 0, hour_passes)) for _ in range(6)]
        said = [process.stdout.readline().strip() for process in running]
        assert sorted(said) == ["LockHeld The state is locked"] * 5 + ["held"]


def test_a_state_that_another_run_moves_on_meanwhile_is_not_older(made, where, tmp_path):
    """Another run writes and remembers it while this one compares; its own copy is still fresh."""
    seen = LastSeenFiles((tmp_path / "seen",))

    def move_on():
        with made.lock("apply"):
            made.write_records(record(uuid4().hex, uuid4().hex))
        seen.require_state_not_older_and_remember_it(made, Target("prod"))

    class Between(LastSeenFiles):
        def _read_progress_by_folder(self, lineage):
            move_on()
            found = super()._read_progress_by_folder(lineage)
            move_on()
            return found

    is_log = where.startswith((CHAIN, GIT)) or is_bucket_url(where)
    here = open_at(where, **({"fresh_seconds": NEVER} if is_log else {}))
    before = here.read_progress()
    between = Between(seen.folders)
    assert between.build_findings_if_state_is_older(here, Target("prod")) == ()
    between.require_state_not_older_and_remember_it(here, Target("prod"))
    assert before != made.read_progress() == here.read_progress()
    here.close()
