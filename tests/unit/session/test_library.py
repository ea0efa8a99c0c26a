"""`open_target`: what is approved is what is done, whoever else works on the state."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Barrier

import pytest
from answering import answering
from failing import fails
from installed import variables

from synapse_apply import ApplyObserver, Invocation, OpenTarget, Plan, open_state, open_target


@pytest.fixture
def target(folder: Path) -> Iterator[OpenTarget]:
    with opened(folder) as opened_target:
        yield opened_target


def opened(folder: Path, **options: float):
    environ = variables(folder / "example.env")
    return open_target("embedded", folder=folder, environ=environ, **options)


class Recorder(ApplyObserver):
    """Notes the plans and reports that it is told of."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.replaced: list[Plan] = []
        self.reports: list[object] = []

    def show_plan(self, plan: Plan) -> None:
        self.plans.append(plan)

    def show_changed_plan(self, plan: Plan) -> None:
        self.replaced.append(plan)

    def show_report(self, report: object) -> None:
        self.reports.append(report)


def test_a_plan_is_applied_as_it_is(target: OpenTarget, capfd: pytest.CaptureFixture[str]) -> None:
    """Once; then nothing is left to do, and nothing was printed."""
    recorder = Recorder()
    report = target.apply(target.plan(), observer=recorder)
    assert report.exit_code == 0
    assert len(report.outcomes) == 4
    assert recorder.reports == [report]
    assert not target.plan().has_changes
    assert [run.plan_id for run in target.history()] == [report.plan.id]
    assert capfd.readouterr() == ("", "")


def test_a_plan_is_not_changed(target: OpenTarget) -> None:
    """Else what was approved could become another plan before it is applied."""
    plan = target.plan()
    for name in ("changes", "guards", "diagnostics", "id", "has_errors", "nothing"):
        with pytest.raises(AttributeError):
            setattr(plan, name, ())
    assert replace(plan, guards=()).changes == plan.changes


