"""What is done is what was approved: an old plan is made anew, and asked for again if it moved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from in_process import run_command
from sessions import with_parts

from synapse_apply import Invocation, PlanOptions, open_context
from synapse_apply.cli.console import Console
from synapse_apply.cli.observer import ConsoleObserver
from synapse_apply.operations.apply import ApplyRun
from synapse_apply.workspace.environment import SystemClock
from synapse_apply.workspace.target_session import TargetSession

OUTSIDE = {
    "name": "Example",
    "provider": "file_system",
    "category": "internal",
    "configuration": {"base_path": "/data/example"},
}


class Slow(SystemClock):
    """A clock on which the reader of a plan takes two minutes."""

    def __init__(self) -> None:
        self.at = 0.0

    def monotonic_seconds(self) -> float:
        return self.at

    def wait(self) -> None:
        self.at += 120.0


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TargetSession]:
    """A first project on its embedded backend."""
    monkeypatch.chdir(tmp_path)
    run_command(["init"])
    with open_context(Invocation(tmp_path, environ={})) as opened:
        yield opened


def run_apply(
    context: TargetSession, options: PlanOptions | None = None, *, auto_approve: bool = False
) -> int:
    """The exit code of an apply on a console."""
    observer = ConsoleObserver(Console(environ={}))
    confirm = None if auto_approve else observer.confirm
    return observer.run(
        ApplyRun(context, options or PlanOptions(), observer, confirm=confirm).plan_and_apply
    )


def answering(
    monkeypatch: pytest.MonkeyPatch, *answers: str, first: Callable[[], object] = lambda: None
) -> list[str]:
    """Answers questions in order; `first` happens while the first one is being read."""
    left = list(answers)

    def answer() -> str:
        if len(left) == len(answers):
            first()
        return f"{left.pop(0)}\n"

    monkeypatch.setattr("synapse_apply.cli.console.read_answer_line", answer)
    return left


def test_an_old_plan_that_still_holds_is_not_asked_for_again(
    context: TargetSession, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is made anew, says the same, and is applied."""
    clock = Slow()
    left = answering(monkeypatch, "yes", "no", first=clock.wait)
    assert run_apply(with_parts(context, clock=clock)) == 0
    assert left == ["no"]


@pytest.mark.parametrize(("answer", "code"), [("yes", 0), ("no", 1)])
def test_an_old_plan_that_moved_is_shown_and_asked_for_again(
    answer: str, code: int, context: TargetSession, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Somebody made the storage meanwhile: it would be imported, not created."""
    clock = Slow()

    def meanwhile() -> None:
        clock.wait()
        context.api.create_storage(OUTSIDE)

    left = answering(monkeypatch, "yes", answer, first=meanwhile)
    assert run_apply(with_parts(context, clock=clock), PlanOptions(adopt=True)) == code
    out = capsys.readouterr().out
    assert "has changed. This is the new plan" in out
    assert "storage/example will be imported" in out
    assert left == []
    assert len(context.api.list_storages()) == 1
