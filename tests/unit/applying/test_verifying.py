"""A release proves itself: what is run, how its end is told and remembered, what waits for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from unit.applying.bench import WIDGET, Bench, plugin, release, told, widget
from unit.applying.scripted import ScriptedApi, refused

from synapse_apply import RemoteError, Report
from synapse_apply.kinds.descriptor import VerificationSpec
from synapse_apply.kinds.release import RUN_VERIFICATION
from synapse_apply.model.errors import Effect, RateLimited, ServerFault, StateError
from synapse_apply.model.job import LastRun, RunStatus, VerificationResult
from synapse_apply.views.text.outcomes import render_report

AT = "release/yolo@1.0.0"
PAGE = {"parameters": {"q": 0.9}, "context": {"project_id": 123}}


def last(bench: Bench, address: str = AT) -> LastRun:
    found = LastRun.from_json_or_none(bench.record(address).verification)
    assert found is not None
    return found


def run_of(report: Report) -> VerificationResult:
    (found,) = report.verification_results
    return found


def passing(bench: Bench, verify: Any = PAGE) -> tuple[Any, Any]:
    """A plugin and its release, applied and verified."""
    declared = (plugin(), release(verify=verify))
    assert bench.apply(*declared).exit_code == 0
    return declared


def test_the_run_is_in_the_audit(bench):
    """Digest of the parameters, id of the job, id of the request."""
    passing(bench)
    entry = bench.store.list_audit_entries_newest_first()[0]
    assert (entry.verb, entry.address, entry.remote_id) == ("run", AT, "3")
    assert (entry.result, entry.request_id) == ("done", "req-1")
    assert entry.digest == last(bench).parameters


def test_a_failed_run_ends_in_exit_3_with_its_last_lines(bench):
    """Ten lines, both forms of them; what is published stays, and both ways on are told."""
    bench.api.story = ["running", "failed"]
    bench.api.logs = [
        "0",
        *(f"line {n}" for n in range(9)),
        {"timestamp": "12:00", "message": "bad"},
    ]
    report = bench.apply(plugin(), release(verify=PAGE))
    assert report.exit_code == 3
    run = run_of(report)
    assert (run.status, run.job, run.request_id) == (RunStatus.FAILED, "3", "req-1")
    assert run.logs == (*(f"line {n}" for n in range(9)), "12:00: bad")
    said = told(report)
    assert "1.0.0 is published, and cannot be withdrawn on v1" in said
    assert (
        "If the parameters are wrong: edit spec.verify. If the code is wrong: `synapse-apply "
        "bump yolo patch`"
    ) in said
    assert last(bench).result is RunStatus.FAILED
    assert "line" not in str(bench.record(AT))


def test_a_job_that_does_not_end_in_time_is_followed_by_the_next_run(bench):
    """A failure that names the job; the next apply starts none."""
    bench.api.story = ["running"]
    declared = (plugin(), release(verify={**PAGE, "timeout": 12}))
    report = bench.apply(*declared)
    assert report.exit_code == 3
    assert "Job 3 was still running after 12 s, and may continue" in told(report)
    assert (run_of(report).status, last(bench).job) == (RunStatus.TIMED_OUT, "3")
    bench.api.objects["job"]["3"]["story"] = ["completed"]
    assert bench.apply(*declared).exit_code == 0
    assert bench.api.writes().count("run_plugin") == 1
    assert last(bench).result is RunStatus.PASSED


def test_a_stop_leaves_the_job_to_the_next_run(bench):
    """The first Ctrl-C: 130, the record says running, the same job is followed afterwards."""
    bench.api.story = ["running"]
    declared = (plugin(), release(verify=PAGE))
    report = bench.apply(*declared, stop=lambda: 2 if bench.clock.waited > 1 else 0)
    assert report.exit_code == 130
    assert run_of(report).status is RunStatus.RUNNING
    assert (last(bench).result, last(bench).job) == (RunStatus.RUNNING, "3")
    assert bench.clock.waited < 5
    bench.api.objects["job"]["3"]["story"] = ["completed"]
    assert bench.apply(*declared).exit_code == 0
    assert bench.api.writes().count("run_plugin") == 1


def test_a_look_that_is_given_up_by_a_stop_is_no_failure(bench):
    """Told to end while a look hangs: 130, the job goes on, and nothing is called an error."""
    bench.api.fail("get_job", RemoteError("the run was stopped"))
    stop = lambda: 2 if "run_plugin" in bench.api.writes() else 0  # noqa: E731
    report = bench.apply(plugin(), release(verify=PAGE), stop=stop)
    assert (report.exit_code, run_of(report).status) == (130, RunStatus.RUNNING)
    assert run_of(report).diagnostics == ()


def test_a_stop_before_the_run_starts_none(bench):
    """What was released stays so; its run is due next time."""
    stop = lambda: 2 if "create_release" in bench.api.writes() else 0  # noqa: E731
    report = bench.apply(plugin(), release(verify=PAGE), stop=stop)
    assert "run_plugin" not in bench.api.writes()
    assert report.exit_code == 130
    assert bench.plan(plugin(), release(verify=PAGE)).plan.has_changes


def test_a_direct_result_is_a_run_that_is_over(bench):
    """A server without jobs: passed, and no job is remembered."""
    bench.api.run_plugin = lambda _pk, _data: {"result": {"accuracy": 0.9}}
    report = bench.apply(plugin(), release(verify=PAGE))
    assert report.exit_code == 0
    assert (last(bench).result, last(bench).job) == (RunStatus.PASSED, "")


def test_a_direct_result_that_says_it_failed_is_a_failure(bench):
    """No job, and a status that is no success: exit 3, and it is run again."""
    bench.api.run_plugin = lambda _pk, _data: {"status": "FAILED", "error": "no GPU"}
    report = bench.apply(plugin(), release(verify=PAGE))
    assert report.exit_code == 3
    assert "The run failed. 1.0.0 is published" in told(report)
    assert last(bench).result is RunStatus.FAILED
    assert bench.plan(plugin(), release(verify=PAGE)).plan.has_changes


@pytest.mark.parametrize("on_failure", ["fail", "warn"])
def test_refused_parameters_are_a_failure(bench, on_failure):
    """400: the server's words, no job; as the manifest says it fails or warns."""
    bench.api.fail("run_plugin", refused(400, {"parameters": ["q must be below 1"]}))
    declared = (plugin(), release(verify={**PAGE, "on_failure": on_failure}))
    report = bench.apply(*declared)
    assert report.exit_code == (3 if on_failure == "fail" else 0)
    assert "the backend answered 400: parameters: q must be below 1" in told(report)
    assert last(bench).result is RunStatus.FAILED
    assert bench.plan(*declared).plan.has_changes == (on_failure == "fail")
    assert bench.store.read_state().open_intents == ()