def test_plans_of_months_are_forgotten(target: OpenTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest ones can be applied; an older one is to be made again."""
    monkeypatch.setattr("synapse_apply.library.target._MAX_REMEMBERED_PLANS", 2)
    plans = [target.plan() for _ in range(3)]
    with fails("InputError", match="does not come from this target object"):
        target.apply(plans[0])
    assert target.apply(plans[1]).exit_code == 0


def test_a_write_that_changes_nothing_of_the_plan_does_not_stop_it(
    target: OpenTarget, folder: Path
) -> None:
    """It is made anew under the lock, and says the same."""
    plan = target.plan(only=["storage/raw-data"])
    with opened(folder) as other:
        other.apply(auto_approve=True, only=["storage/results"])
    report = target.apply(plan)
    assert report.exit_code == 0
    assert report.plan.id != plan.id
    assert report.plan.changes == plan.changes


def test_a_plan_that_is_not_true_any_more_is_not_applied(target: OpenTarget, folder: Path) -> None:
    """Another run did a part of it; the error has the plan that it stops."""
    plan = target.plan()
    with opened(folder) as other:
        other.apply(auto_approve=True, only=["storage/results"])
    with fails("Stale") as caught:
        target.apply(plan)
    assert caught.value.plan is not None
    assert caught.value.plan.changes == plan.changes
    assert target.plan().summary.add == 3


def test_who_can_be_asked_is_asked_again(target: OpenTarget, folder: Path) -> None:
    """With the plan that is true now, and what is approved then is done."""
    asked: list[int] = []

    def confirm(plan: Plan) -> bool:
        asked.append(plan.summary.add)
        if len(asked) == 1:
            with opened(folder) as other:
                other.apply(auto_approve=True, only=["storage/results"])
        return True

    recorder = Recorder()
    report = target.apply(confirm=confirm, observer=recorder)
    assert asked == [4, 3]
    assert len(report.outcomes) == 3
    assert [plan.summary.add for plan in recorder.replaced] == [3]


def test_a_given_plan_is_asked_for_again_too(target: OpenTarget, folder: Path) -> None:
    """In place of Stale; a no to the new one ends it."""
    plan = target.plan()
    with opened(folder) as other:
        other.apply(auto_approve=True, only=["storage/results"])
    answers = [True, False]
    with fails("NotApproved"):
        target.apply(plan, confirm=lambda _plan: answers.pop(0))
    assert answers == []
    assert target.plan().summary.add == 3


def test_a_no_sends_nothing(target: OpenTarget) -> None:
    with fails("NotApproved"):
        target.apply(confirm=lambda _plan: False)
    assert target.plan().summary.add == 4


def test_nothing_to_do_is_not_asked_for(target: OpenTarget) -> None:
    target.apply(auto_approve=True)
    assert target.apply(confirm=lambda _plan: False).exit_code == 0


def test_somebody_has_to_approve(target: OpenTarget) -> None:
    """No plan, nobody to ask, no auto_approve: nothing is even read."""
    with fails("NotApproved"):
        target.apply()
    assert target.plan().summary.add == 4


def test_an_older_plan_of_the_same_target_is_applied_with_its_options(target: OpenTarget) -> None:
    """It is not the last one that was made; it is made anew, as it was asked for."""
    older = target.plan(only=["storage/results"])
    target.plan()
    report = target.apply(older)
    assert [str(outcome.address) for outcome in report.outcomes] == ["storage/results"]


def test_options_of_rows_do_not_go_with_a_plan(target: OpenTarget) -> None:
    plan = target.plan()
    with fails("OptionConflict"):
        target.apply(plan, prune=True)
    assert target.apply(plan, only=[], override_guards=set()).exit_code == 0


def test_a_plan_of_another_target_is_refused(target: OpenTarget, folder: Path) -> None:
    with opened(folder) as other:
        plan = other.plan()
    with fails("InputError", match="does not come from this target object"):
        target.apply(plan)
    with fails("InputError", match="does not come from this target object"):
        target.save_plan(plan, "next.plan")


def test_a_state_that_another_run_holds(folder: Path) -> None:
    """For as long as `lock_timeout` says, which is not at all here."""
    with opened(folder, lock_timeout=0.0) as target:
        plan = target.plan()
        with (
            open_state(Invocation(folder, target="embedded", environ={})) as session,
            session.lock_state_of_own_project("another"),
            fails("LockHeld") as caught,
        ):
            target.apply(plan)
        assert caught.value.exit_code == 6
        assert target.apply(plan).exit_code == 0


def test_a_saved_plan_is_used_once(target: OpenTarget, folder: Path) -> None:
    """By any target of the project that has its state."""
    target.save_plan(target.plan(), "next.plan")
    environ = variables(folder / "example.env")
    with open_target(folder=folder, environ=environ) as other:
        assert other.apply_saved("next.plan").exit_code == 0
        with fails("Stale", match="already applied"):
            other.apply_saved("next.plan")
    assert not target.plan().has_changes


def test_reviewed_plans_are_one_apply(target: OpenTarget) -> None:
    """Rows that none of them has are refused."""
    for kind in ("storage/raw-data", "storage/results"):
        target.save_plan(target.plan(only=[kind]), f"{kind[8:]}.plan")
    plans = target.read_reviewed_plans(["raw-data.plan", "results.plan"])
    report = target.apply_saved(plans)
    assert {str(outcome.address) for outcome in report.outcomes} == {
        "storage/raw-data",
        "storage/results",
    }


def test_an_observer_stops_an_apply(target: OpenTarget) -> None:
    """Before the first call: all is skipped, and the report says by which signal."""

    class Stopper(ApplyObserver):
        def read_stop_signal(self) -> int:
            return int(signal.SIGTERM)

    report = target.apply(auto_approve=True, observer=Stopper())
    assert report.exit_code == 143
    assert {outcome.result.value for outcome in report.outcomes} == {"skipped"}
    assert target.plan().summary.add == 4


def test_drift_makes_no_state(target: OpenTarget, folder: Path) -> None:
    """A look first, and an apply by the same object after it."""
    with fails("StateError"):
        target.drift()
    assert not (folder / ".synapse-apply" / "state").exists()
    target.apply(auto_approve=True)
    assert target.drift().objects == ()


def test_a_closed_target_stays_closed(target: OpenTarget) -> None:
    """No method opens it again, whatever was planned before."""
    plan = target.plan()
    state = target.state
    target.close()
    target.close()
    for call in (
        target.plan,
        target.validate,
        target.read_manifests,
        target.drift,
        target.history,
        target.diagnose,
        target.state.read,
        state.list_inventory,
        lambda: target.apply(plan),
        lambda: target.apply(auto_approve=True),
        lambda: target.plan_offline("git:HEAD"),
        lambda: target.save_plan(plan, "next.plan"),
        lambda: target.require_unused_file("next.plan"),
        lambda: target.read_saved_plan("next.plan"),
        lambda: target.read_reviewed_plans(["next.plan"]),
        lambda: target.apply_saved("next.plan"),
        lambda: target.write_drift(["results"]),
        lambda: target.import_objects({"results": "1"}),
        lambda: target.find_run("1"),
        lambda: target.verify(["release"]),
        lambda: target.compare_published_bytes(["release"]),
        lambda: state.find_record("results"),
        lambda: state.write_backup("copy.db"),
        lambda: state.forget(["results"]),
        lambda: state.rename("results", "storage/outputs"),
    ):
        with fails("InputError", match="This target is closed"):
            call()


def test_a_failed_call_is_an_error_of_this_tool(folder: Path) -> None:
    """Where the method has no finding of a resource to put it in; it has the answer as its cause."""
    refusal = {"X-Request-Id": "r-1"}
    with answering(lambda _: (401, {}, refusal)) as backend:
        with (folder / "synapse-apply.yaml").open("a") as file:
            file.write(f"targets: {{prod: {{url: '{backend.url}', token: {{env: TOKEN}}}}}}\n")
        with (
            open_target("prod", folder=folder, environ={"TOKEN": "a-token"}) as target,
            fails("BackendError") as caught,
        ):
            target.live.list_objects("storage")
    (finding,) = caught.value.diagnostics
    assert (finding.detail, finding.request_id) == ("The backend answered 401.", "r-1")
    assert caught.value.__cause__.status_code == 401


def test_records_are_found_forgotten_and_renamed(target: OpenTarget, folder: Path) -> None:
    """What is recorded, without manifests and without the backend."""
    target.apply(auto_approve=True)
    address = target.state.find_record("results").address
    new_address = address._replace(name="outputs")
    assert target.state.rename("results", new_address) == {address: new_address}
    assert target.state.find_record("outputs").address == new_address
    target.state.write_backup("copy.db")
    assert (folder / "copy.db").stat().st_size > 0
    assert target.state.forget(["storage/*"]) == [
        new_address,
        address._replace(name="raw-data"),
    ]
    kinds = {address.kind for address in target.state.read().records}
    assert kinds == {"plugin", "release"}
    assert len(target.state.list_inventory()) == 2


def test_a_plan_without_a_backend(target: OpenTarget, folder: Path) -> None:
    """Beside what an inventory lists; such a plan is not to be applied."""
    inventory = folder / "inventory.yaml"
    inventory.write_text('inventory: [{address: storage/results, id: "2"}]\n')
    plan = target.plan_offline("state:inventory.yaml")
    assert plan.summary.add == 3
    with fails("InputError", match="does not come from this target object"):
        target.apply(plan)
    with fails("OptionConflict"):
        target.plan_offline("inventory.yaml")
    assert not (folder / ".synapse-apply" / "state").exists()


def test_live_objects_are_imported(target: OpenTarget) -> None:
    """By names or by addresses, which need not have been recorded before."""
    target.apply(auto_approve=True)
    remote_id = target.state.find_record("results").remote_id
    target.state.forget(["storage/results"])
    (record,) = target.import_objects({"results": remote_id})
    assert (str(record.address), record.remote_id) == ("storage/results", remote_id)
    with fails("InputError"):
        target.import_objects({"nothing-of-this-name": "1"})
    assert not target.plan().has_changes


def test_threads_with_a_target_each_do_everything_once(folder: Path) -> None:
    """The lock orders them: one finds nothing left to do."""
    start = Barrier(2)

    def apply_all() -> int:
        with opened(folder, lock_timeout=30.0) as target:
            start.wait(60)
            return len(target.apply(auto_approve=True).outcomes)

    with opened(folder) as first, ThreadPoolExecutor(2) as pool:
        first.plan()  # it serves the embedded backend for as long as it is open
        counts = [pool.submit(apply_all) for _ in range(2)]
        assert sorted(count.result() for count in counts) == [0, 4]


def test_a_plan_that_was_changed_is_never_applied(target: OpenTarget) -> None:
    """A copy with the same id that leaves rows out was neither planned nor shown."""
    plan = target.plan()
    with fails("Stale"):
        target.apply(replace(plan, changes=plan.changes[:1]))
    assert not target.state.read().records
    assert target.apply(plan).exit_code == 0
