"""Verification runs among permitted rows: one job, whenever the permit ends."""

from __future__ import annotations

from dataclasses import replace

from fault.convergence import on_api, some
from fault.permitted import CountingPermit, apply_permitted
from fault.site import MakeSite, Server, Site

from synapse_apply import open_state
from synapse_apply.library.plan_rows import PermittedRows
from synapse_apply.model.address import Address
from synapse_apply.model.job import LastRun, RunStatus
from synapse_apply.model.report import Result

RELEASE = Address.parse("release/plugin-0@1.0.0")


def jobs(server: Server) -> list[str]:
    return [str(job["id"]) for job in server.send("GET", "/jobs/")["results"]]


def last(site: Site) -> LastRun | None:
    with open_state(site.where()) as state:
        record = state.store.find_record(RELEASE)
    return LastRun.from_json_or_none(record.verification) if record else None


@on_api("v1")
def test_a_run_ends_with_the_permit(verified: MakeSite, server: Server) -> None:
    """It is started with a permit alone; what was started is followed by an apply without one."""
    whole = CountingPermit()
    assert apply_permitted(verified("returned"), permit=whole).report.exit_code == 0
    assert len(jobs(server)) == 1
    for questions in some(whole.asked, 5, turn=2):
        site = verified("returned")
        made = apply_permitted(site, permit=CountingPermit(questions - 1))
        started = len(jobs(server))
        (run,) = made.report.verification_results
        expected = {RunStatus.RUNNING, RunStatus.PASSED} if started else {RunStatus.SKIPPED}
        assert run.status in expected, questions
        assert site.open_intents() == []
        for outcome in made.report.outcomes:
            assert outcome.result in {Result.DONE, Result.SKIPPED}
        if started:
            # Only to be followed, or over: that asks for no permission.
            apply_permitted(site, lambda _plan: PermittedRows(), run_id="run-2")
        else:
            again = apply_permitted(site, run_id="run-2")
            assert again.report.exit_code == 0
        found = last(site)
        assert found is not None
        assert (found.result, [found.job]) == (RunStatus.PASSED, jobs(server))


@on_api("v1")
def test_the_approval_of_a_run_is_used_with_its_announcement(
    verified: MakeSite, server: Server
) -> None:
    """A second run by the same approval is not started."""
    whole = CountingPermit()
    apply_permitted(verified("returned"), permit=whole)
    for questions in range(whole.asked, 0, -1):
        site = verified("returned")
        apply_permitted(site, permit=CountingPermit(questions))
        if not jobs(server):
            break
    # What is made before the run is there.
    assert last(site) is None
    assert str(RELEASE) in server.ids()
    made = apply_permitted(site, run_id="run-2")
    assert made.report.exit_code == 0
    assert len(jobs(server)) == 1
    # As if it had never been run: the same row is planned once more.
    with open_state(site.where()) as state, state.store.lock("test"):
        record = state.store.find_record(RELEASE)
        assert record is not None
        state.store.write_records(replace(record, verification=None))
    again = apply_permitted(site, run_id="run-3")
    (run,) = again.report.verification_results
    assert run.status is RunStatus.FAILED
    assert [finding.summary for finding in run.diagnostics] == ["The approval was already used"]
    assert len(jobs(server)) == 1
