"""`run`: the id at once, the log while it goes on, the end in the exit code, and never twice."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest
from answering import Asked, answering
from e2e.jobs.conftest import Place
from e2e.scenarios.workplace import Workplace, held

POST = {"method": "POST"}


def fault(place: Place, do: dict[str, Any], **match: Any) -> None:
    place.server.call(
        "PUT", "_emulator/faults/", {"rules": [{"match": {**POST, **match}, "do": do}]}
    )


def jobs(place: Place) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = place.server.call("GET", "jobs/")["results"]
    return found


def test_a_run_in_the_form_of_the_page(place: Place) -> None:
    """JSON where it is JSON, else text; a file of parameters below; the context apart."""
    (place.root / "run.yaml").write_text("format: png\nquality: 0.1\nsizes: [1, 2]\n")
    done = place.run(
        "run", "yolo", "--params-file", "run.yaml", "-p", "quality=0.9", "-p", "name=a b",
        "-p", "zip=007", "-p", "on=true", "--context", "project_id=123",
    )  # fmt: skip
    assert done.stdout == "Job 1 started.\n"
    (job,) = jobs(place)
    assert job["parameters"] == {
        "format": "png", "quality": 0.9, "sizes": [1, 2], "name": "a b", "zip": "007", "on": True,
    }  # fmt: skip
    assert job["context"] == {"project_id": 123}
    assert _sent(place) == ["context", "parameters"]


@pytest.mark.parametrize("how", [["yolo@1.2.0"], ["yolo", "--version", "1.2.0"]])
def test_a_run_in_the_form_of_the_platform(place: Place, how: list[str]) -> None:
    """Its options make it: params, action, agent, version."""
    place.server.call("POST", "plugin_releases/", {"plugin": "yolo", "version": "1.2.0"})
    place.run("run", *how, "--action", "train", "--agent", "4", "-p", "epochs=3")
    (job,) = jobs(place)
    assert (job["action"], job["agent"], job["version"]) == ("train", 4, "1.2.0")
    assert job["params"] == {"epochs": 3}
    assert _sent(place) == ["action", "agent", "params", "version"]


def _sent(place: Place) -> list[str]:
    log = place.server.call("GET", "_emulator/requests/")["last"]
    fields: list[str] = next(one["fields"] for one in log if one["path"].endswith("/run/"))
    return fields


def test_a_followed_run_that_completes(place: Place) -> None:
    """The id first, each line, how it ended, and its result."""
    script = '{"seconds": 0.5, "log_lines": 3}'
    done = place.run("run", "yolo", "-p", f"emulator={script}", "--follow")
    lines = done.stdout.splitlines()
    assert lines[0] == "Job 1 started."
    assert [line.partition("] ")[2] for line in lines[1:4]] == [
        f"info: step {number} of 3" for number in (1, 2, 3)
    ]
    assert lines[4] == "Job 1 completed."
    assert lines[5].startswith("Result: { parameters = ")
    assert done.stderr == ""


def test_a_followed_run_that_fails(place: Place) -> None:
    """Exit 1, with its log and the server's reason."""
    done = place.run("run", "yolo", "-p", "fail=true", "--follow", code=1)
    assert " error: failed on request\n" in done.stdout
    assert done.stdout.endswith("Job 1 failed: execution_error: failed on request.\n")


def test_a_followed_run_as_one_document(place: Place) -> None:
    """stdout is JSON alone; the rest is on stderr."""
    done = place.run("run", "yolo", "-p", "fail=true", "--follow", "--json", code=1)
    document = json.loads(done.stdout)
    assert (document["job_id"], document["job"]["status"]) == ("1", "failed")
    assert done.stderr.startswith("Job 1 started.\n")
    assert json.loads(place.run("run", "yolo", "--json").stdout)["job_id"] == "2"


