"""Runs that are killed, lost or interrupted: however it ends, one job is started and followed."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest
from fault.commands import FOREVER, applying, ended, kill, kill_amid, reaches
from fault.convergence import command, on_api
from fault.site import LATER, SEPARATOR, Applied, MakeSite, Server, Site, pending
from profiles import PAGE

from synapse_apply import open_state

AT = "release/plugin-0@1.0.0"
RUN = {"method": "POST", "path": "/plugins/*/run/"}
LOOK = {"method": "GET", "path": "/jobs/*/"}
CONTEXTS = pytest.mark.parametrize("context", ["returned", "none"])


def last(site: Site) -> dict[str, str]:
    """The run that the state has of the release; {} without one."""
    with open_state(site.where()) as state:
        records = state.store.read_state().records
    recorded = {str(address): record.verification for address, record in records.items()}
    return dict(recorded.get(AT) or {})


def jobs(server: Server) -> list[str]:
    """Their ids as the API has them, which on the vendor's are no numbers."""
    return [str(job["id"]) for job in server.send("GET", "/jobs/")["results"]]


def is_done(site: Site, server: Server, applied: Applied) -> None:
    """One job, followed to its end, and nothing left to do."""
    assert applied.code == 0, (pending(applied.plan), applied.report)
    found = last(site)
    assert (found["result"], [found["job"]]) == ("passed", jobs(server))
    assert site.open_intents() == []
    assert not site.plan().has_changes


@on_api("v1")
@CONTEXTS
def test_killed_between_run_and_poll(context: str, verified: MakeSite, server: Server) -> None:
    """The installed command dies at its first look: the next apply follows the same job."""
    site = verified(context)
    kill_amid(site, LOOK)
    found = last(site)
    assert (found["result"], [found["job"]]) == ("running", jobs(server))
    assert [
        change.verification.job for change in site.plan().changes_to_verify if change.verification
    ] == [found["job"]]
    is_done(site, server, site.apply())


@on_api("v1")
@CONTEXTS
@pytest.mark.parametrize("commit", ["before", "after"])
def test_killed_while_the_run_is_sent(
    commit: str, context: str, verified: MakeSite, server: Server
) -> None:
    """The server did or did not start it, and nobody got the answer: never a second job."""
    site = verified(context)
    server.faults({"match": RUN, "do": {"hang": FOREVER, "commit": commit}})
    with applying(site) as process:
        reaches(server, process)
        assert kill(process)
    settles(site, server, context, started=commit == "after")


LOST: list[dict[str, Any]] = [
    {"reset": "after"},
    {"truncate": 0},
    {"status": 502, "commit": "after"},
    {"status": 500, "commit": "before"},
]


@on_api("v1")
@CONTEXTS
@pytest.mark.parametrize("deed", LOST, ids=str)
def test_a_lost_answer_of_the_run(
    deed: dict[str, Any], context: str, verified: MakeSite, server: Server
) -> None:
    """Found at once where the mark comes back, else settled as the plan says; one job only."""
    site = verified(context)
    server.faults({"match": RUN, "do": deed})
    first = site.apply()
    started = deed.get("commit") != "before"
    if started and comes_back(server, context):
        is_done(site, server, first)
        return
    assert first.code == 7
    settles(site, server, context, started=started)


def comes_back(server: Server, context: str) -> bool:
    """Whether a job tells the mark of its run: the vendor's form of a run has no place for one."""
    return context == "returned" and server.profile == PAGE


def settles(site: Site, server: Server, context: str, *, started: bool) -> None:
    """By itself where the backend can tell, else by a command that the plan prints."""
    server.faults()
    assert len(jobs(server)) == started
    second = site.apply(ahead=LATER)
    if started and not comes_back(server, context):
        assert second.code == 7
        assert len(jobs(server)) == 1
        (refused,) = second.plan.refused_changes
        way = next(way for way in refused.refusals[0].ways_out if "--job" in way)
        typed = way.partition("`synapse-apply ")[2].rstrip("`")
        assert "The next apply follows it." in command(
            site, typed.replace(" ID", f" {jobs(server)[0]}")
        )
        second = site.apply()
    is_done(site, server, second)


def test_429_is_sent_again(verified: MakeSite, server: Server) -> None:
    """It was not acted on, so sending it again starts the only job."""
    site = verified("none")
    server.faults({"match": {**RUN, "nth": 1}, "do": {"status": 429, "retry_after": 0}})
    is_done(site, server, site.apply())


@pytest.mark.parametrize("status", [400, 404])
def test_what_the_server_refuses_stops(status: int, verified: MakeSite, server: Server) -> None:
    """Nothing is sent again, nothing stays open, and the next apply may run it."""
    site = verified("none")
    server.faults({"match": RUN, "do": {"status": status}})
    assert site.apply().code == 3
    assert server.counts()[0]["done"] == 1
    assert (jobs(server), site.open_intents()) == ([], [])
    server.faults()
    is_done(site, server, site.apply())


