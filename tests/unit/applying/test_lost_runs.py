"""A run whose answer nobody saw: its job is found, or nothing more is started until it is known."""

from __future__ import annotations

from typing import Any

import pytest
from unit.applying.bench import NOW, Bench, plugin, release, told
from unit.applying.scripted import lost
from unit.applying.test_verifying import AT, PAGE, last, run_of

from synapse_apply.kinds.run_body import RUN_MARK_KEY
from synapse_apply.model.address import Address
from synapse_apply.model.errors import StateError
from synapse_apply.model.job import RunStatus
from synapse_apply.model.plan import Refusal
from synapse_apply.model.secrets.secret_marks import MaskedText
from synapse_apply.model.state import AuditEntry, IntentState
from synapse_apply.operations import state
from synapse_apply.operations.import_ import record_all_live_objects_or_none
from synapse_apply.workspace.inventory_rows import InventoryRow
from synapse_apply.workspace.target_session import PlanResult, TargetSession

ADDRESS = Address.parse(AT)
DECLARED = (plugin(), release(verify=PAGE))
LATER = "2026-01-01T00:02:00.000000Z"
SOON = "2026-01-01T00:01:34.000000Z"


class Killed(BaseException):
    """Not an Exception: nothing of ours may catch it."""


def cut(bench: Bench, call: str = "run_plugin", *, done: bool = True) -> None:
    """A run that ends like a kill -9 in the middle of a call."""
    bench.api.fail(call, Killed(), done=done)
    with pytest.raises(Killed):
        bench.apply(*DECLARED)


def refusal(planned: PlanResult) -> Refusal:
    (change,) = [one for one in planned.plan.changes if one.address == ADDRESS]
    (found,) = change.refusals
    return found


def runs(bench: Bench) -> int:
    """How many jobs were started."""
    return len(bench.api.objects["job"])


def state_of(bench: Bench) -> TargetSession:
    return bench.context()


def others_job(bench: Bench, **more: Any) -> None:
    """A job of the same plugin that somebody else started."""
    bench.api.objects["job"]["99"] = {
        "id": 99, "plugin": 1, "created": "2026-01-01T00:00:01Z", "story": ["completed"], **more,
    }  # fmt: skip


def test_killed_between_run_and_look_the_same_job_is_followed(bench):
    """The job is recorded before the first look."""
    cut(bench, "get_job")
    assert (last(bench).result, last(bench).job) == (RunStatus.RUNNING, "3")
    assert bench.store.read_state().open_intents == ()
    assert bench.apply(*DECLARED).exit_code == 0
    assert (runs(bench), last(bench).result) == (1, RunStatus.PASSED)


def test_a_job_whose_id_cannot_be_used_is_found_by_its_mark(bench):
    """The id repeats a secret; the run is done all the same, and no second one is started."""
    run_plugin = bench.api.run_plugin
    masked = MaskedText.from_original("***", "3")
    bench.api.run_plugin = lambda pk, data: {**run_plugin(pk, data), "job_id": masked}
    assert bench.apply(*DECLARED).exit_code == 0
    assert (runs(bench), last(bench).job, last(bench).result) == (1, "3", RunStatus.PASSED)


def test_an_answer_that_is_lost_is_looked_up_at_once(bench):
    """Within the same run, also where the job shows late."""
    bench.api.fail("run_plugin", lost(), done=True)
    bench.api.fail("list_job", lost())
    report = bench.apply(*DECLARED)
    assert report.exit_code == 0
    assert "A lost answer: the outcome was looked up" in told(report)
    assert (runs(bench), last(bench).result) == (1, RunStatus.PASSED)


def test_nothing_is_started_before_absence_is_certain(bench):
    """No job yet: exit 7, and only waiting helps until the call is older than its deadline."""
    bench.api.fail("run_plugin", lost())
    report = bench.apply(*DECLARED)
    assert (report.exit_code, run_of(report).status) == (7, RunStatus.UNKNOWN)
    bench.clock.at = SOON
    planned = bench.plan(*DECLARED)
    assert refusal(planned).outcome_unknown
    assert (
        refusal(planned).ways_out[0]
        == "plan again after 2026-01-01T00:01:35Z: the next run looks up the call"
    )
    assert bench.apply(*DECLARED).exit_code == 7
    assert runs(bench) == 0
    bench.clock.at = LATER
    assert bench.apply(*DECLARED).exit_code == 0
    assert runs(bench) == 1


