"""`OpenTarget.jobs` and `OpenTarget.live`: by hand, beside plans and applies of the same object."""

from __future__ import annotations

from failing import fails

from synapse_apply import OpenTarget


def test_names_are_those_of_the_state_as_it_is(target: OpenTarget) -> None:
    """The state is read again by each method: first there is none, then an apply has made one."""
    with fails("InputError", match="There is no such storage"):
        target.live.find_object("storage", "raw-data")
    assert target.live.list_objects("storage") == []
    target.apply(auto_approve=True)
    live_object = target.live.find_object("storage", "raw-data")
    assert live_object.observed.remote_id == target.state.find_record("raw-data").remote_id
    (release,) = target.live.list_releases("image-processing")
    plugin = target.live.find_plugin_of_release(release)
    assert plugin is not None
    assert plugin.observed.remote_id == target.state.find_record("plugin").remote_id


def test_a_run_is_told_of_before_it_is_noted(target: OpenTarget) -> None:
    """A job whose id is not known could not be found again; the history has the run."""
    target.apply(auto_approve=True)
    started: list[object] = []
    run = target.jobs.run_plugin("image-processing", on_start=started.append)
    assert started == [run]
    assert run.job is not None
    assert target.history(limit=1)[0].call_counts == {"run": 1}
    lines: list[object] = []
    job = target.jobs.follow_log(run.job.id, lines.append, interval=0.1, timeout=30)
    assert job.status.value == "completed"
    assert lines
    assert [listed.id for listed in target.jobs.iter_jobs(status=job.status)] == [job.id]


def test_arguments_that_mean_nothing(target: OpenTarget) -> None:
    for call, text in (
        (lambda: target.live.list_objects("bucket"), "There is no such kind"),
        (lambda: target.jobs.update_job("1"), "There is nothing to report"),
        (lambda: target.jobs.read_job("1", expand=["nope"]), "no such field"),
        (lambda: target.jobs.iter_jobs(limit=0), "limit must be a whole number"),
        (lambda: target.jobs.follow_log("1", print, interval=0), "interval must be a number"),
        (lambda: target.jobs.read_job("1"), "There is no such job"),
        (target.live.check_agents, "declares no agents"),
    ):
        with fails("InputError", match=text):
            call()


def test_jobs_that_are_read_after_the_end(target: OpenTarget) -> None:
    """A closed target reads nothing more, also where a list was begun before."""
    jobs = target.jobs.iter_jobs()
    target.close()
    with fails("InputError", match="This target is closed"):
        next(jobs)
