"""`jobs stop`: on API v2 alone, once, and in words for every way in which it may not go."""

from __future__ import annotations

import json
from typing import Any

import pytest
from answering import answering
from e2e.jobs.conftest import Place
from e2e.scenarios.workplace import project

ID = "0b5e0f3c-1d2e-4f50-8a6b-7c8d9e0f1a2b"


@pytest.fixture
def place_v2(place: Place) -> Place:
    """A target of API v2, with a state, so that there is a history."""
    text = project(place.server.url, api="v2")
    (place.root / "synapse-apply.yaml").write_text(text, encoding="utf-8")
    place.run("state", "init")
    place.server.call("POST", "plugin_releases/", {"plugin": "yolo", "version": "1.0.0"})
    return place


def uuid_of(place: Place) -> str:
    (job,) = place.server.call("GET", "v2/jobs/")["data"]
    return str(job["id"])


def test_a_job_of_v2_is_shown_whole_whatever_is_asked_to_be_expanded(place_v2: Place) -> None:
    """API v2 has no such parameter: the id is right, and nothing is missing."""
    place_v2.job(seconds=3600)
    job = uuid_of(place_v2)
    shown = place_v2.run("get", "job", job, "--expand", "logs", "--json").stdout
    assert shown == place_v2.run("get", "job", job, "--json").stdout


def test_a_running_job_is_stopped(place_v2: Place) -> None:
    """It is stopped on the server, told, and noted in the history; then it has ended."""
    place_v2.job(seconds=3600)
    job = uuid_of(place_v2)
    refused = place_v2.run("jobs", "stop", job, code=1)
    assert "`jobs stop` needs approval" in refused.stderr
    assert place_v2.run("jobs", "stop", job, "--auto-approve").stdout == f"Job {job} stopped.\n"
    assert place_v2.server.call("GET", f"v2/jobs/{job}/")["data"]["status"] == "STOPPED"
    assert "1 stop" in place_v2.run("state", "history").stdout
    again = place_v2.run("jobs", "stop", job, "--auto-approve", code=1)
    assert "Error: The job has ended" in again.stderr


def test_json(place_v2: Place) -> None:
    """The job as `get job` has it."""
    place_v2.job(seconds=3600)
    document = json.loads(
        place_v2.run("jobs", "stop", uuid_of(place_v2), "--auto-approve", "--json").stdout
    )
    assert document["status"] == "stopped"


def test_a_job_that_is_not_there(place_v2: Place) -> None:
    """As of `get job`."""
    assert (
        "There is no such job" in place_v2.run("jobs", "stop", ID, "--auto-approve", code=1).stderr
    )


@pytest.mark.parametrize("api", ["v1", "v2"])
def test_an_id_of_v1_stops_nothing(place: Place, api: str) -> None:
    """v1 has no such call; nothing is sent, a report least of all."""
    text = project(place.server.url, api=api)
    (place.root / "synapse-apply.yaml").write_text(text, encoding="utf-8")
    job = place.job(seconds=3600)
    done = place.run("jobs", "stop", job, "--auto-approve", code=1)
    assert "Error: API v1 cannot stop a job" in done.stderr
    assert "use the job's uuid" in " ".join(done.stderr.split()).lower()
    assert ("set `api: v2` for the target" in done.stderr) is (api == "v1")
    assert place.server.call("GET", f"jobs/{job}/")["status"] in {"queued", "running"}


@pytest.fixture
def place_at(place: Place) -> Any:
    """What the command says where the server answers a stop so."""

    def said(status: int, code: int) -> str:
        def answer(asked: Any) -> tuple[int, Any]:
            if asked.method == "GET":
                return 200, {"data": {"id": ID, "status": "RUNNING"}, "meta": {}}
            return status, {"error": {"code": "X", "message": "told so"}}

        with answering(answer) as at:
            text = project(at.url, api="v2")
            (place.root / "synapse-apply.yaml").write_text(text, encoding="utf-8")
            done = place.run("jobs", "stop", ID, "--auto-approve", code=code)
        assert at.paths("POST") == [f"/v2/jobs/{ID}/stop/"]
        return done.stderr

    return said


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (409, 1, "The job has ended"),
        (404, 1, "The job has no agent that could stop it"),
        (403, 1, "This token does not have permission to stop the job"),
        (405, 1, "This backend cannot stop jobs"),
        (502, 7, "The backend had a problem with the agent that runs the job"),
        (503, 7, "The backend had a problem with the agent that runs the job"),
        (500, 7, "It is unknown whether the job was stopped"),
    ],
)
def test_a_refusal_in_words(place_at: Any, status: int, code: int, words: str) -> None:
    """What it means for a job, and sent once whatever it is."""
    assert words in place_at(status, code)
