"""Jobs: runs in both vocabularies, the clock, updates, logs, filters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest


@pytest.fixture
def wire(start):
    """A server whose jobs take ten minutes of a clock that the test moves."""
    return start(job_seconds=600.0)


def test_run_in_the_words_of_the_platform(wire):
    """By code; action, agent, params, storage_id, job_id, debug, version, language."""
    wire.plugin(code="yolo")
    release = wire.post("/plugin_releases/", {"plugin": "yolo", "version": "1.0"}).body
    wire.post("/plugin_releases/", {"plugin": "yolo", "version": "2.0"})
    job_id = wire.run(
        "yolo", action="train", agent=1, params={"epochs": 3}, storage_id=4, job_id=9,
        debug=True, version="1.0", language="en",
    )  # fmt: skip
    job = wire.get(f"/jobs/{job_id}/").body
    assert (job["action"], job["agent"], job["storage"], job["debug"]) == ("train", 1, 4, True)
    assert (job["params"], job["parameters"]) == ({"epochs": 3}, {"epochs": 3})
    assert (job["plugin_release"], job["version"], job["language"]) == (release["id"], "1.0", "en")


def test_run_without_version_takes_the_newest_release(wire):
    """Without any release it runs all the same; an unknown version is 400."""
    wire.plugin(code="yolo")
    assert wire.get(f"/jobs/{wire.run('yolo')}/").body["plugin_release"] is None
    for version in ("1.0", "2.0"):
        wire.post("/plugin_releases/", {"plugin": "yolo", "version": version})
    assert wire.get(f"/jobs/{wire.run('yolo')}/").body["version"] == "2.0"
    assert set(wire.post("/plugins/yolo/run/", {"version": "3"}).body) == {"version"}
    assert wire.post("/plugins/nobody/run/", {}).status == 404


def test_update_in_the_words_of_the_page(wire):
    """status, progress, result, metadata; a reported job no longer follows its clock."""
    wire.plugin(code="yolo")
    path = f"/jobs/{wire.run('yolo')}/"
    job = wire.patch(path, {"progress": 75, "status": "running", "metadata": {"step": 2}}).body
    assert (job["progress"], job["status"], job["metadata"]) == (75, "running", {"step": 2})
    wire.move_clock(10_000)
    assert wire.get(path).body["status"] == "running"
    result = {"output_files": ["a.txt"]}
    job = wire.patch(path, {"status": "completed", "result": result}).body
    assert (job["status"], job["result"], job["progress"]) == ("completed", result, 100)
    assert job["completed"] is not None


def test_update_in_the_words_of_the_platform(wire):
    """Upper-case status, records, console logs and `meta`."""
    wire.plugin(code="yolo")
    path = f"/jobs/{wire.run('yolo')}/"
    sent = {
        "status": "RUNNING",
        "progress_record": {"epoch": 3},
        "metrics_record": {"loss": 0.1},
        "console_logs": [{"level": "warning", "message": "hot"}, "plain"],
        "meta": {"queue": None},
    }
    job = wire.patch(path, sent).body
    assert (job["status"], job["progress_record"]) == ("running", {"epoch": 3})
    assert (job["meta"], job["metadata"]) == ({"queue": None}, {"queue": None})
    expanded = wire.get(path + "?expand=logs,metrics,result").body
    assert expanded["metrics"] == {"loss": 0.1}
    assert expanded["result"] is None
    assert [line["message"] for line in expanded["logs"]] == ["hot", "plain"]
    assert wire.patch(path, {"status": "SUCCEEDED"}).body["status"] == "completed"


@pytest.mark.parametrize("end", ["completed", "failed", "STOPPED"])
def test_an_ended_job_stays_ended(wire, end):
    """400 for another status, 200 for the same again; other fields may still be reported."""
    wire.plugin(code="yolo")
    path = f"/jobs/{wire.run('yolo')}/"
    assert wire.patch(path, {"status": end}).status == 200
    for word in {"queued", "RUNNING", "completed", "failed"} - {end}:
        reply = wire.patch(path, {"status": word})
        assert (reply.status, set(reply.body)) == (400, {"status"})
    assert wire.patch(path, {"status": end, "metadata": {"a": 1}}).body["metadata"] == {"a": 1}


def test_a_running_job_is_not_queued_again(wire):
    """Jobs only go forward."""
    wire.plugin(code="yolo")
    path = f"/jobs/{wire.run('yolo')}/"
    wire.move_clock(300)
    assert wire.patch(path, {"status": "queued"}).status == 400


def test_every_wrong_field_of_an_update_is_named(wire):
    """400 names them all, and nothing is changed."""
    wire.plugin(code="yolo")
    path = f"/jobs/{wire.run('yolo')}/"
    before = wire.get(path).body
    bad = {"status": "odd", "progress": 101, "metadata": 1, "console_logs": 5, "result": 1}
    reply = wire.patch(path, bad)
    assert reply.status == 400
    assert set(reply.body) == {"status", "progress", "metadata", "console_logs"}
    assert wire.get(path).body == before


def test_list_filters(wire):
    """status in any vocabulary, plugin by id or code, created_after, user; the newest first."""
    plugins = [wire.plugin(code=code) for code in ("one", "two")]
    old = wire.run("one")
    wire.move_clock(3600)
    middle, new = wire.run("two"), wire.run("two")
    wire.patch(f"/jobs/{new}/", {"status": "failed"})
    an_hour_on = quote((datetime.now(UTC) + timedelta(minutes=50)).isoformat())
    naive = (datetime.now(UTC) + timedelta(minutes=50)).replace(tzinfo=None).isoformat()
    for query, wanted in {
        "": [new, middle, old],
        "status=completed": [old],
        "status=PENDING": [middle],
        "status=failed": [new],
        f"plugin={plugins[0]['id']}": [old],
        "plugin=two": [new, middle],
        "plugin=nobody": [],
        f"created_after={an_hour_on}": [new, middle],
        f"created_after={naive}": [new, middle],
        "user=1&page_size=1": [new],
        "user=7": [],
    }.items():
        page = wire.get(f"/jobs/?{query}").body
        assert [job["id"] for job in page["results"]] == wanted, query
    assert set(wire.get("/jobs/?status=odd").body) == {"status"}
    assert set(wire.get("/jobs/?created_after=soon").body) == {"created_after"}


def test_next_jobs_can_be_made_to_fail(wire):
    """`fail-next` decides about runs to come, as many as it says."""
    wire.plugin(code="yolo")
    assert wire.post("/_emulator/jobs/fail-next", {"count": 1}).status == 200
    first, second = wire.run("yolo"), wire.run("yolo")
    wire.move_clock(601)
    assert wire.get(f"/jobs/{first}/").body["status"] == "failed"
    assert wire.get(f"/jobs/{second}/").body["status"] == "completed"
