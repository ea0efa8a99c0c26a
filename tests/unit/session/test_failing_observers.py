"""An observer that raises changes nothing of what becomes of a call, and is heard of at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from installed import ROOT, copied, variables

from synapse_apply import ApplyObserver, OpenTarget, Report, open_target


@pytest.fixture(params=[1, 10], ids=["serial", "threads"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenTarget]:
    folder = copied(ROOT / "examples" / "quickstart", tmp_path)
    with open_target(
        "embedded",
        folder=folder,
        environ=variables(folder / "example.env"),
        parallelism=request.param,
    ) as opened_target:
        yield opened_target


class Failing(ApplyObserver):
    """Raises an exception in each call of one of its methods."""

    def __init__(self, method: str, error: BaseException) -> None:
        self.reports: list[Report] = []
        self.error_count = 0

        def fail(*_values: object) -> int:
            self.error_count += 1
            raise error

        setattr(self, method, fail)

    def show_report(self, report: Report) -> None:
        self.reports.append(report)


@pytest.mark.parametrize("method", ["report_start", "report_upload", "report_end"])
def test_every_call_is_recorded_before_it_is_raised(target: OpenTarget, method: str) -> None:
    """All is done, nothing is of unknown outcome, and the lock is given back."""
    error = ZeroDivisionError("a defect of the observer")
    observer = Failing(method, error)
    with pytest.raises(ZeroDivisionError) as caught:
        target.apply(auto_approve=True, observer=observer)
    assert caught.value is error
    assert observer.error_count > 0
    (report,) = observer.reports
    assert [outcome.result.value for outcome in report.outcomes] == ["done"] * 4
    assert target.state.read().open_intents == ()
    assert not target.plan().has_changes
    assert target.apply(auto_approve=True).exit_code == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=["Ctrl-C", "exit"])
@pytest.mark.parametrize("method", ["report_start", "report_end"])
def test_who_wants_to_end_is_not_kept_from_it(
    target: OpenTarget, method: str, error: BaseException
) -> None:
    """What has begun is recorded, what depends on it is not begun any more."""
    observer = Failing(method, error)
    with pytest.raises(type(error)) as caught:
        target.apply(auto_approve=True, observer=observer)
    assert caught.value is error
    (report,) = observer.reports
    results = {outcome.result.value for outcome in report.outcomes}
    assert "skipped" in results
    assert results <= {"done", "skipped"}
    assert target.state.read().open_intents == ()
    assert target.apply(auto_approve=True).exit_code == 0


def test_a_signal_that_cannot_be_read_stops_the_apply(target: OpenTarget) -> None:
    """Nobody can say any more whether to go on."""
    observer = Failing("read_stop_signal", OSError("the file of the signal is gone"))
    with pytest.raises(OSError, match="file of the signal"):
        target.apply(auto_approve=True, observer=observer)
    (report,) = observer.reports
    assert {outcome.result.value for outcome in report.outcomes} == {"skipped"}
    assert target.plan().summary.add == 4