@pytest.mark.parametrize("on_failure", ["fail", "warn"])
def test_what_cannot_be_started_is_never_tolerated(bench, on_failure):
    """404, 403, no connection: nothing was run, so nothing is remembered and it is due again."""
    for failure in (refused(404), RemoteError("no connection")):
        bench.api.fail("run_plugin", failure)
        declared = (plugin(), release(verify={**PAGE, "on_failure": on_failure}))
        assert bench.apply(*declared).exit_code == 3
        assert bench.record(AT).verification is None
        assert bench.plan(*declared).plan.has_changes


def test_a_job_nobody_can_look_at_is_left_running(bench):
    """The looks failed, the job goes on: exit 3, and the next apply follows it."""
    bench.api.fail("get_job", RemoteError("no route"))
    declared = (plugin(), release(verify=PAGE))
    report = bench.apply(*declared)
    assert (report.exit_code, run_of(report).status) == (3, RunStatus.RUNNING)
    assert "no route" in told(report)
    assert bench.apply(*declared).exit_code == 0
    assert bench.api.writes().count("run_plugin") == 1


def test_a_job_that_is_gone_is_a_failure(bench):
    """Nobody saw its end: only then another one is started, by the next apply."""
    bench.api.story = ["running"]
    declared = (plugin(), release(verify=PAGE))
    bench.apply(*declared, stop=lambda: 2 if bench.clock.waited > 1 else 0)
    bench.api.objects["job"].clear()
    bench.api.story = ["completed"]
    report = bench.apply(*declared)
    assert (report.exit_code, last(bench).result) == (3, RunStatus.FAILED)
    assert "Job 3 no longer exists" in told(report)
    assert bench.apply(*declared).exit_code == 0
    assert bench.api.writes().count("run_plugin") == 2


def test_logs_that_cannot_be_read_hide_no_failure(bench):
    """The failure is told with the reason why there are no lines."""
    bench.api.story = ["failed"]
    bench.api.fail("iterate_job_console_logs", RemoteError("log is archived"))
    report = bench.apply(plugin(), release(verify=PAGE))
    assert report.exit_code == 3
    assert run_of(report).logs == ("(the log could not be read: log is archived)",)


