"""Jobs: listed, shown, followed and reported on, in the words of either kind of server."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from e2e.jobs.conftest import Place, documents
from e2e.scenarios.workplace import TOKEN

from synapse_apply import SynapseApplyError, open_target


@pytest.fixture
def three(place: Place) -> Place:
    """A job that completed long ago, one that failed, one that goes on."""
    place.job(seconds=0)
    place.move_clock(86_400.0)
    place.job(seconds=0, outcome="failed")
    place.job(seconds=3600, log_lines=7200)
    return place


def ids(place: Place, *options: str) -> list[str]:
    text = place.run("get", "jobs", *options).stdout
    return [line.split()[0] for line in text.splitlines()[1:]]


def test_a_table_of_all_jobs(three: Place) -> None:
    """The newest first; columns for who reads it."""
    head, first, *_, last = three.run("get", "jobs").stdout.splitlines()
    assert head.split() == ["ID", "STATUS", "PROGRESS", "PLUGIN", "VERSION", "CREATED", "ENDED"]
    assert first.split()[:4] == ["3", "queued", "0%", "1"]
    assert last.split()[:4] == ["1", "completed", "100%", "1"]


@pytest.mark.parametrize("vocabulary", ["page", "platform"])
def test_filters(three: Place, vocabulary: str) -> None:
    """In the words of either vocabulary, whichever the server writes."""
    three.server.switch(status_words=vocabulary)
    for options, found in {
        "--status completed": ["1"],
        "--status SUCCEEDED": ["1"],
        "--status Failed": ["2"],
        "--status pending": ["3"],
        "--plugin yolo --limit 2": ["3", "2"],
        "--plugin id=1 --user 1": ["3", "2", "1"],
        "--user 7": [],
        "--status stopped": [],
    }.items():
        assert ids(three, *options.split()) == found, options
    assert {job["status"] for job in json.loads(three.run("get", "jobs", "--json").stdout)["jobs"]
            } == {"queued", "failed", "completed"}  # fmt: skip


def test_jobs_of_the_last_days(three: Place) -> None:
    """By a span, by a date, by a time."""
    tomorrow = datetime.now(UTC) + timedelta(hours=20)
    assert ids(three, "--created-after", f"{tomorrow:%Y-%m-%dT%H:%M:%SZ}") == ["3", "2"]
    assert ids(three, "--created-after", f"{tomorrow.astimezone():%Y-%m-%dT%H:%M:%S}") == ["3", "2"]
    assert ids(three, "--created-after", "1h") == ["3", "2", "1"]
    assert ids(three, "--created-after", "2999-01-01") == []


def test_times_are_in_the_zone_of_all_other_commands(three: Place) -> None:
    """In UTC, whatever zone the server writes; JSON has what it wrote."""
    three.server.switch(job_fields="platform")
    (written, *_) = json.loads(three.run("get", "jobs", "--json").stdout)["jobs"]
    assert written["created"].endswith("+09:00")
    moment = datetime.fromisoformat(written["created"]).astimezone(UTC)
    row = three.run("get", "jobs").stdout.splitlines()[1]
    assert f" {moment:%Y-%m-%dT%H:%M:%SZ}" in row
    assert "+09:00" not in row


def test_every_page_is_taken_and_no_more_than_needed(place: Place) -> None:
    """All of 250 jobs; with a limit the pages after it are not asked for."""
    for _ in range(250):
        place.job(seconds=0)
    assert len(ids(place)) == 250
    place.server.call("DELETE", "_emulator/requests/")
    assert len(ids(place, "--limit", "150")) == 150
    counts = place.server.call("GET", "_emulator/requests/")["counts"]
    assert counts["GET /jobs/"] == 2


def test_no_job_is_no_error(place: Place) -> None:
    """A word on stderr, nothing on stdout; an empty list as JSON."""
    done = place.run("get", "jobs")
    assert (done.stdout, done.stderr) == ("", "No job matches.\n")
    assert json.loads(place.run("get", "jobs", "--json").stdout) == {"jobs": []}


def test_no_job_of_a_plugin_that_may_not_be_there(place: Place) -> None:
    """Whoever mistyped the plugin is not told of jobs alone."""
    done = place.run("get", "jobs", "--plugin", "nope")
    assert done.stderr == "The plugin has no such jobs, or does not exist.\n"


def test_no_job_of_a_plugin_that_is_not_there(place: Place) -> None:
    """An id is always looked up, a name where the backend lists plugins: no list is no answer."""
    assert "There is no such plugin" in place.run("get", "jobs", "--plugin", "id=99", code=1).stderr
    place.server.switch(plugin_list="list")
    assert "There is no such plugin" in place.run("get", "jobs", "--plugin", "nope", code=1).stderr


def test_one_job(three: Place) -> None:
    """As text with its log, and as a document with the server's own words beside ours."""
    three.server.switch(status_words="platform")
    text = three.run("get", "job", "2", "--expand", "logs,result").stdout
    assert text.startswith('# job 2: failed\njob "2" {\n')
    assert text.endswith("] error: failed on request\n")
    document = json.loads(three.run("get", "job", "2", "--expand", "metrics", "--json").stdout)
    assert (document["status"], document["raw"]["status"]) == ("failed", "FAILED")
    assert document["raw"]["metrics"] == {}