@pytest.mark.usefixtures("with_ctrl_c")
def test_ctrl_c_while_a_job_is_followed(verified: MakeSite, server: Server) -> None:
    """130 at once, the job stays recorded as running, and the next apply follows it."""
    site = verified("returned", seconds=3600)
    server.faults({"match": {**LOOK, "nth": 2}, "do": {"latency": 1}})
    with applying(site) as process:
        reaches(server, process)
        process.send_signal(signal.SIGINT)
        code, out, err = ended(process)
    assert code == 130, (out, err)
    (run,) = json.loads(out)["verifications"]
    assert (run["result"], [run["job"]]) == ("running", jobs(server))
    assert "Outcome unknown" not in err
    server.send("PATCH", f"/jobs/{run['job']}/", {"status": "completed"})
    is_done(site, server, site.apply())


@pytest.mark.parametrize("wrong", ["of another plugin", "older", "a little older", "not there"])
def test_a_job_that_cannot_be_that_of_the_run_is_not_taken(
    wrong: str, verified: MakeSite, server: Server
) -> None:
    """What it proves is signed for the release, and may let it into other targets."""
    site = verified("none")
    server.faults({"match": RUN, "do": {"reset": "before"}})
    ahead = {"older": LATER, "a little older": 60.0}.get(wrong, 0.0)
    assert site.apply(ahead=ahead).code == 7
    if wrong == "a little older":  # by less than clocks may differ, and this machine sent it
        project = site.root / "synapse-apply.yaml"
        content = json.loads(project.read_text())
        content["targets"]["site"]["settle_after"] = 600
        project.write_text(json.dumps(content))
    server.faults()
    job = "999"
    if wrong != "not there":
        plugin = next(row for row in server.objects("plugin") if row["body"]["code"] == "plugin-0")
        ran = plugin["id"]
        if wrong == "of another plugin":
            ran = server.send("POST", "/plugins/", {**plugin["body"], "code": "other"})["id"]
        run = {"emulator": {"seconds": 0}}
        form = {"parameters": run} if server.profile == PAGE else {"action": "test", "params": run}
        job = str(server.send("POST", f"/plugins/{ran}/run/", form)["job_id"])
    said = command(site, f"state settle {AT} --job {job} -t site", code=1)
    assert "This job belongs to a different run" in said
    assert f"`synapse-apply state settle {AT} --absent -t site`" in said
    assert list(map(str, site.open_intents())) == [AT]


@on_api("v1")
@CONTEXTS
@pytest.mark.parametrize("started", [False, True])
def test_a_restored_backup_does_not_forget_an_open_run(
    context: str, verified: MakeSite, server: Server, *, started: bool
) -> None:
    """Another would be started beside it."""
    site = verified(context)
    manifest = site.root / "manifests" / "group-0.yaml"
    documents = [json.loads(text) for text in manifest.read_text().split(SEPARATOR)]
    run = documents[1]["spec"].pop("verify")
    manifest.write_text(SEPARATOR.join(map(json.dumps, documents)))
    assert site.apply().code == 0
    backup = site.root.with_name(f"before-{context}-{started}.db")
    command(site, f"state backup {backup} -t site")
    documents[1]["spec"]["verify"] = run
    manifest.write_text(SEPARATOR.join(map(json.dumps, documents)))
    match = {"match": RUN, "do": {"hang": FOREVER, "commit": "after" if started else "before"}}
    server.faults(match)
    with applying(site) as process:
        reaches(server, process)
        assert kill(process)
    said = command(site, f"state restore {backup} --auto-approve -t site")
    assert f"run of {AT} (call " in said
    assert list(map(str, site.open_intents())) == [AT]
    if not started:
        server.faults()
        assert site.apply().code == 7
        assert jobs(server) == []
    settles(site, server, context, started=started)


def test_of_two_open_runs_the_one_that_may_have_started_the_job_is_settled(
    verified: MakeSite, server: Server
) -> None:
    """After a backup from before the first was settled: `--job` is for one, `--absent` for all."""
    site = verified("none")
    server.faults({"match": RUN, "do": {"reset": "before"}})
    assert site.apply().code == 7
    backup = site.root.with_name("with-a-run.db")
    command(site, f"state backup {backup} -t site")
    (first,) = opened(site)
    command(site, f"state settle {AT} --absent -t site")
    server.faults({"match": RUN, "do": {"reset": "after"}})
    assert site.apply().code == 7
    server.faults()
    (second,) = opened(site)
    command(site, f"state restore {backup} --auto-approve -t site")
    assert {*opened(site)} == {first, second}
    (job,) = jobs(server)
    assert "The next apply follows it." in command(site, f"state settle {AT} --job {job} -t site")
    assert opened(site) == [first]
    command(site, f"state settle {AT} --absent -t site")
    is_done(site, server, site.apply())


def opened(site: Site) -> list[str]:
    """The ids of its open calls."""
    with open_state(site.where()) as state:
        return [intent.id for intent in state.store.read_state().open_intents]
