"""Jobs of API v2: started on v1, known by UUID, reported on, stopped."""

from __future__ import annotations

import json
import uuid

import pytest


@pytest.fixture
def wire(start):
    """A server whose jobs take ten minutes of a clock that the test moves."""
    wire = start(job_seconds=600.0)
    wire.plugin_v2("yolo", version="1.0.0")
    return wire


@pytest.fixture
def path(wire):
    """Where a job stands that has just been started."""
    wire.run("yolo", action="train", params={"epochs": 3})
    return f"/v2/jobs/{wire.get('/v2/jobs/').body['data'][0]['id']}/"


def test_life(wire, path):
    """PENDING, RUNNING, SUCCEEDED with its lines and its result."""
    seen = []
    for ahead in (0, 300, 601):
        wire.move_clock(ahead)
        job = wire.get(path).body["data"]
        lines = wire.get(path + "console_logs/").body["data"]["logs"]
        seen.append((job["status"], job["is_active"], len(lines), job["result"] is not None))
    assert seen == [
        ("PENDING", True, 0, False),
        ("RUNNING", True, 2, False),
        ("SUCCEEDED", False, 5, True),
    ]
    assert lines[0] == "step 1 of 5"


def test_a_report_replaces_whole_values(wire, path):
    """What is no field of a report is dropped; v1 shows the same."""
    wire.patch(path, {"meta": {"a": 1}, "progress_record": {"x": 1}})
    report = {"status": "RUNNING", "meta": {"b": 2}, "action": "infer", "params": {}}
    job = wire.patch(path, report).body["data"]
    assert (job["status"], job["meta"], job["progress_record"]) == ("RUNNING", {"b": 2}, {"x": 1})
    assert (job["action"], job["params"]) == ("train", {"epochs": 3})
    assert wire.get("/jobs/1/").body.items() >= {"status": "running", "meta": {"b": 2}}.items()


def test_an_ended_job_stays_ended(wire, path):
    """The same word again is fine, another is INVALID_TRANSITION."""
    for _ in range(2):
        assert wire.patch(path, {"status": "SUCCEEDED"}).status == 200
    reply = wire.patch(path, {"status": "PENDING"})
    assert (reply.status, reply.body["error"]["code"]) == (400, "INVALID_TRANSITION")
    detail = reply.body["error"]["details"][0]
    assert detail.items() >= {"field": "status", "current_status": "SUCCEEDED"}.items()


@pytest.mark.parametrize("word", ["running", "completed", "", None, 3])
def test_words_that_are_none(wire, path, word):
    """Only the five, in capitals."""
    assert wire.patch(path, {"status": word}).status == 400


def test_stop(wire, path):
    """A dry run stops nothing; a job that has ended is not stopped again."""
    reply = wire.post(path + "stop/?dry_run=true")
    told = {"dry_run": True, "action": "stop", "target": path.split("/")[3]}
    assert (reply.status, reply.body["data"]) == (200, told)
    assert wire.get(path).body["data"]["status"] == "PENDING"
    assert wire.post(path + "stop/").body["data"]["status"] == "STOPPED"
    reply = wire.post(path + "stop/")
    assert (reply.status, reply.body["error"]["code"]) == (409, "INVALID_STATE")


def test_filters(wire, path):
    """By status and action."""
    wire.run("yolo", action="infer")
    for query, count in {"status=PENDING": 2, "status=FAILED": 0, "action=infer": 1}.items():
        assert len(wire.get(f"/v2/jobs/?{query}").body["data"]) == count, query
    assert wire.get("/v2/jobs/?status=pending").status == 400


def test_jobs_without_a_release_are_not_there(wire, path):
    """Nor are those of another tenant."""
    wire.plugin(code="bare")
    wire.run("bare")
    assert len(wire.get("/v2/jobs/").body["data"]) == 1


def events(reply):
    """What the frames of a stream say."""
    assert reply.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in reply.content.decode().splitlines() if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_the_tail_tells_lines_as_texts(wire, path):
    """Without an envelope, under the job's UUID, until it has ended."""
    wire.move_clock(601)
    first, *lines, last = events(wire.get(path + "tail_console_logs/"))
    assert first == {"type": "connected", "job_id": path.split("/")[3]}
    assert [line["data"] for line in lines] == [f"step {n} of 5" for n in range(1, 6)]
    assert last["type"] == "complete"


def test_the_tail_of_a_job_that_is_not_there(wire):
    """200 and an event that says so."""
    (only,) = events(wire.get(f"/v2/jobs/{uuid.uuid4()}/tail_console_logs/"))
    assert only == {"type": "error", "message": "Job not found."}
    assert wire.get("/v2/jobs/7/tail_console_logs/").status == 404


LOG = {"event": "epoch", "data": {"n": 1}, "datetime": "2026-01-02T03:04:05Z"}


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"level": "loud"}, "level"), ({"step": "x" * 256}, "step"), ({"datetime": "no"}, "datetime")],
)
def test_a_log_that_is_not_taken(wire, path, wrong, field):
    """400 that names the field; among many, which one it is, and none is kept."""
    reply = wire.post(path + "logs/", {**LOG, **wrong})
    assert (reply.status, reply.body["error"]["details"][0]["field"]) == (400, field)
    reply = wire.post(path + "logs/bulk/", {"logs": [LOG, {**LOG, **wrong}]})
    (detail,) = reply.body["error"]["details"]
    assert (reply.status, detail["field"]) == (400, "logs")
    assert detail["message"].startswith(f"Log 1: {field}: ")
    assert wire.post(path + "logs/", LOG).body["data"]["id"] == 1_000_001


def test_too_many_logs_at_once(wire, path):
    """400 with its code, what was sent and what goes."""
    reply = wire.post(path + "logs/bulk/", {"logs": [LOG] * 1001})
    error = reply.body["error"]
    assert (reply.status, error["code"]) == (400, "BULK_SIZE_EXCEEDED")
    assert error["details"] == [{"received": 1001, "limit": 1000}]
    assert wire.post(path + "logs/bulk/", {"logs": [LOG] * 1000}).status == 201
    assert wire.post(path + "logs/bulk/", {"logs": []}).status == 400