def test_time_that_is_up(place: Place) -> None:
    """Exit 1; the job goes on, and how to follow it further is said."""
    script = '{"seconds": 3600, "log_lines": 0}'
    done = place.run(
        "run", "yolo", "-p", f"emulator={script}", "--follow", "--timeout", "0.5", code=1
    )
    assert "Job 1 has not ended after 0.5 s: queued (0%). The job continues;" in done.stderr
    assert "`synapse-apply jobs logs 1 --follow`" in done.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_who_stops_watching_is_told_that_the_job_goes_on(
    place: Place, number: signal.Signals, code: int
) -> None:
    """The id is out before anything else, so nothing is lost."""
    script = '{"seconds": 3600}'
    with place.start("run", "yolo", "-p", f"emulator={script}", "--follow") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "Job 1 started.\n"
        # It is following once it has asked for the log.
        wait_for_request(place, process, "console_logs")
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Job 1 continues; follow it with `synapse-apply jobs logs 1 --follow`." in err


@pytest.mark.parametrize("form", [[], ["--json"], ["--follow", "--json"]])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_who_stops_while_the_run_is_sent_is_told_how_to_look_for_its_job(
    place: Place, form: list[str], number: signal.Signals, code: int
) -> None:
    """The server may have started it: no advice to run it again, and the given command finds it."""
    place.run("state", "init")
    fault(place, {"hang": 6, "commit": "after"}, path="/plugins/*run*")
    with place.start("run", "yolo", *form) as process:
        wait_for_request(place, process, "/run/")
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == code
    text = json.loads(out)["diagnostics"][0]["hint"] if form else err
    assert "The job may have been started; the same command would start another." in text
    assert "un the command again" not in out + err
    look = re.search(r"`synapse-apply (get jobs --plugin yolo [^`]+)`", text)
    assert look
    assert re.search(
        r"sent at [\d:]+Z and can start a job until [\dT:-]+Z\. After that, check", text
    )
    place.server.call("PUT", "_emulator/faults/", {"rules": []})
    assert "\n1   " in place.run(*look[1].split()).stdout
    assert "unknown" in place.run("state", "history").stdout


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_who_stops_before_the_run_is_sent_is_told_that_nothing_was(
    place: Place, form: list[str]
) -> None:
    """Then the same command again is right."""
    fault(place, {"hang": 6, "commit": "after"}, method="GET", path="/plugin_releases/*")
    with place.start("run", "yolo", *form) as process:
        wait_for_request(place, process, "/plugin_releases/")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Nothing was sent. Run the command again." in out + err
    place.server.call("PUT", "_emulator/faults/", {"rules": []})
    assert jobs(place) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_who_stops_following_gets_the_id_of_the_job_in_json(
    place: Place, number: signal.Signals, code: int
) -> None:
    """A script that was interrupted knows the job that it started."""
    script = '{"seconds": 3600}'
    with place.start("run", "yolo", "-p", f"emulator={script}", "--follow", "--json") as process:
        wait_for_request(place, process, "console_logs")
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert json.loads(out)["job_id"] == "1"
    assert "follow it with `synapse-apply jobs logs 1 --follow`" in err
    assert "The run was started. The same command would start another run." in err


def wait_for_request(place: Place, process: subprocess.Popen[str], path_part: str) -> None:
    deadline = time.monotonic() + 60
    while not any(path_part in at for at in place.embedded.backend.request_log.counts):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("do", [{"reset": "after"}, {"status": 502, "commit": "after"}])
def test_a_lost_answer_is_never_sent_again(place: Place, do: dict[str, Any]) -> None:
    """Exit 7 with the command that looks, and that command finds the job that was started."""
    fault(place, do)
    done = place.run("run", "yolo", code=7)
    assert done.stdout == ""
    assert "It is unknown whether the run started" in done.stderr
    assert len(jobs(place)) == 1
    look = re.search(r"`synapse-apply (get jobs [^`]+)`", done.stderr)
    assert look
    assert "\n1   " in place.run(*look[1].split()).stdout


def test_a_run_that_certainly_did_not_start(place: Place) -> None:
    """429 was not acted on and is sent again; 400 is told in the server's words."""
    fault(place, {"status": 429, "retry_after": 0}, nth=1)
    assert place.run("run", "yolo").stdout == "Job 1 started.\n"
    done = place.run("run", "yolo@9.9", code=1)
    assert 'Version "9.9" of this plugin does not exist' in done.stderr
    assert len(jobs(place)) == 1