def test_a_job_of_somebody_else_is_not_ours(bench):
    """Other context, other mark, other plugin, long ago: none of them is taken or in the way."""
    cut(bench, done=False)
    others_job(bench, context={"who": "somebody"})
    bench.api.objects["job"]["98"] = {"id": 98, "plugin": 1, "context": {RUN_MARK_KEY: "another"}}
    bench.api.objects["job"]["97"] = {"id": 97, "plugin": 2}
    bench.api.objects["job"]["96"] = {"id": 96, "plugin": 1, "created": "2025-12-31T23:00:00Z"}
    bench.clock.at = LATER
    assert bench.apply(*DECLARED).exit_code == 0
    assert (runs(bench), last(bench).job) == (5, "3")


@pytest.mark.parametrize(
    "context", [None, {}, {"project_id": 123}], ids=["not told", "emptied", "in part"]
)
def test_where_no_mark_comes_back_the_user_says(bench, context):
    """A job that may be it: refused with exit 7, and the two commands that settle it."""
    bench.api.tells_context = False
    cut(bench, done=False)
    others_job(bench, context=context)
    bench.clock.at = LATER
    planned = bench.plan(*DECLARED)
    assert refusal(planned).ways_out == (
        f"if the run has a job: `synapse-apply state settle {AT} --job ID`",
        f"if the run has no job: `synapse-apply state settle {AT} --absent`",
    )
    assert "job 99 may belong to it" in planned.plan.diagnostics[0].detail
    assert bench.apply(*DECLARED).exit_code == 7
    assert runs(bench) == 1


def test_a_mark_that_only_the_whole_job_shows_is_found(bench):
    """Items of a list may be short: a job that may be it is read before anybody is asked."""
    cut(bench)
    short = [{"id": 3, "plugin": 1, "status": "completed"}]
    bench.api.iterate_jobs = lambda _params=None, **_more: iter(short)
    assert bench.apply(*DECLARED).exit_code == 0
    assert (runs(bench), last(bench).job) == (1, "3")


def test_settled_by_hand_as_absent_it_is_started(bench):
    """`state settle --absent`: the user looked."""
    bench.api.tells_context = False
    cut(bench, done=False)
    others_job(bench)
    intent = state.close_as_not_done(state_of(bench), ADDRESS, moment=LATER)
    assert intent.state is IntentState.ABSENT
    assert bench.apply(*DECLARED).exit_code == 0
    assert last(bench).job == "3"


def test_settled_by_hand_with_its_job_that_is_followed(bench):
    """`state settle --job ID`: nothing is started, the job is followed to its end."""
    bench.api.tells_context = False
    cut(bench)
    others_job(bench)
    state.close_with_job(state_of(bench), ADDRESS, "3", moment=LATER)
    assert bench.store.list_audit_entries_newest_first()[0].result == "settled by hand: job 3"
    assert (last(bench).result, last(bench).job) == (RunStatus.RUNNING, "3")
    assert bench.apply(*DECLARED).exit_code == 0
    assert (runs(bench), last(bench).result) == (2, RunStatus.PASSED)
    with pytest.raises(StateError, match="No call of this address is open"):
        state.close_with_job(state_of(bench), ADDRESS, "3", moment=LATER)


def test_the_job_of_another_run_is_not_taken(bench):
    """What an earlier run proved must not vouch for other parameters."""
    bench.api.tells_context = False
    bench.api.story = ["failed"]
    bench.apply(*DECLARED)
    earlier = last(bench).job
    cut(bench)
    with pytest.raises(StateError, match="This job belongs to a different run"):
        state.close_with_job(state_of(bench), ADDRESS, earlier, moment=LATER)
    assert bench.store.read_state().open_intents


def test_only_a_run_has_a_job(bench):
    """An open create is not settled by a job."""
    bench.api.fail("create_release", Killed())
    with pytest.raises(Killed):
        bench.apply(*DECLARED)
    with pytest.raises(StateError, match="The open call is not a run"):
        state.close_with_job(state_of(bench), ADDRESS, "3", moment=LATER)


def test_the_job_of_the_run_before_is_not_in_the_way(bench):
    """It is known, so it is not the lost one, although no context comes back."""
    bench.api.tells_context = False
    bench.api.story = ["failed"]
    bench.apply(*DECLARED)
    bench.api.story = ["completed"]
    cut(bench, done=False)
    bench.clock.at = LATER
    assert bench.apply(*DECLARED).exit_code == 0
    assert runs(bench) == 2


def test_the_jobs_of_other_runs_are_not_in_the_way(bench):
    """One that another record has, one it had before, one started by hand: each is somebody's."""
    bench.api.tells_context = False
    bench.apply(*DECLARED)
    bench.apply(*DECLARED, verify_now=frozenset({ADDRESS}))
    others_job(bench)
    by_hand = AuditEntry(NOW, "me", "", "p", "plugin/yolo", "run", "99", "", "done")
    with bench.store.lock("run"):
        bench.store.append_audit_entries(by_hand)
    newer = (plugin(), release("1.1.0", f"pkg1:sha256:{'bb' * 32}", verify=PAGE))
    bench.api.fail("run_plugin", Killed())
    with pytest.raises(Killed):
        bench.apply(*newer)
    bench.clock.at = LATER
    assert bench.apply(*newer).exit_code == 0
    assert (runs(bench), last(bench, "release/yolo@1.1.0").result) == (4, RunStatus.PASSED)


