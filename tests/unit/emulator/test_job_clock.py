"""A job's state follows from the time alone, and its words from two vocabularies."""

from __future__ import annotations

import itertools

import pytest

from synapse_apply.emulator import jobs
from synapse_apply.emulator.core.store import StoredObject


def job(**script):
    stored = {"seconds": 10.0, "outcome": "completed", "log_lines": 4, **script}
    return StoredObject(1, "acme", None, 1, 1000.0, {"script": stored, "parameters": {}})


@pytest.mark.parametrize(
    ("after", "status", "progress", "lines"),
    [
        (-5, "queued", 0, 0),
        (0, "queued", 0, 0),
        (0.99, "queued", 0, 0),
        (1, "running", 10, 0),
        (5, "running", 50, 2),
        (9.5, "running", 95, 3),
        (10, "completed", 100, 4),
        (1e6, "completed", 100, 4),
    ],
)
def test_state_at_a_moment(after, status, progress, lines):
    """Also before its creation, should a clock go back."""
    now = jobs.compute_job_moment(job(), 1000.0 + after)
    assert (now.status, now.progress, len(jobs.list_log_lines(job(), now))) == (
        status,
        progress,
        lines,
    )


def test_log_lines_are_the_same_whenever_one_looks():
    """What was written stays, in time order."""
    early = jobs.list_log_lines(job(), jobs.compute_job_moment(job(), 1006.0))
    late = jobs.list_log_lines(job(), jobs.compute_job_moment(job(), 2000.0))
    assert late[: len(early)] == early
    assert [line["timestamp"] for line in late] == sorted(line["timestamp"] for line in late)


def test_a_job_without_time_or_lines():
    """It is over at once and says nothing."""
    row = job(seconds=0.0, log_lines=0)
    now = jobs.compute_job_moment(row, 1000.0)
    assert (now.status, jobs.list_log_lines(row, now)) == ("completed", [])


def test_a_failed_job_tells_it_last():
    """After the lines that it wrote."""
    row = job(outcome="failed")
    lines = jobs.list_log_lines(row, jobs.compute_job_moment(row, 2000.0))
    assert [line["level"] for line in lines] == ["info"] * 4 + ["error"]


@pytest.mark.parametrize(
    ("asked", "seconds", "lines"),
    [
        ({}, 7.0, 5),
        ({"seconds": 2, "log_lines": 3}, 2.0, 3),
        ({"seconds": -1, "log_lines": -1}, 0.0, 0),
        ({"seconds": "x", "log_lines": True}, 7.0, 5),
        ({"log_lines": 10**9}, 7.0, jobs.MAX_LINES),
        ("nonsense", 7.0, 5),
    ],
)
def test_what_a_run_may_ask_for(asked, seconds, lines):
    """Numbers within bounds; what is no number is passed over."""
    script = jobs.parse_job_script({"emulator": asked}, {}, 7.0)
    assert (script.seconds, script.log_lines, script.outcome) == (seconds, lines, "completed")


def test_words_of_both_vocabularies_mean_the_same():
    """In any case; what is no word means nothing."""
    for status, word in jobs.PLATFORM.items():
        for vocabulary in ("page", "platform"):
            assert jobs.parse_status_word(jobs.format_status_word(status, vocabulary)) == status
        assert jobs.parse_status_word(word.title()) == status
    assert jobs.parse_status_word("odd") is None
    assert jobs.parse_status_word(3) is None


def test_jobs_never_go_back():
    """From an ended state nothing but itself; otherwise forward only."""
    for old, new in itertools.product(jobs.PLATFORM, repeat=2):
        if old in jobs.ENDED_STATUSES:
            assert jobs.may_become(old, new) == (old == new)
    assert not jobs.may_become("running", "queued")
    assert jobs.may_become("queued", "failed")