@pytest.mark.parametrize("command", ["get job", "jobs logs", "jobs logs --follow"])
def test_a_job_that_is_not_there(place: Place, command: str) -> None:
    """In words, with the request id."""
    group, name, *more = command.split()
    done = place.run(group, name, "77", *more, code=1)
    assert "There is no such job" in done.stderr
    assert "Request id: " in done.stderr
    document = json.loads(place.run(group, name, "77", *more, "--json", code=1).stdout)
    assert document["diagnostics"][0]["request_id"]


def test_an_id_that_no_job_can_have(place: Place) -> None:
    """It is not sent."""
    assert "This is not the id of a job" in place.run("get", "job", "../plugins", code=1).stderr


def test_a_log(place: Place) -> None:
    """Whole, its last lines, and as JSON lines."""
    job = place.job(seconds=0, log_lines=30)
    lines = place.run("jobs", "logs", job).stdout.splitlines()
    assert [line.partition(" info: ")[2] for line in lines] == [
        f"step {number} of 30" for number in range(1, 31)
    ]
    assert place.run("jobs", "logs", job, "--tail", "2").stdout.splitlines() == lines[-2:]
    found = documents(place.run("jobs", "logs", job, "--json").stdout)
    assert [set(one) for one in found] == [{"timestamp", "level", "message"}] * 30
    place.server.switch(console_logs="lines")
    assert documents(place.run("jobs", "logs", job, "--json").stdout)[0] == {
        "message": "step 1 of 30"
    }


@pytest.mark.parametrize(
    "switches",
    [{}, {"tail": "none"}, {"console_logs": "lines"}, {"console_logs": "timed"}],
    ids=str,
)
def test_a_log_that_is_followed(serve: Callable[..., Place], switches: dict[str, str]) -> None:
    """Whatever the server has: the lines, and the exit code of the job's end."""
    place = serve(**switches)
    place.plugin()
    job = place.job(seconds=1.5, log_lines=20, outcome="failed")
    with place.start("jobs", "logs", job, "-f", "--interval", "0.3", "--json") as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    messages = [line["message"] for line in documents(out)]
    if switches.get("console_logs") == "timed":
        messages = [message.partition("Z ")[2] for message in messages]
    assert messages == [
        *(f"step {number} of 20" for number in range(1, 21)), "failed on request",
    ]  # fmt: skip
    assert err == "Job 1 failed: execution_error: failed on request.\n"


def test_the_last_lines_and_what_follows(place: Place) -> None:
    """As `tail -f`: the last ones are those of the moment at which they are asked for."""
    began = time.monotonic()
    job = place.job(seconds=3600, log_lines=3600)
    place.move_clock(1800.5)
    with place.start("jobs", "logs", job, "--tail", "2", "--follow") as process:
        assert process.stdout is not None
        found = [process.stdout.readline() for _ in range(2)]
        took = time.monotonic() - began
        place.move_clock(4000)
        found += process.stdout.read().splitlines()
        assert process.wait(60) == 0
    numbers = [int(line.split("step ")[1].split()[0]) for line in found]
    assert numbers == list(range(numbers[0], 3601))
    assert 1799 <= numbers[0] <= 1800 + took


def test_a_reader_that_goes_away(place: Place) -> None:
    """`| head` ends it without a word."""
    job = place.job(seconds=0, log_lines=20_000)
    with place.start("jobs", "logs", job) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(60) == 141
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_lines_that_would_steer_a_terminal_or_a_build(place: Place) -> None:
    """They are shown, not obeyed."""
    job = place.job(seconds=0, log_lines=0)
    place.server.call("PATCH", f"jobs/{job}/", {"console_logs": [
        {"level": "", "message": "::set-output name=x::y\n\x1b[31mred\r\n\ttabbed"}]})  # fmt: skip
    text = place.run("jobs", "logs", job).stdout
    assert "\x1b" not in text
    assert [line.partition("] ")[2] for line in text.splitlines()] == [
        "::set-output name=x::y", "\\u001b[31mred", "    tabbed",
    ]  # fmt: skip