@pytest.mark.parametrize("named", ["nobody", "id=77", "77"])
def test_a_plugin_that_is_not_there(place: Place, named: str) -> None:
    """In words, with the request id."""
    done = place.run("run", named, code=1)
    assert "There is no such plugin" in done.stderr
    assert re.search(r"Request id: [0-9a-f]{32}", done.stderr)


def test_names_of_the_state_and_what_history_says(place: Place) -> None:
    """A recorded name is its id; every run shows in history, however it ended."""
    (place.root / "manifests").mkdir()
    place.run("state", "init")
    place.run("import", "plugin/detector", "1")
    assert place.run("run", "detector").stdout == "Job 1 started.\n"
    assert place.run("run", "plugin/detector").stdout == "Job 2 started.\n"
    assert "plugin/yolo is not recorded" in place.run("run", "plugin/yolo", code=1).stderr
    fault(place, {"status": 400})
    place.run("run", "detector", code=1)
    fault(place, {"reset": "after"})
    place.run("run", "detector", code=7)
    runs = json.loads(place.run("state", "history", "--json").stdout)["runs"]
    told = [(call["address"], call["verb"], call["remote_id"], call["result"])
            for run in runs for call in run["calls"]]  # fmt: skip
    assert told == [
        ("plugin/detector", "run", "", "unknown"),
        ("plugin/detector", "run", "", "failed"),
        ("plugin/detector", "run", "2", "done"),
        ("plugin/detector", "run", "1", "done"),
        ("plugin/detector", "import", "1", "done"),
    ]


def test_a_state_of_another_backend_is_not_asked_for_names(place: Place) -> None:
    """Its ids mean other objects; an id that is given needs no state."""
    (place.root / "manifests").mkdir()
    place.run("state", "init")
    place.run("import", "plugin/yolo", "1")
    file = place.root / "synapse-apply.yaml"
    file.write_text(file.read_text().replace("127.0.0.1", "localhost"))
    done = place.run("run", "yolo", code=1)
    assert "This state belongs to another backend" in done.stderr
    assert jobs(place) == []
    done = place.run("run", "id=1")
    assert done.stdout == "Job 1 started.\n"
    assert "Warning: `state history` will not show this call" in done.stderr


def test_a_state_that_is_held_does_not_hold_up_a_run(place: Place) -> None:
    """The run is out; that history lacks it is a warning."""

    place.run("state", "init")
    with held(Workplace(place.root)):
        done = place.run("run", "id=1")
    assert done.stdout == "Job 1 started.\n"
    assert "Warning: `state history` will not show this call" in done.stderr


def test_a_server_that_answers_the_result_at_once(serve: Callable[..., Place]) -> None:
    """There is no job to follow; the result is shown."""
    place = serve()
    with answering(
        lambda asked: (200, {"answer": 42}) if asked.method == "POST" else (404, {})
    ) as at:
        point(place, at.url)
        done = place.run("run", "yolo", "--follow")
        document = json.loads(place.run("run", "yolo", "--json").stdout)
    assert done.stdout == "yolo ran, and answered at once: { answer = 42 }\n"
    assert document == {"job_id": None, "result": {"answer": 42}}


PENDING = {"__synapse_deferred__": True, "status": "pending", "ticket": "t1-77"}
LOST = {"__synapse_deferred__": True, "status": "not_found", "ticket": "t1-77"}


class Deferring:
    """A backend whose runs are answered with a ticket, and questions with `answers`, in order."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.bodies: list[Any] = []

    def answer(self, asked: Asked) -> tuple[int, Any]:
        if asked.method != "POST":
            return 404, {}
        self.bodies.append(asked.body)
        return 200, PENDING if len(self.bodies) == 1 else self.answers.pop(0)


def test_a_ticket_is_turned_into_the_result(serve: Callable[..., Place]) -> None:
    """As the vendor's tool asks: the same action and version, the ticket, and the model alone."""
    place, backend = serve(), Deferring(PENDING, {"labels": 3})
    call = ("run", "yolo@1.0.0", "--action", "inference", "--agent", "4")
    call += ("-p", "model=9", "-p", "quality=1", "--follow", "--interval", "0.1")
    with answering(backend.answer) as at:
        point(place, at.url)
        done = place.run(*call)
    begun, *asked = backend.bodies
    assert begun["params"] == {"model": 9, "quality": 1}
    question = {"model": 9, "method": "post", "json": {"__synapse_poll__": "t1-77"}}
    assert asked == [{**begun, "params": question}] * 2
    assert "the command waits for it" in done.stdout
    assert "yolo ran, and answered at once: { labels = 3 }" in done.stdout


