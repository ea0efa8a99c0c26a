"""What an onlooker of a job is told of its progress, and where."""

from __future__ import annotations

from typing import Any

import pytest

from synapse_apply.cli.console import Console
from synapse_apply.cli.texts.jobs import JobFollower
from synapse_apply.model.job import parse_job


def job(status: str, progress: float = 0, **more: Any) -> Any:
    return parse_job({"id": 7, "status": status, "progress": progress, **more})


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Console, "is_stderr_terminal", True)


@pytest.mark.usefixtures("watched")
def test_progress_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """A word at each status and each ten percent, on stderr; the end is told elsewhere."""
    told = JobFollower(Console())
    for progress in (0, 3, 9, 10, 12, 25, 99):
        told.show_step(job("RUNNING", progress))
    told.show_step(job("completed", 100))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [f"Job 7: running ({progress}%)" for progress in (0, 10, 25, 99)]


def test_a_pipeline_has_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody watches stderr there."""
    JobFollower(Console()).show_step(job("running", 50))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("ended", "text", "code"),
    [
        (job("SUCCEEDED", result={"a": 1}), "Job 7 completed.\nResult: { a = 1 }\n", 0),
        (job("failed"), "Job 7 failed.\n", 1),
        (job("failed", error="out of\nmemory"), "Job 7 failed: out of\\nmemory.\n", 1),
        (job("FAILED", error={"error_type": "timeout", "message": "x."}),
         "Job 7 failed: timeout: x.\n", 1),
        (job("STOPPED"), "Job 7 stopped.\n", 1),
    ],
)  # fmt: skip
def test_how_it_ended(ended: Any, text: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    """In one line and in the exit code; a reason or a result where there is one."""
    assert JobFollower(Console()).print_job_end(ended, None) == code
    assert capsys.readouterr().out == text


def test_a_status_that_nobody_knows(capsys: pytest.CaptureFixture[str]) -> None:
    """It is no end; the server's own word is shown."""
    assert JobFollower(Console()).print_job_end(job("hibernating", 5), 3.0) == 1
    err = capsys.readouterr().err
    assert err.startswith(
        "Job 7 has not ended after 3 s: unknown (hibernating) (5%). The job continues;"
    )