def test_a_run_that_cannot_be_recorded_is_unknown(bench, tmp_path):
    """The job is on the server, the state was not told: exit 7, and the same job is followed."""
    settle = bench.store.close_ended_intent

    def broken(intent: Any, record: Any, entry: Any) -> None:
        if intent.verb == "run":
            raise StateError.from_summary("The disk is full")
        settle(intent, record, entry)

    bench.store.close_ended_intent = broken
    declared = (plugin(), release(verify=PAGE))
    report = bench.apply(*declared)
    assert report.exit_code == 7
    assert run_of(report).status is RunStatus.UNKNOWN
    said = render_report(report, color=False)
    assert "Only then run apply again" in said
    assert f"could not record are in {run_of(report).recovery_file}." in said
    assert "The next run looks up" not in said
    bench.store.close_ended_intent = settle
    assert bench.apply(*declared).exit_code == 0
    assert bench.api.writes().count("run_plugin") == 1


def test_a_release_that_failed_is_not_run(bench):
    """Nothing was published, so there is nothing to run."""
    bench.api.fail("create_release", refused(400))
    report = bench.apply(plugin(), release(verify=PAGE))
    assert report.exit_code == 3
    assert run_of(report).status is RunStatus.SKIPPED
    assert "run_plugin" not in bench.api.writes()


def gated() -> dict[str, Any]:
    """Widgets that prove themselves by a run of the plugin that their note names."""

    def run(api: ScriptedApi, owner: str, body: Any) -> Any:
        return api.run_plugin(owner, body)

    proof = VerificationSpec(
        "note", RUN_VERIFICATION.build_body, run, lambda api, _owner, _since: api.iterate_jobs()
    )
    return {"widget": replace(WIDGET, verification_spec=proof)}


@pytest.mark.parametrize(("on_failure", "made"), [("fail", 1), ("warn", 2)])
def test_what_depends_on_it_waits_for_its_run(bench, on_failure, made):
    """A failed run skips dependents, one that only warns does not."""
    bench.catalogue = gated()
    bench.api.objects["plugin"]["gate"] = {"id": "gate"}
    bench.api.story = ["running", "failed"]
    first = replace(widget("w", note="gate"), verify={"on_failure": on_failure})
    report = bench.apply(first, widget("child", needs="w"))
    assert bench.api.writes().count("create_widget") == made
    assert report.exit_code == (3 if on_failure == "fail" else 0)
    assert report.outcomes[0].result.value == "done"
    assert ("it depends on" in told(report).lower()) == (on_failure == "fail")


def test_a_lost_answer_of_the_release_is_looked_up_before_its_run(bench):
    """The release is found, then run; both once."""
    bench.api.fail("create_release", RemoteError("lost", effect=Effect.UNKNOWN), done=True)
    report = bench.apply(plugin(), release(verify=PAGE))
    assert report.exit_code == 0
    assert bench.api.writes().count("create_release") == 1
    assert last(bench).result is RunStatus.PASSED


@pytest.mark.parametrize(
    "answer",
    [
        {"error": "no GPU"},
        {"errors": ["a", "b"]},
        {"success": False},
        {"status": "error", "message": "no GPU"},
        {"result": {"error": {"message": "no GPU"}}},
        {"result": {"status": "FAILED"}},
    ],
)
def test_a_bare_result_with_an_error_is_a_failure(bench, answer):
    """The action's own result, in whatever form it says that it failed."""
    bench.api.run_plugin = lambda _pk, _data: answer
    report = bench.apply(plugin(), release(verify=PAGE))
    assert report.exit_code == 3
    assert last(bench).result is RunStatus.FAILED


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"result": None},
        {"result": ["a", "b"]},
        {"error_rate": 0.1, "error": 0.02},
        {"error": None, "errors": [], "success": True, "status": "ok"},
        {"status": "pending", "result": {"labels": 3}},
    ],
)
def test_a_bare_result_without_an_error_passes(bench, answer):
    """A measure that is called error is none."""
    bench.api.run_plugin = lambda _pk, _data: answer
    assert bench.apply(plugin(), release(verify=PAGE)).exit_code == 0
    assert last(bench).result is RunStatus.PASSED


def test_an_answer_that_is_pending_without_a_job_is_no_proof(bench):
    """Nothing to follow it by: told, and due again."""
    bench.api.run_plugin = lambda _pk, _data: {"status": "pending", "ticket": "t-1"}
    report = bench.apply(plugin(), release(verify=PAGE))
    assert report.exit_code == 3
    assert "contains neither a job nor a result: the run is queued" in told(report)
    assert "t-1" not in told(report)
    assert bench.plan(plugin(), release(verify=PAGE)).plan.has_changes


