"""Runs and jobs as the vendor's own tools find them (profile `vendor`)."""

from __future__ import annotations

import json
import uuid
from datetime import datetime

import pytest

CONFIG = "version: 1.0.0\nactions: {train: {method: job}, infer: {method: serve}, tidy: {}}\n"
GOOD = {"action": "train", "agent": 1, "params": {"epochs": 3}}


@pytest.fixture
def release(vendor):
    vendor.plugin_of_platform()
    return vendor.upload("yolo", CONFIG).body["id"]


def with_release(start, **switches):
    wire = start(profile="vendor", switches=switches)
    wire.plugin_of_platform()
    assert wire.upload("yolo", CONFIG).status == 201
    return wire


def run(wire, **fields):
    reply = wire.post("/plugins/yolo/run/", {**GOOD, **fields})
    assert reply.status == 200, reply.content
    return reply.body


def frames(content):
    return [json.loads(line[6:]) for line in content.decode().splitlines() if line[:6] == "data: "]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"parameters": {"epochs": 3}},
        {"action": ""},
        {"action": None, "params": {}},
        {"action": "inference"},
    ],
)
def test_a_run_needs_an_action_that_the_release_has(vendor, release, fields):
    """400 on `action` alone; no job is made."""
    reply = vendor.post("/plugins/yolo/run/", fields)
    assert (reply.status, set(reply.body)) == (400, {"action"})
    assert vendor.get("/jobs/").body["count"] == 0


def test_a_job_s_release_as_a_number_or_an_object(vendor, release):
    """With `?expand=plugin_release` it tells plugin and version."""
    path = f"/jobs/{run(vendor)['id']}/"
    assert vendor.get(path).body["plugin_release"] == release
    expanded = vendor.get(path + "?expand=plugin_release").body["plugin_release"]
    assert (expanded["id"], expanded["version"]) == (release, "1.0.0")
    assert expanded["plugin"]["code"] == "yolo"


def test_console_logs_are_lines_with_their_time_and_404_before_the_first(vendor, release):
    """The 404 of a job without logs is that of a job that is not there."""
    path = f"/jobs/{run(vendor)['id']}/console_logs/"
    none_yet = vendor.get(path)
    unknown = vendor.get(f"/jobs/{uuid.uuid4()}/console_logs/")
    assert (none_yet.status, none_yet.body) == (unknown.status, unknown.body)
    assert none_yet.status == 404
    vendor.move_clock(61)
    lines = vendor.get(path).body
    assert len(lines) == 5
    moment, _, text = lines[0].partition(" ")
    assert datetime.fromisoformat(moment)
    assert text == "step 1 of 5"


def test_the_tail_does_not_tell_again_what_was_written(vendor, release):
    """Of a job that has ended there is nothing left to tell."""
    path = f"/jobs/{run(vendor)['id']}/tail_console_logs/"
    vendor.move_clock(61)
    told = frames(vendor.get(path).content)
    assert [one["type"] for one in told] == ["connected", "complete"]


def test_the_tail_of_a_job_that_is_not_there(vendor):
    """200 and one frame that says so."""
    for identity in (str(uuid.uuid4()), "77"):
        reply = vendor.get(f"/jobs/{identity}/tail_console_logs/")
        assert reply.status == 200
        assert [one["type"] for one in frames(reply.content)] == ["error"]


def test_which_filters_narrow_the_jobs(vendor, release):
    """`plugin`, `user` and `created_after` do not; status in any case, agent and times do."""
    first = run(vendor)
    vendor.move_clock(61)
    second = run(vendor, agent=2)
    both, later = [second["id"], first["id"]], second["created"].replace("+", "%2B")
    for query, wanted in {
        "": both,
        "plugin=77": both,
        "user=77": both,
        "nonsense=1": both,
        f"created_after={later}": both,
        f"created__gte={later}": both[:1],
        f"created__lt={later}": both[1:],
        "ordering=created": both[::-1],
        "ordering=-created": both,
        "agent=2": both[:1],
        "status=succeeded": both[1:],
        "status=PENDING&agent=1": [],
    }.items():
        found = vendor.get(f"/jobs/?{query}").body
        assert [one["id"] for one in found["results"]] == wanted, query
        assert found["count"] == len(wanted), query


def test_a_run_that_is_answered_with_its_result(start):
    """With `run_answer=result` there is no job; what fails is a 400."""
    wire = with_release(start, run_answer="result")
    done = wire.post("/plugins/yolo/run/", GOOD)
    assert (done.status, done.body) == (200, {"parameters": {"epochs": 3}, "processed": 5})
    failed = wire.post("/plugins/yolo/run/", {**GOOD, "params": {"fail": True}})
    assert (failed.status, set(failed.body)) == (400, {"detail"})
    assert wire.get("/jobs/").body["count"] == 0


@pytest.mark.parametrize(("action", "is_job"), [("train", True), ("infer", False), ("tidy", False)])
def test_a_run_answered_as_the_action_s_method_says(start, action, is_job):
    """With `run_answer=method`: a job for `job` alone; an action without a method is a task."""
    wire = with_release(start, run_answer="method")
    reply = wire.post("/plugins/yolo/run/", {**GOOD, "action": action})
    assert reply.status == 200
    assert ("job_id" in reply.body) is is_job
    assert wire.get("/jobs/").body["count"] == is_job


@pytest.mark.parametrize(
    ("value", "names"), [("both", {"id", "job_id"}), ("id", {"id"}), ("job_id", {"job_id"})]
)
def test_how_the_answer_of_a_run_names_its_job(start, value, names):
    """By one name or by both."""
    wire = with_release(start, run_job=value)
    answered = run(wire)
    assert {"id", "job_id"} & set(answered) == names
    (identity,) = {answered[name] for name in names}
    assert wire.get(f"/jobs/{identity}/").body["id"] == identity
