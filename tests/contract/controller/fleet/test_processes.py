"""Processes that share a store: who leads, who works, and what one that was overtaken may not do."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from contract.controller.fleet.processes import SECONDS, Fleet, Process, open_fleet
from contract.controller.loop.stand_ins import CHANGES, plan_of, row
from contract.controller.store_urls import build_store_url
from forges.loopback_server import wait_until
from postgres.server import PostgresServer

from synapse_apply.controller.fleet.job_queue import DueJob
from synapse_apply.controller.planned_rows import PlannedRow
from synapse_apply.controller.ports import Head
from synapse_apply.controller.rows import ProcessRole, StatusState, TargetCondition, TargetName
from synapse_apply.controller.settings import Mode, TargetRule
from synapse_apply.controller.store.store_database import StoreTooNew
from synapse_apply.model.errors import LockHeld

NAMES = [f"acme/t{number}" for number in range(6)]


@pytest.fixture
def fleet(tmp_path: Path, postgres: PostgresServer) -> Iterator[Fleet]:
    """Six targets, and no process yet."""
    inputs = {name.partition("/")[2]: "d" for name in NAMES}
    with open_fleet(tmp_path, postgres, build_store_url(postgres), **inputs) as fleet:
        yield fleet


def start_by_hand(fleet: Fleet) -> Process:
    """A process that leads, and goes round once more whenever a test calls `_go_round`."""
    process = fleet.start(is_by_hand=True)
    process.loop._take_part()
    assert process.is_leading
    return process


def wait_until_in_sync(fleet: Fleet) -> None:
    def are_in_sync() -> bool:
        counts = fleet.processes[0].store.target_counts()
        return counts[TargetCondition.IN_SYNC] == len(NAMES)

    # Each question is a processor's time of some milliseconds.
    wait_until(are_in_sync, SECONDS, "all targets are in sync", pause=0.1)


def test_replicas_and_workers_share_what_is_due(fleet):
    """Each target is looked at once, by no process alone; the head is announced once and ends."""
    for role in (ProcessRole.REPLICA, ProcessRole.REPLICA, ProcessRole.WORKER):
        fleet.start(role).workers.gate.clear()
    wait_until(lambda: fleet.list_asked() == NAMES, SECONDS, "all looks have begun")
    assert all(len(process.workers.asked) <= 4 for process in fleet.processes)
    assert [process.is_leading for process in fleet.processes].count(True) == 1
    assert not fleet.processes[2].is_leading
    for process in fleet.processes:
        process.workers.gate.set()
    wait_until_in_sync(fleet)
    forge = fleet.world.forge
    wait_until(lambda: forge.shown["c1"].state is StatusState.SUCCESS, SECONDS, "c1 has ended")
    assert [text.state for _, text in forge.sent] == [StatusState.PENDING, StatusState.SUCCESS]
    assert fleet.list_asked() == NAMES


def test_a_leader_that_was_overtaken_writes_nothing(fleet):
    """Stopped in the middle of a fetch and continued: it has a head that it does not announce."""
    first = start_by_hand(fleet)
    first.loop._go_round()
    assert first.loop._tasks.wait_until_idle(SECONDS)
    goes_on = threading.Event()
    mirror = copy.copy(fleet.repository)

    def fetch_slowly(*_: object) -> Head:
        goes_on.wait(SECONDS)
        return Head("c2", "Kim", "subject of c2")

    mirror.fetch_head = fetch_slowly
    configured = first.parts.configured
    first.parts.configured = replace(configured, mirrors={"acme": mirror})
    fleet.repository.push("c2", t0="d2")
    first.loop.fetch_soon("acme")
    first.loop._lead[1]._fetched.clear()
    first.loop._go_round()
    assert first.loop._tasks.count_running("fetch") == 1
    first.freeze()
    second = fleet.start(is_by_hand=True)
    second.loop._take_part()
    assert second.is_leading
    goes_on.set()
    assert first.loop._tasks.wait_until_idle(SECONDS)
    assert first.store.find_revision("acme", "c2") is None
    first.loop._try_round()
    assert not first.is_leading
    # Nobody has answered the webhook yet.
    second.loop._go_round()
    assert second.loop._tasks.wait_until_idle(SECONDS)
    assert second.store.find_revision("acme", "c2") is not None


def test_what_a_process_found_that_was_overtaken_is_not_recorded(fleet):
    """Another one takes its targets when its claims have run out; its own looks end later."""
    first = start_by_hand(fleet)
    first.workers.gate.clear()
    first.workers.results = dict.fromkeys(NAMES, CHANGES)

    def has_four() -> bool:
        first.loop._go_round()
        return len(first.workers.asked) == 4

    wait_until(has_four, SECONDS, "it works on as many as it has slots for")
    first.freeze()
    fleet.start()
    wait_until_in_sync(fleet)
    first.workers.gate.set()
    assert first.loop._tasks.wait_until_idle(SECONDS)
    wait_until_in_sync(fleet)
    assert (
        first.store.newest_runs(TargetName("acme", "t0"), 9)[0].counts.row_count_without_guards == 0
    )
    assert sorted(fleet.processes[1].workers.asked) == NAMES


def test_jobs_that_are_lost_are_given_again(fleet):
    """All of them, while they wait: what is due are rows."""
    process = fleet.start()
    process.workers.gate.clear()
    wait_until(lambda: len(process.workers.asked) == 4, SECONDS, "all slots are taken")
    queue = process.queue
    wait_until(lambda: len(queue.list_targets_with_waiting_job()) == 2, SECONDS, "the others wait")
    fleet.run_in_store("DELETE FROM procrastinate_jobs")
    process.workers.gate.set()
    wait_until_in_sync(fleet)
    assert fleet.list_asked() == NAMES


def test_a_job_for_what_is_not_there_is_done_with(fleet):
    """A target that is gone, or a source that this process does not know."""
    process = fleet.start()
    wait_until_in_sync(fleet)
    names = [TargetName("acme", "gone"), TargetName("other", "x"), TargetName("acme", "t0")]
    process.queue.put_jobs_unless_waiting(DueJob(name, 10) for name in names)
    wait_until(
        lambda: not process.queue.list_targets_with_waiting_job(), SECONDS, "all jobs are taken"
    )
    fleet.ask_for("t1")
    wait_until(lambda: len(fleet.list_asked()) == 7, SECONDS, "it goes on")
    assert fleet.list_asked() == sorted([*NAMES, "acme/t1"])


def test_jobs_of_processes_that_are_gone_are_deleted(fleet):
    """One whose worker is silent, and one that waits for another version."""
    process = start_by_hand(fleet)
    process.engine.stop_taking_work()
    statement = (
        "WITH w AS (INSERT INTO procrastinate_workers (last_heartbeat)"
        " VALUES (now() - interval '1 hour') RETURNING id)"
        " INSERT INTO procrastinate_jobs (queue_name, task_name, status, worker_id)"
        " SELECT 'targets of 1.0', 'x', 'doing', id FROM w"
    )
    fleet.run_in_store(statement)
    fleet.run_in_store(
        "INSERT INTO procrastinate_jobs (queue_name, task_name, queueing_lock)"
        " VALUES ('targets of 0.9', 'x', 'acme/t0')"
    )
    fleet.start()
    process.freeze()
    line = "lost jobs deleted jobs=2"
    wait_until(lambda: line in fleet.world.log.getvalue(), SECONDS, "they are deleted")
    wait_until_in_sync(fleet)


def test_jobs_of_any_shape_stop_nothing(fleet, capfd):
    """Rows written by hand, also with arguments that Procrastinate itself cannot read."""
    process = fleet.start()
    wait_until_in_sync(fleet)
    fleet.run_in_store(
        "INSERT INTO procrastinate_jobs (queue_name, task_name, args)"
        " SELECT 'targets of 1.0', task, args::jsonb FROM"
        " (VALUES ('no such task', '{}'), ('work on a target', '[1]'),"
        " ('work on a target', '{\"x\": 1}'), ('work on a target', '\"s\"')) v (task, args)"
    )
    wait_until(
        lambda: not process.queue.list_targets_with_waiting_job(), SECONDS, "all jobs are taken"
    )
    fleet.ask_for("t1")
    wait_until(lambda: len(fleet.list_asked()) == 7, SECONDS, "it goes on")
    words = ("action=task_lost", "lost jobs deleted")
    wait_until(lambda: any(w in fleet.world.log.getvalue() for w in words), SECONDS, "it is said")
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    "columns",
    [
        "'acme', 'targets of 1.0', 'work on a target', 'gone-' || n, 'gone-' || n, NULL, 'todo'",
        "'acme', 'targets of 1.0', 'work on a target', 't1', NULL, NULL, 'todo'",
        "'acme', 'targets of 0.1', 'x', 'x', NULL, NULL, 'todo'",
        "'acme', 'targets of 1.0', 'work on a target', 't1', NULL, NULL, 'doing'",
        "'acme', 'targets of 1.0', 'x', 'x', NULL, NULL, 'failed'",
        # The one of the target itself, in a hundred years.
        (
            "'acme', 'targets of 1.0', 'work on a target', 't' || (n % 6), CASE WHEN n < 6 THEN"
            " 'acme/t' || n END, now() + interval '100 years', 'todo'"
        ),
    ],
)
def test_thousands_of_jobs_of_strangers_stop_no_look(fleet, columns):
    """The leader drops what names no due target, however much it is, and says so."""
    fleet.start()
    wait_until_in_sync(fleet)
    fleet.run_in_store(
        "INSERT INTO procrastinate_jobs"
        " (queue_name, task_name, args, queueing_lock, scheduled_at, status, priority)"
        " SELECT queue, task, jsonb_build_object('source', source, 'target', target), own_lock, at::timestamptz,"
        " status::procrastinate_job_status, 100 FROM generate_series(0, 19999) n, LATERAL (SELECT"
        f" {columns}) v (source, queue, task, target, own_lock, at, status)"
    )
    fleet.ask_for("t1", "t4")
    expected = sorted([*NAMES, "acme/t1", "acme/t4"])
    wait_until(lambda: fleet.list_asked() == expected, SECONDS, "they are looked at")

    def is_empty() -> bool:
        return fleet.run_in_store("SELECT count(*) FROM procrastinate_jobs") == [(0,)]

    wait_until(is_empty, SECONDS, "the queue is empty")
    assert "lost jobs deleted" in fleet.world.log.getvalue()


def test_where_no_job_is_taken_the_leader_works_by_itself(fleet):
    """Whatever keeps them from being taken; here the database does not let it."""
    fleet.start()
    fleet.start(ProcessRole.WORKER)
    wait_until_in_sync(fleet)
    fleet.run_in_store(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        " CREATE TRIGGER refuse BEFORE UPDATE ON procrastinate_jobs FOR EACH ROW"
        " EXECUTE FUNCTION refuse()"
    )
    fleet.ask_for("t1")
    wait_until(lambda: len(fleet.list_asked()) == 7, SECONDS, "it is looked at")
    assert len(fleet.processes[0].workers.asked) > 0
    assert "jobs not taken jobs=1" in fleet.world.log.getvalue()
    fleet.run_in_store("DROP TRIGGER refuse ON procrastinate_jobs")
    fleet.ask_for("t2")
    wait_until(lambda: len(fleet.list_asked()) == 8, SECONDS, "jobs are taken again")


def test_while_the_queue_is_away_the_leader_works_by_itself_and_says_so(fleet):
    loop = fleet.start().loop
    wait_until_in_sync(fleet)
    assert loop.read_health().trouble == ""
    fleet.run_in_store("ALTER TABLE procrastinate_jobs RENAME TO away")
    fleet.ask_for("t1")
    wait_until(lambda: len(fleet.list_asked()) == 7, SECONDS, "it is looked at")
    wait_until(lambda: loop.read_health().trouble == "jobs unavailable", SECONDS, "it is said")
    fleet.run_in_store("ALTER TABLE away RENAME TO procrastinate_jobs")
    wait_until(lambda: not loop.read_health().trouble, SECONDS, "there are jobs again")


def test_machines_whose_clocks_differ_share_that_of_the_database(fleet):
    """By five minutes: nothing is looked at twice, and no lease is taken too early."""
    first, second = fleet.start(clock_ahead=300.0), fleet.start(clock_ahead=-300.0)
    wait_until_in_sync(fleet)
    assert abs(first.parts.clock.read_wall() - second.parts.clock.read_wall()) < 0.5
    assert fleet.list_asked() == NAMES
    lease = first.store.find_lease("leader")
    assert lease.epoch == 1


def test_a_worker_of_another_version_takes_nothing(fleet):
    """Its digests of inputs are others: what it finds would be told of what it did not read."""
    fleet.start()
    fleet.start(ProcessRole.WORKER, version="2.0")
    wait_until_in_sync(fleet)
    assert fleet.processes[1].workers.asked == []


def test_a_process_that_is_too_old_drains_and_ends(fleet):
    """Also a worker, which writes nothing as long as it has nothing to do."""
    fleet.start()
    worker = fleet.start(ProcessRole.WORKER, version="0.9")
    wait_until_in_sync(fleet)
    fleet.run_in_store("UPDATE meta SET value = '99' WHERE key LIKE 'oldest%'")
    for process in fleet.processes:
        wait_until(lambda p=process: p.failures, SECONDS, "it ends")
        assert [type(problem) for problem in process.failures] == [StoreTooNew]
        process.failures.clear()
    assert worker.workers.is_stopped


def test_a_standby_believes_a_jump_of_the_clock_when_the_leader_has_seen_it(fleet):
    """A leader moves leases and due times with it; before, the lease only seems to be over."""
    process = start_by_hand(fleet)
    standby = fleet.start(is_by_hand=True)
    standby.loop._go_round()
    before = standby.parts.clock.read_wall()
    for each in (standby, process):
        each.shared_clock._offset += 3600.0
    standby.loop._go_round()
    assert not standby.is_leading
    assert standby.parts.clock.read_wall() - before < 60.0
    process.loop._go_round()
    assert process.is_leading
    standby.loop._jump_seen_at -= 10.0
    standby.loop._go_round()
    assert standby.parts.clock.read_wall() - before > 3000.0
    assert not standby.is_leading
    lease = process.store.find_lease("leader")
    assert lease.until > process.parts.clock.read_wall()


def test_after_a_clock_was_set_back_a_killed_leader_is_replaced(fleet):
    """By one alone, which leads on: the times of the store are an hour ahead of all clocks."""
    settings = fleet.world.settings
    source = replace(settings.sources["acme"], poll=5.0)
    fleet.world.settings = replace(settings, sources={"acme": source})
    first = fleet.start()
    wait_until_in_sync(fleet)
    first.stop()
    fleet.run_in_store(
        "UPDATE leases SET holder = 'killed', until = extract(epoch FROM now()) + 3608"
    )
    fleet.run_in_store("UPDATE sources SET fetched_at = fetched_at + 3600, due_at = due_at + 3600")
    fleet.run_in_store("UPDATE targets SET due_at = due_at + 3600")
    fleet.repository.push("c2", t1="d2")
    second, third = fleet.start(), fleet.start()
    wait_until(lambda: fleet.list_asked().count("acme/t1") == 2, SECONDS, "the push is seen")
    assert second.is_leading != third.is_leading
    assert second.store.find_lease("leader").epoch == 2


def test_a_leader_that_drains_lets_another_one_lead_at_once(fleet):
    first = fleet.start()
    wait_until(lambda: first.is_leading, SECONDS, "the first leads")
    second = fleet.start()
    first.stop()
    lease = second.store.find_lease("leader")
    assert lease.holder in ("", second.holder)  # given back, not left to its end
    wait_until(lambda: second.is_leading, SECONDS, "the second leads")
    assert [row.holder for row in second.store.list_processes()] == [second.holder]
    assert list(second.store.list_claimed_targets(0.0)) == []


def test_what_is_asked_of_a_standby_the_leader_does(fleet):
    """A look at a target, and a fetch of its source, by rows."""
    standby = fleet.start(is_by_hand=True)
    leader = fleet.start()
    wait_until_in_sync(fleet)
    fleet.repository.push("c2", t1="d2")
    standby.loop._go_round()
    assert not standby.is_leading
    assert leader.is_leading
    fleet.ask_for("t0")
    standby.loop._go_round()
    wait_until(lambda: fleet.list_asked().count("acme/t0") == 2, SECONDS, "it is looked at")
    wait_until(lambda: fleet.list_asked().count("acme/t1") == 2, SECONDS, "the push is seen")


def test_one_round_needs_the_lead(fleet):
    """While another process leads, `--once` says so; alone, it does all of it."""
    leader = fleet.start()
    wait_until_in_sync(fleet)
    once = fleet.start(is_by_hand=True)
    with pytest.raises(LockHeld):
        once.loop.run_once()
    leader.stop()
    fleet.repository.push("c2", t1="d2")
    again = fleet.start(is_by_hand=True)
    assert again.loop.run_once() == 0
    assert again.workers.asked == ["acme/t1"]


def test_an_approval_ends_with_its_row_whoever_looks(fleet):
    """Given by one process, ended by a look of another one; what was used up stands as used."""
    name, first, second = TargetName("acme", "t0"), row("plugin/a"), row("plugin/b")
    fleet.world.set_rules(TargetRule("*", mode=Mode.APPROVE, approvals=2))
    processes = [fleet.start(), fleet.start()]

    def find(*rows: PlannedRow) -> None:
        for process in processes:
            process.workers.results["acme/t0"] = plan_of(*rows)
        fleet.ask_for("t0")
        wait_until(
            lambda: [hold.held_row.row for hold in store.list_holds(name)] == [*rows],
            SECONDS,
            "it was looked at",
        )

    store = processes[0].store
    actions = [process.loop.get_people_actions() for process in processes]
    wait_until(lambda: store.find_target(name) is not None, SECONDS, "it is known")
    find(first, second)
    for who in ("proxy:ann", "proxy:bob"):
        actions[0].approve_rows_or_refuse(who, name, [second.digest])
    wait_until(
        lambda: all(one.used_at for one in store.list_approvals(name)),
        SECONDS,
        "it was applied",
    )
    find(first)
    actions[0].approve_rows_or_refuse("proxy:ann", name, [first.digest])
    find()
    find(first)
    actions[1].approve_rows_or_refuse("proxy:bob", name, [first.digest])
    given = store.list_approvals(name)
    unused = [(one.who, one.row_digest) for one in given if not one.used_at]
    assert unused == [("proxy:bob", first.digest)]
    assert [one.row_digest for one in given if one.used_at] == [second.digest] * 2
    ended = [one for one in store.iter_audit() if one.action == "end approval"]
    assert [one.subject for one in ended] == ["acme/t0"]
    assert ended[0].detail == f"gone: update plugin/a ({first.digest}); approved by proxy:ann"
