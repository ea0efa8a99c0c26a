"""Jobs and their logs, from every shape in which servers give them."""

from __future__ import annotations

from typing import Any

import pytest

from synapse_apply.model.job import JobStatus, list_status_words, parse_job, parse_job_status
from synapse_apply.model.remote import LogLine, iter_log_lines


def test_words_of_both_vocabularies() -> None:
    """Each word that is asked for means the status it is asked for."""
    for status in set(JobStatus) - {JobStatus.UNKNOWN}:
        assert list_status_words(status)[0] == status.value
        assert {parse_job_status(word) for word in list_status_words(status)} == {status}
    assert list_status_words(JobStatus.QUEUED) == ("queued", "pending", "PENDING")
    assert list_status_words(JobStatus.RUNNING) == ("running", "RUNNING")


@pytest.mark.parametrize(
    ("raw", "progress"),
    [
        ({"progress": 40}, 40.0),
        ({"progress": 140}, 100.0),
        ({"progress": None, "progress_record": {"percent": 12.5}}, 12.5),
        ({"progress": True}, None),
        ({"progress_record": {"current_progress": {"overall": 41.5, "percent": 90}}}, 41.5),
        ({"progress_record": {"current_progress": {"overall": 0}, "percent": 9}}, 0.0),
        ({"progress": 7, "progress_record": {"current_progress": {"overall": 41}}}, 41.0),
        ({"progress": 7, "progress_record": {"current_progress": {"overall": "x"}}}, 7.0),
        ({"progress": 7, "progress_record": {"current_progress": [41]}}, 7.0),
        ({"progress_record": {"current_progress": {"step": "train", "percent": 90}}}, None),
        ({}, None),
    ],
)
def test_progress(raw: dict[str, Any], progress: float | None) -> None:
    """Of the platform's record first, else of the page; a step's own figure is none of the job."""
    assert parse_job({"id": 1, **raw}).progress == progress


@pytest.mark.parametrize(
    ("entry", "lines"),
    [
        ({"timestamp": "t", "level": "INFO", "message": "m"}, [LogLine("m", "t", "info")]),
        ({"datetime": "t", "level": "info", "data": {"message": "m"}}, [LogLine("m", "t", "info")]),
        ({"event": "metric", "data": {"loss": 1}}, [LogLine('{"loss": 1}')]),
        ({"odd": 1}, [LogLine('{"odd": 1}')]),
        ("plain", [LogLine("plain")]),
        ("two\nlines\n", [LogLine("two"), LogLine("lines")]),
        ({"message": "a\r\nb", "level": "error"}, [LogLine("a", "", "error"), LogLine("b", "", "error")]),
        ("", [LogLine("")]),
        (None, [LogLine("")]),
        (7, [LogLine("7")]),
        ('data: {"type":"log","message":"m"}', [LogLine("m")]),
        ('data: {"type":"log","message":"a"}\n\ndata: {"type":"log","data":"b"}\n\n',
         [LogLine("a"), LogLine("b")]),
        ('data: {"type":"heartbeat"}\n\n', []),
        ("data: 5 rows", [LogLine("data: 5 rows")]),
        ("data: 5", [LogLine("data: 5")]),
        ('data: {"rows": 5}', [LogLine('data: {"rows": 5}')]),
    ],
)  # fmt: skip
def test_lines_of_an_entry(entry: Any, lines: list[LogLine]) -> None:
    """Objects, texts, several lines at once, and events inside texts; what only looks so is text."""
    assert list(iter_log_lines(entry)) == lines