@pytest.mark.parametrize(
    ("answers", "seconds", "words"),
    [
        ([LOST], 60, "that it failed"),
        ([{**LOST, "status": "failed", "error": "no memory"}], 60, "that it failed"),
        ([PENDING] * 50, 0.3, "contains neither a job nor a result"),
    ],
)
def test_a_ticket_without_a_result_is_no_success(
    serve: Callable[..., Place], answers: list[Any], seconds: float, words: str
) -> None:
    """Lost by its process, failed, or not there in time."""
    place, backend = serve(), Deferring(*answers)
    call = ("run", "yolo", "--action", "inference", "--follow", "--interval", "0.1")
    with answering(backend.answer) as at:
        point(place, at.url)
        done = place.run(*call, "--timeout", str(seconds), code=1)
    assert words in done.stdout


def test_a_ticket_that_nothing_can_be_asked_with_is_said_so(serve: Callable[..., Place]) -> None:
    """Without the vendor's mark a question would be a second run; no word of success either."""
    place = serve()
    bare = {"status": "pending", "ticket": "t-1"}
    with answering(lambda asked: (200, bare) if asked.method == "POST" else (404, {})) as at:
        point(place, at.url)
        done = place.run("run", "yolo", "--action", "x", "--follow", code=1)
        again = place.run("run", "yolo", "--action", "x")
    assert "the run cannot be followed" in done.stdout
    assert "the run cannot be followed" in again.stdout
    assert "ran, and" not in done.stdout + again.stdout
    assert at.paths("POST") == ["/plugins/yolo/run/"] * 2


def _publish(place: Place, version: str, *actions: str) -> None:
    config = {"actions": {name: {"method": "job"} for name in actions}}
    body = {"plugin": "yolo", "version": version, "config": config}
    place.server.call("POST", "plugin_releases/", body)


@pytest.mark.parametrize("named", ["yolo", "id=1", "yolo@1.1.0"])
def test_the_only_action_of_a_release_is_run_by_itself(place: Place, named: str) -> None:
    """As the release that will run lists it; what older ones list does not count."""
    _publish(place, "1.0.0", "train", "test")
    _publish(place, "1.1.0", "convert")
    place.run("run", named, "-p", "quality=0.9")
    (job,) = jobs(place)
    assert (job["action"], job["params"]) == ("convert", {"quality": 0.9})


def test_one_of_several_actions_is_asked_for(place: Place) -> None:
    """Nothing is sent before it is named."""
    _publish(place, "1.0.0", "train", "test")
    done = place.run("run", "yolo", code=1)
    assert "Which action?" in done.stderr
    assert "lists several: train, test." in done.stderr
    assert "--action train" in done.stderr
    assert jobs(place) == []
    place.run("run", "yolo", "--action", "test")
    assert [job["action"] for job in jobs(place)] == ["test"]


def test_a_backend_that_wants_an_action_is_understood(place: Place) -> None:
    """No release tells which there are: the refusal is told as what is missing."""
    wants = {"action": ["This field is required."], "agent": ["This field is required."]}
    with answering(lambda asked: (400, wants) if asked.method == "POST" else (404, {})) as told:
        point(place, told.url)
        done = place.run("run", "yolo", code=1)
    assert "Error: This backend requires an action and an agent" in done.stderr
    assert "--action and --agent" in done.stderr
    assert told.paths("POST") == ["/plugins/yolo/run/"]


def point(place: Place, url: str) -> None:
    """Let the project's target be another backend."""
    file = place.root / "synapse-apply.yaml"
    file.write_text(file.read_text().replace(place.server.url, url), encoding="utf-8")
