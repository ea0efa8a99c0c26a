"""Applies by real children at a real backend: what is permitted is done, and nothing else begins."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from contract.controller.upstream import storage
from contract.controller.worker.applying import (
    CANARY,
    EVERYTHING,
    KEY,
    NAME,
    TOKEN,
    ApplySite,
    open_site,
)
from contract.stores.leases import ELSEWHERE, NEVER
from controllers.applying_site import read_process
from controllers.fleet_site import list_children
from forges.loopback_server import wait_until
from waiting import finish

from synapse_apply.controller.planned_rows import ApplyTerms, Binding, RowAction, RowCause
from synapse_apply.controller.ports import Permit, RunResult
from synapse_apply.controller.rows import CallCounts, CallProgress, RunningJobsSeen, RunOutcome
from synapse_apply.controller.settings import Controller
from synapse_apply.controller.worker import child
from synapse_apply.controller.worker.exchange import Order
from synapse_apply.model.job import JobStatus
from synapse_apply.stores.database import Database, LeaseTiming
from synapse_apply.stores.lock.lease_lock import LockRunner
from synapse_apply.stores.sqlite.sqlite_database import make_unopened_sqlite_store

pytestmark = pytest.mark.usefixtures("forked_workers")

AT_ONCE = 4  # as many calls a worker has under way
MANY = 4 * AT_ONCE


@pytest.fixture(scope="module")
def site_of_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApplySite]:
    with open_site(tmp_path_factory.mktemp("site")) as site:
        yield site


Declare = Callable[[int], ApplySite]


@pytest.fixture
def declare(site_of_all: ApplySite) -> Iterator[Declare]:
    """The site with so many storages more, which are not there yet; its worker is warm."""

    def declare_more(number: int) -> ApplySite:
        site_of_all.declare_more(number)
        return site_of_all

    yield declare_more
    site_of_all.put_faults()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


def list_texts(result: RunResult) -> str:
    findings = [finding.to_json() for finding in result.findings]
    rows = [repr(row) for row in result.rows]
    return json.dumps([findings, rows, result.plan_json, result.report_json, result.stop_reason])


def check_all_is_done_once(site: ApplySite, number: int = MANY) -> None:
    """One more apply ends it: every object is there, was made once, and no call is open."""
    site.put_faults()
    result = site.apply()
    assert result.outcome in {RunOutcome.APPLIED, RunOutcome.IN_SYNC}, list_texts(result)
    assert site.count_creates() == number
    assert not site.read_state().open_intents
    looked = site.look()
    assert (looked.outcome, looked.is_state_behind) == (RunOutcome.IN_SYNC, False)


def test_what_is_permitted_is_done_and_told(declare):
    """Rows, report, sums, and who did it; nowhere a secret."""
    site = declare(2)
    result = site.apply()
    assert result.outcome is RunOutcome.APPLIED, list_texts(result)
    assert result.calls == CallCounts(done=2)
    assert [row.action for row in result.rows] == [RowAction.CREATE] * 2
    assert [row.causes for row in result.rows] == [(RowCause.GIT,)] * 2
    assert (result.stop_reason, result.held_up_by_run, result.counts.add) == ("", "", 2)
    report = json.loads(result.report_json)
    assert report["complete"] is True
    with site.open_target() as target:
        (past, *_) = target.history(1)
    assert (past.plan_id, past.actor_name) == (report["plan"]["id"], "controller:main")
    texts = list_texts(result)
    assert not [secret for secret in (TOKEN, KEY, CANARY) if secret in texts]
    check_all_is_done_once(site, 2)


def test_nothing_is_done_to_what_the_order_is_not_for(declare):
    """Of a target that means something else since the look, which tells what that is."""
    site = declare(1)
    binding = site.look().binding
    assert binding.backend == f"{site.backend.url}"
    assert binding.token == "env ACME_TOKEN"

    def apply_for(bound: Binding) -> RunResult:
        request = replace(site.build_request(), binding=bound)
        return site.pool.apply(request, lambda: Permit(time.monotonic() + 10))

    others = replace(binding, lineage="other"), replace(binding, backend=f"{binding.backend} acme")
    for other in others:
        result = apply_for(other)
        assert result.outcome is RunOutcome.PLAN_ERROR
        assert result.findings[0].summary == "The target now points to a different backend"
    assert site.look().rows
    assert apply_for(replace(binding, token="env OTHER")).calls == CallCounts(done=1)


def test_nothing_is_done_without_terms_and_what_is_approved_uses_its_approval_up(declare):
    site = declare(2)
    rows = site.look().rows
    nothing = site.apply(terms=ApplyTerms())
    assert (nothing.outcome, nothing.calls) == (RunOutcome.CHANGES, CallCounts())
    assert nothing.rows == rows
    assert not site.count_creates()
    approved = ApplyTerms(approvals={rows[1].digest: ("one", "two")})
    result = site.apply(terms=approved)
    assert (result.outcome, result.calls) == (RunOutcome.APPLIED, CallCounts(done=1))
    assert sorted(result.used_approvals) == ["one", "two"]
    assert [row.address for row in site.look().rows] == [rows[0].address]
    check_all_is_done_once(site, 2)


def test_what_was_rejected_is_not_done_by_terms_that_permit_all(declare):
    """The worker judges its own plan by the rejections, too."""
    site = declare(2)
    rows = site.look().rows
    result = site.apply(terms=replace(EVERYTHING, rejected=frozenset({rows[0].digest})))
    assert (result.outcome, result.calls) == (RunOutcome.APPLIED, CallCounts(done=1))
    assert site.look().rows == rows[:1]
    check_all_is_done_once(site, 2)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("{valueFrom: {env: ACME_KEY}}", "{valueFrom: {env: ACME_OTHER_KEY}}"),
        ("first-in-plain-text-1234", "other-in-plain-text-5678"),
    ],
)
def test_without_a_state_key_an_approval_is_of_this_commit(declare, first, then):
    """No digest of a secret can be made: a commit must not put another in its place unseen."""
    site, used = declare(1), f"keyless-{len(first)}"
    (row,) = site.look().rows
    name = row.address.partition("/")[2]
    manifest = storage(name).replace("{valueFrom: {env: ACME_KEY}}", first)
    site.push({f"manifests/{name}.yaml": manifest, "README": "the first"})
    (row,) = site.look().rows
    approved = ApplyTerms(frozenset(), frozenset(), {row.digest: (used,)})
    site.push({f"manifests/{name}.yaml": manifest.replace(first, then)})
    refused = site.apply(terms=approved)
    assert (refused.outcome, refused.used_approvals) == (RunOutcome.CHANGES, ())
    assert [other.address for other in refused.rows] == [row.address]
    assert refused.rows[0].digest != row.digest
    assert "There is no state key" in list_texts(refused)
    site.push({f"manifests/{name}.yaml": manifest, "README": "another commit"})
    (again,) = site.look().rows
    assert again.digest not in {row.digest, refused.rows[0].digest}
    approved = ApplyTerms(frozenset(), frozenset(), {again.digest: (used,)})
    done = site.apply(terms=approved)
    assert (done.outcome, done.used_approvals) == (RunOutcome.APPLIED, (used,)), list_texts(done)


PLUGIN = """
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: yolo}
spec: {name: Yolo, code: yolo, version: "1.0.0", author: a, category: neural_net, description: d}
---
apiVersion: synapse-apply/v1
kind: Release
spec: {plugin: yolo, version: "1.0.0", source: ./yolo, verify: {timeout: 60}}
"""


def push_yolo(site: ApplySite) -> None:
    config = "name: yolo\ncode: yolo\nversion: 1.0.0\ncategory: neural_net\ndata_type: image\n"
    site.push({"yolo/config.yaml": config, "yolo/main.py": "", "manifests/yolo.yaml": PLUGIN})


def test_a_release_is_published_from_the_commit_and_drift_is_of_its_own_cause(declare):
    """One call makes plugin and release, and a run verifies it, with nothing checked out."""
    site = declare(0)
    assert site.look().running_jobs is None
    push_yolo(site)
    made = site.apply()
    assert (made.outcome, made.calls) == (RunOutcome.APPLIED, CallCounts(done=2)), list_texts(made)
    assert made.rows[1].needs == ("plugin/yolo",)
    assert made.rows[1].summary == "create, verify: never verified"
    assert site.look().outcome is RunOutcome.IN_SYNC
    site.change_plugin_by_hand()
    of_git = site.apply(terms=replace(EVERYTHING, causes=frozenset({RowCause.GIT})))
    assert (of_git.outcome, of_git.calls) == (RunOutcome.CHANGES, CallCounts())
    assert [(row.causes, row.summary) for row in of_git.rows] == [
        ((RowCause.DRIFT,), "update description")
    ]
    assert site.apply().calls == CallCounts(done=1)
    assert site.look().outcome is RunOutcome.IN_SYNC


def test_running_jobs_of_its_plugins_are_told_by_one_request(declare):
    """By id, plugin and progress, nothing of what they were given; words where they are not told."""
    site = declare(0)
    push_yolo(site)
    site.apply()
    seen = site.look().running_jobs
    assert seen == RunningJobsSeen()
    with site.open_target() as target:
        given = {"emulator": {"seconds": 3600}, "note": CANARY}
        job = target.jobs.run_plugin("yolo", parameters=given).job
        target.jobs.update_job(job.id, status=JobStatus.RUNNING, progress=40)
        requests_before = len(site.list_job_lists())
        result = site.look()
        assert result.running_jobs is not None
        (running,) = result.running_jobs.jobs
        assert (running.id, running.progress) == (job.id, 40)
        assert running.owner in {"plugin/yolo", "release/yolo@1.0.0"}
        assert abs(running.since - time.time()) < 600
        assert CANARY not in repr(result)
        assert len(site.list_job_lists()) == requests_before + 1
        for status, words in ((403, "may not list"), (404, "has no list"), (500, "did not list")):
            # A second try would be answered.
            match = {"method": "GET", "path": "/jobs/", "nth": 1}
            site.put_faults({"match": match, "do": {"status": status}})
            refused = site.look()
            assert refused.outcome is RunOutcome.IN_SYNC, list_texts(refused)
            assert refused.running_jobs is not None
            assert words in refused.running_jobs.unread_reason
            assert refused.running_jobs.jobs == ()
        site.put_faults()
        target.jobs.update_job(job.id, status=JobStatus.COMPLETED)
    assert site.look().running_jobs == RunningJobsSeen()


def test_a_secret_of_another_source_is_never_sent(declare):
    site = declare(0)
    manifest = storage("canary").replace("ACME_KEY", "BETA_KEY")
    site.push({"manifests/canary.yaml": manifest})
    result = site.apply()
    site.push({"manifests/canary.yaml": None})
    texts = list_texts(result)
    assert "BETA_KEY is not set" in texts
    assert CANARY not in texts
    assert not site.count_creates()


def test_no_call_begins_after_its_permit(declare, threads):
    """What has begun ends and is recorded; the rest waits for the next apply."""
    site = declare(MANY)
    deadlines, is_denied = [], threading.Event()

    def read_permit() -> Permit:
        if site.count_creates():
            is_denied.set()
            return Permit(0.0, "the window closed")
        deadlines.append(time.monotonic() + 1.0)
        return Permit(deadlines[-1])

    with site.hold_answers():
        applying = threads.submit(site.apply, read_permit)
        assert is_denied.wait(60)
        time.sleep(max(deadlines[-1] - time.monotonic(), 0))
    result = applying.result(60)
    done = site.count_creates()
    assert 0 < done <= AT_ONCE
    assert (result.outcome, result.stop_reason) == (RunOutcome.APPLY_STOPPED, "the window closed")
    assert result.calls == CallCounts(done=done, skipped=MANY - done)
    assert not [finding for finding in result.findings if finding.is_error]
    assert not site.read_state().open_intents
    check_all_is_done_once(site)


def test_a_worker_that_was_stopped_begins_nothing_with_an_old_permit(declare, threads):
    site = declare(MANY)
    deadlines, is_over = [], threading.Event()

    def read_permit() -> Permit:
        if site.count_creates() < AT_ONCE:
            deadlines.append(time.monotonic() + 1.5)
            return Permit(deadlines[-1])
        if is_over.is_set():
            return Permit(0.0, "it is over")
        raise OSError("the store is away")

    with site.hold_answers():
        applying = threads.submit(site.apply, read_permit)
        site.wait_for_creates(AT_ONCE)
        (process_id,) = site.pool.list_process_ids()
        os.kill(process_id, signal.SIGSTOP)
        time.sleep(max(deadlines[-1] - time.monotonic(), 0))
    os.kill(process_id, signal.SIGCONT)
    is_over.set()
    result = applying.result(60)
    assert site.count_creates() == AT_ONCE
    assert result.stop_reason == "it is over"
    check_all_is_done_once(site)


def test_an_apply_ends_with_its_controller(declare):
    """Also by kill -9: what has begun is recorded, nothing more begins."""
    site = declare(MANY)
    site.delay_answers(1.5)
    with site.start_controller() as controller:
        site.wait_for_creates(1)
        (worker,) = (
            number
            for number in list_children(controller.pid)
            if b"synapse_apply.controller.worker" in read_process(number, "cmdline")
        )
        controller.kill()
    wait_until(lambda: not Path(f"/proc/{worker}").exists(), 60, "the worker has ended")
    # A second call of each may have begun before it heard of that.
    assert site.count_creates() <= 2 * AT_ONCE
    assert not site.read_state().open_intents
    check_all_is_done_once(site)


def test_an_apply_that_takes_too_long_begins_nothing_more(declare):
    site = declare(MANY)
    site.delay_answers(1.0)
    result = site.apply(timeout=1.0)
    assert result.outcome is RunOutcome.TIMEOUT
    assert result.findings[0].summary == "The apply took too long"
    assert result.calls.done == site.count_creates() < MANY
    assert not site.read_state().open_intents
    check_all_is_done_once(site)


def test_one_whose_calls_hang_is_ended_and_another_run_is_told_of_it(declare, threads, monkeypatch):
    """Who has the lock is told to the other one; the next run looks up what became of the calls."""
    site = declare(3)
    site.delay_answers(120)
    pool = site.make_pool(last_calls_seconds=0.3)
    applying = threads.submit(site.apply, timeout=300.0, pool=pool)
    site.wait_for_creates(3)
    other = site.apply()
    assert other.outcome is RunOutcome.APPLY_STOPPED
    assert "running apply since" in other.held_up_by_run
    assert not other.rows
    later = SimpleNamespace(monotonic=lambda: time.monotonic() + 300.0)
    monkeypatch.setattr(child, "time", later)
    ended = applying.result(60)
    assert ended.outcome is RunOutcome.TIMEOUT
    assert "looks up the outcome of each open call" in list_texts(ended)
    assert pool.list_process_ids() == ()
    site.put_faults()
    wait_until_unlocked(site)
    check_all_is_done_once(site, 3)


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_check_waits_for_the_end_of_a_lost_machine(declare, monkeypatch, is_lost):
    """For a lease, then the target goes on; a run that lives holds it up."""
    site = declare(2)
    lease = LeaseTiming(lease_seconds=2.0, heartbeat_seconds=0.2, longest_pause=0.1)
    monkeypatch.setattr(Database, "lease_timing", lease)
    timing = replace(lease, heartbeat_seconds=NEVER) if is_lost else lease
    runner = LockRunner(process=ELSEWHERE, timing=timing)
    with (
        closing(site.make_pool()) as pool,
        make_unopened_sqlite_store(site.states / "prod.db", runner=runner).lock("apply"),
    ):
        looked = pool.look(Order(*NAME, site.commit, 60.0))
        if is_lost:
            assert (looked.held_up_by_run, looked.counts.add) == ("", 2)
            assert site.apply(pool=pool).outcome is RunOutcome.APPLIED
        else:
            assert "they@elsewhere" in looked.held_up_by_run
    check_all_is_done_once(site, 2)


def test_a_worker_that_is_killed_is_told_and_nothing_is_sent_twice(declare, threads):
    site = declare(3)
    site.delay_answers(120)
    applying = threads.submit(site.apply)
    site.wait_for_creates(3)
    (process_id,) = site.pool.list_process_ids()
    os.kill(process_id, signal.SIGKILL)
    lost = applying.result(60)
    assert lost.outcome is RunOutcome.WORKER_LOST
    assert "looks up the outcome of each open call, and sends nothing twice" in list_texts(lost)
    site.put_faults()
    wait_until_unlocked(site)
    check_all_is_done_once(site, 3)


def test_what_an_apply_does_is_told_while_it_does_it(declare, threads):
    """Each row with its number as it begins; a listener that fails is told again."""
    site, told = declare(3), list[Sequence[CallProgress]]()

    def tell(calls: Sequence[CallProgress]) -> None:
        told.append(calls)
        if len(told) == 1:
            raise OSError

    before = time.time()
    with site.hold_answers():
        applying = threads.submit(site.apply, tell=tell)
        wait_until(lambda: told and len(told[-1]) == 3 and len(told) > 1, 60, "three have begun")
        begun = told[-1]
    assert [(call.number, call.total, call.result) for call in begun] == [
        (number, 3, "") for number in (1, 2, 3)
    ]
    assert all(before <= call.began_at <= time.time() for call in begun)
    assert applying.result(60).outcome is RunOutcome.APPLIED
    assert len({call.address for call in begun}) == 3
    assert {call.action for call in begun} == {"create"}
    told.clear()
    assert site.apply(tell=told.append).outcome is RunOutcome.IN_SYNC
    assert told == []


def test_a_worker_that_takes_too_much_memory_is_ended(declare, monkeypatch):
    site = declare(1)
    monkeypatch.setattr(child, "_MOST_RESIDENT_BYTES", 1)
    lost = site.apply()
    assert lost.outcome is RunOutcome.WORKER_LOST
    assert "used more than 0 MiB of memory. The next run looks up the outcome" in list_texts(lost)
    monkeypatch.undo()
    check_all_is_done_once(site, 1)


def wait_until_unlocked(site: ApplySite) -> None:
    """A killed process is known to be gone, so that its lock is taken at once."""

    def is_unlocked() -> bool:
        denied = site.apply(terms=ApplyTerms(), read_permit=lambda: Permit(0.0, "no"))
        return not denied.held_up_by_run

    wait_until(is_unlocked, 60, "the lock is free", pause=0.1)


def test_a_pool_that_is_closed_lets_calls_end(declare, threads):
    """And begins no other apply; neither other settings nor a signal change one under way."""
    site = declare(MANY)
    site.delay_answers(0.5)
    site.pool = site.make_pool(drain_seconds=600)
    applying = threads.submit(site.apply)
    site.wait_for_creates(1)
    site.pool.use_settings_for_new_work(Controller("main", {}))
    os.kill(*site.pool.list_process_ids(), signal.SIGTERM)
    finish(site.pool.close)
    result = applying.result(60)
    assert (result.outcome, result.stop_reason) == (
        RunOutcome.APPLY_STOPPED,
        "the controller is stopping",
    )
    assert 0 < result.calls.done == site.count_creates() < MANY
    assert site.apply() == replace(
        RunResult(RunOutcome.APPLY_STOPPED), stop_reason="the controller is stopping"
    )
    assert not site.read_state().open_intents
    site.pool = site.make_pool()
    check_all_is_done_once(site)


def test_a_call_that_hangs_does_not_keep_a_pool_open(declare, threads):
    site = declare(1)
    site.delay_answers(120)
    pool = site.make_pool(drain_seconds=0.3)
    applying = threads.submit(site.apply, pool=pool)
    site.wait_for_creates(1)
    finish(pool.close)
    result = applying.result(60)
    assert result.outcome is RunOutcome.APPLY_STOPPED
    assert "looks up the outcome of each open call" in list_texts(result)
    site.put_faults()
    wait_until_unlocked(site)
    check_all_is_done_once(site, 1)


def test_what_concerns_the_state_alone_is_done_without_a_permitted_row(declare):
    """A storage that moves to another address; no call is made for it."""
    site = declare(0)
    moved = "moved: [{from: storage/s0, to: storage/s0-moved}]\n"
    manifest = storage("s0").replace("metadata: {name: s0}", "metadata: {name: s0-moved}")
    site.push({"synapse-apply.yaml": site.project + moved, "manifests/s0.yaml": manifest})
    looked = site.look()
    assert (looked.rows, looked.is_state_behind) == ((), True)
    result = site.apply(terms=ApplyTerms())
    assert result.calls == CallCounts()
    assert not site.count_creates()
    looked = site.look()
    assert (looked.outcome, looked.is_state_behind) == (RunOutcome.IN_SYNC, False)


def test_a_row_says_whether_it_can_be_undone_and_what_labels_it_has(tmp_path):
    """API v1 deletes no storage, so that its create stays; auto can leave that to people.

    Without its state key, the other one cannot be changed.
    """
    with open_site(tmp_path) as site:
        labelled = storage("s1").replace("{name: s1}", "{name: s1, labels: {team: vision}}")
        changed = storage("s0", bucket="other")
        site.push({"manifests/s0.yaml": changed, "manifests/s1.yaml": labelled})
        rows = {row.address: row for row in site.look().rows}
        assert {address: (row.is_irreversible, row.labels) for address, row in rows.items()} == {
            "storage/s0": (False, ()),
            "storage/s1": (True, ("team=vision",)),
        }
        site.apply(terms=replace(EVERYTHING, irreversible=False))
        assert len(site.look().rows) == 2
        approvals = {rows["storage/s1"].digest: ("a1",)}
        site.apply(terms=replace(EVERYTHING, irreversible=False, approvals=approvals))
        assert [row.address for row in site.look().rows] == ["storage/s0"]