@pytest.mark.parametrize("vocabulary", ["page", "platform"])
def test_an_update_in_the_words_of_its_server(three: Place, vocabulary: str) -> None:
    """Status, progress, result and metadata; what the platform keeps beside them stays."""
    three.server.switch(status_words=vocabulary)
    three.server.call("PATCH", "jobs/3/", {"meta": {"queue": 1}, "progress_record": {"epoch": 2}})
    with open_target(folder=three.root, environ={"PROD_TOKEN": TOKEN}) as target:
        status = type(target.jobs.read_job("3").status)
        target.jobs.update_job("3", status=status.RUNNING, progress=75, metadata={"step": 2})
        job = three.server.call("GET", "jobs/3/")
        assert job["status"].lower() == "running"
        if vocabulary == "platform":
            assert job["meta"] == {"queue": 1, "step": 2}
            assert job["progress_record"] == {"epoch": 2, "current_progress": {"overall": 75.0}}
        else:
            assert (job["metadata"], job["progress"]) == ({"step": 2}, 75)
        done = target.jobs.update_job("3", status=status.COMPLETED, result=[1])
        assert done.status is status.COMPLETED
        assert three.server.call("GET", "jobs/3/")["result"] == [1]
        with pytest.raises(SynapseApplyError) as refused:
            target.jobs.update_job("3", status=status.FAILED)
        (finding,) = refused.value.diagnostics
        assert 'A job that is "completed" cannot become "failed"' in finding.detail


def test_an_update_whose_answer_was_lost(three: Place) -> None:
    """It is sent once, and the error says how to look."""
    rule = {"match": {"method": "PATCH"}, "do": {"reset": "after"}}
    three.server.call("PUT", "_emulator/faults/", {"rules": [rule]})
    with (
        open_target(folder=three.root, environ={"PROD_TOKEN": TOKEN}) as target,
        pytest.raises(SynapseApplyError) as lost,
    ):
        target.jobs.update_job("3", progress=5)
    assert "`synapse-apply get job 3`" in str(lost.value.diagnostics[0].hint)
    assert three.server.call("GET", "_emulator/faults/")["counts"][0]["done"] == 1


def test_a_backend_that_is_away_for_a_while(serve: Callable[..., Place]) -> None:
    """A follower waits for it longer than one call would, and goes on where it was."""
    cut = {"match": {"path": "/jobs/*/console_logs/", "nth": 1}, "do": {"truncate": 1000}}
    away = {"match": {"path": "/jobs/*", "from": 4, "to": 8}, "do": {"reset": "before"}}
    place = serve({"rules": [cut, away]})
    place.plugin()
    job = place.job(seconds=2, log_lines=40)
    done = place.run("jobs", "logs", job, "--follow", "--interval", "0.3")
    assert [line.partition(" info: ")[2] for line in done.stdout.splitlines()] == [
        f"step {number} of 40" for number in range(1, 41)
    ]
    assert [rule["done"] for rule in place.embedded.backend.fault_schedule.as_dict()["counts"]] == [
        1,
        5,
    ]


def test_a_followed_job_costs_few_requests(place: Place) -> None:
    """The log is read about once a second, and the job at its own interval; nothing else is."""
    job = place.job(seconds=3, log_lines=300)
    place.server.call("DELETE", "_emulator/requests/")
    done = place.run("jobs", "logs", job, "--follow", "--interval", "1")
    assert len(done.stdout.splitlines()) == 300
    counts = place.server.call("GET", "_emulator/requests/")["counts"]
    assert counts.pop("GET /jobs/{id}/console_logs/") <= 6
    assert counts.pop("GET /jobs/{id}/") <= 6
    assert not any("/jobs/" in route for route in counts)


def test_a_server_that_lists_no_logs(serve: Callable[..., Place]) -> None:
    """A word on stderr; the job is followed to its end all the same."""
    rule = {"match": {"path": "/jobs/*/console_logs/"}, "do": {"status": 405}}
    place = serve({"rules": [rule]})
    place.plugin()
    done = place.run("jobs", "logs", place.job(seconds=0.3), "--follow", "--interval", "0.3")
    assert (done.stdout, done.stderr) == ("", "This server does not return the logs of jobs.\n")