@pytest.mark.parametrize(
    "shown", [{"version": "0.9.0"}, {"plugin_release": {"id": 7, "version": "0.9.0"}}], ids=str
)
def test_a_job_of_another_version_is_not_in_the_way(bench, shown):
    """Where a run asks for its version and the server tells that of a job."""
    declared = (plugin(), release(verify={"action": "test", "params": {}}))
    bench.api.fail("run_plugin", Killed())
    with pytest.raises(Killed):
        bench.apply(*declared)
    others_job(bench, **shown)
    bench.clock.at = LATER
    assert bench.apply(*declared).exit_code == 0
    assert (runs(bench), last(bench).job) == (2, "3")


def test_a_job_of_another_version_may_be_it_where_the_server_chose(bench):
    """A run of the page's form names no version, so that of a job proves nothing."""
    bench.api.tells_context = False
    cut(bench, done=False)
    others_job(bench, version="0.9.0")
    bench.clock.at = LATER
    assert bench.apply(*DECLARED).exit_code == 7
    assert runs(bench) == 1


def test_jobs_that_cannot_be_listed_settle_nothing(bench):
    """Refused like any unknown outcome; once they can be listed the job is found."""
    cut(bench)
    bench.clock.at = LATER
    bench.api.fail("list_job", lost())
    assert refusal(bench.plan(*DECLARED)).outcome_unknown
    assert bench.apply(*DECLARED).exit_code == 0
    assert runs(bench) == 1


def test_an_import_does_not_answer_for_a_run(bench):
    """It tells what the release is; whether it was run stays open, and its digest stays its own."""
    cut(bench)
    record_all_live_objects_or_none(bench.context(*DECLARED), {ADDRESS: InventoryRow("2")})
    assert [intent.verb for intent in bench.store.read_state().open_intents] == ["run"]
    assert bench.record(AT).digest == f"pkg1:sha256:{'aa' * 32}"
    assert bench.apply(*DECLARED).exit_code == 0
    assert runs(bench) == 1


def test_an_import_that_settles_a_create_leaves_the_run_due(bench):
    """What we made ourselves is not taken over: it still proves itself."""
    bench.api.fail("create_release", Killed(), done=True)
    with pytest.raises(Killed):
        bench.apply(*DECLARED)
    record_all_live_objects_or_none(bench.context(*DECLARED), {ADDRESS: InventoryRow("2")})
    assert bench.apply(*DECLARED).exit_code == 0
    assert (runs(bench), last(bench).result) == (1, RunStatus.PASSED)


def test_an_imported_release_is_not_run(bench):
    """Its bytes are not ours; the plan is empty."""
    bench.apply(plugin(), release())
    with bench.store.lock("state rm"):
        bench.store.remove_records(ADDRESS)
    record_all_live_objects_or_none(bench.context(*DECLARED), {ADDRESS: InventoryRow("2")})
    assert last(bench).result is RunStatus.UNVERIFIED
    bench.apply(*DECLARED)
    assert runs(bench) == 0
    assert not bench.plan(*DECLARED).plan.has_changes


def test_a_release_that_was_forgotten_has_no_run_left(bench):
    """Its open run closes with its job, and nothing is recorded of it."""
    cut(bench)
    with bench.store.lock("state rm"):
        bench.store.remove_records(ADDRESS)
    bench.clock.at = LATER
    assert bench.apply(*DECLARED).exit_code == 0
    assert bench.store.read_state().open_intents == ()
    assert last(bench).result is RunStatus.UNVERIFIED
    assert runs(bench) == 1


@pytest.mark.parametrize(
    ("owner", "is_ours"),
    [
        ({"plugin_release": 2}, True),
        ({"plugin_release": {"plugin": {"code": "yolo"}, "version": "1.0.0"}}, True),
        ({"plugin_release": {"plugin": {"code": "sam"}, "version": "1.0.0"}}, False),
        ({"plugin_release": 77}, True),
    ],
)
def test_a_job_is_known_by_the_plugin_of_its_release(bench, owner, is_ours):
    """Where it shows that it runs another plugin it is none of ours; else it may be."""
    bench.api.tells_context = False
    cut(bench, done=False)
    others_job(bench, **{"plugin": None, "context": None, **owner})
    bench.clock.at = LATER
    diagnostics = bench.plan(*DECLARED).plan.diagnostics
    assert any("job 99 may belong to it" in one.detail for one in diagnostics) == is_ours