PENDING = {"__synapse_deferred__": True, "status": "pending", "ticket": "t1-77"}
SERVE = {"action": "inference", "params": {"model": 9, "q": 1}, "timeout": 30, "poll_interval": 5}


def answer_in_turn(bench, *answers):
    """Let runs be answered with these, in turn; errors are raised. Gives what was sent."""
    sent, left = [], list(answers)

    def run_plugin(_pk, data):
        sent.append(data)
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    bench.api.run_plugin = run_plugin
    return sent


def test_a_ticket_is_polled_until_the_result_is_there(bench):
    """A question that was lost or not taken is asked again; the result ends the verification."""
    lost = ServerFault("502", status_code=502, effect=Effect.UNKNOWN)
    limited = RateLimited("429", status_code=429, effect=Effect.NONE)
    sent = answer_in_turn(bench, PENDING, PENDING, lost, limited, {"labels": 3})
    assert bench.apply(plugin(), release(verify=SERVE)).exit_code == 0
    assert last(bench).result is RunStatus.PASSED
    question = {"model": 9, "method": "post", "json": {"__synapse_poll__": "t1-77"}}
    assert [data["params"] for data in sent[1:]] == [question] * 4
    assert {data["version"] for data in sent} == {"1.0.0"}
    assert bench.clock.waited == pytest.approx(20.0)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (PENDING, "cannot be followed further"),
        ({**PENDING, "status": "not_found"}, "failed"),
        ({**PENDING, "status": "failed", "error": "x"}, "failed"),
        (refused(400, {"params": ["no"]}), "cannot be followed further"),
    ],
)
def test_a_ticket_that_leads_to_no_result_proves_nothing(bench, answer, words):
    """Its time is over, its process lost it, or nobody may ask: told, and due again."""
    answer_in_turn(bench, PENDING, answer)
    report = bench.apply(plugin(), release(verify=SERVE))
    assert report.exit_code == 3
    assert words in told(report)
    assert last(bench).result is RunStatus.FAILED
    assert bench.plan(plugin(), release(verify=SERVE)).plan.has_changes


def test_a_stop_before_the_result_of_a_ticket_is_no_failure(bench):
    """Nobody saw how it ended: that is recorded, said, and the next apply runs it again."""
    sent = answer_in_turn(bench, PENDING)
    report = bench.apply(plugin(), release(verify=SERVE), stop=lambda: 2 if sent else 0)
    assert report.exit_code == 7
    assert "no result when this command was stopped" in told(report)
    assert last(bench).result is RunStatus.UNKNOWN
    (change,) = bench.plan(plugin(), release(verify=SERVE)).plan.changes_to_verify
    assert change.verification.reason == "the result of its last run is unknown"


@pytest.mark.parametrize(
    ("verify", "ticket"),
    [(PAGE, "t"), (SERVE, ""), (SERVE, "x" * 201), (SERVE, {"a": 1}), (SERVE, None)],
)
def test_what_is_no_ticket_starts_no_second_run(bench, verify, ticket):
    """Nor is the page's form asked again, which knows no such questions."""
    sent = answer_in_turn(bench, {**PENDING, "ticket": ticket})
    assert bench.apply(plugin(), release(verify=verify)).exit_code == 3
    assert len(sent) == 1


@pytest.mark.parametrize(
    ("fields", "verify", "words"),
    [
        ({"action": ["required"]}, PAGE, "This backend requires an action"),
        ({"action": ["x"], "agent": ["y"]}, PAGE, "This backend requires an action and an agent"),
        ({"agent": ["y"]}, {"action": "test"}, "This backend requires an agent"),
        ({"action": ["no choice"]}, {"action": "test"}, "The verification was refused"),
        ({"params": ["q"]}, {"action": "test"}, "The verification was refused"),
    ],
)
def test_a_refusal_for_want_of_an_action_says_so(bench, fields, verify, words):
    """What was not sent is wanted; what was sent and named is wrong."""
    bench.api.fail("run_plugin", refused(400, fields))
    report = bench.apply(plugin(), release(verify=verify))
    assert report.exit_code == 3
    (found,) = run_of(report).diagnostics
    assert found.summary == words
    assert ("If the parameters are wrong" in (found.hint or "")) == ("refused" in words)


def test_a_failed_job_without_a_log_says_so(bench):
    """404 of the log of a job that is there."""
    bench.api.story = ["failed"]
    bench.api.fail("iterate_job_console_logs", refused(404))
    assert run_of(bench.apply(plugin(), release(verify=PAGE))).logs == (
        "(the backend has no log of it)",
    )
