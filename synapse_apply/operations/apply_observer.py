"""What an observer of an apply is notified of; the base class shows and stops nothing."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import ParamSpec, Protocol

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.job import Job
from synapse_apply.model.plan import Plan
from synapse_apply.model.ports import Progress
from synapse_apply.model.report import Report
from synapse_apply.model.state import Intent

P = ParamSpec("P")


class CallWatcher(Progress, Protocol):
    """Is notified of an apply's calls, from the first to the last, and may end the apply early."""

    def read_stop_signal(self) -> int:
        """The number of the signal that asks to end; 0 while there is none.

        Once it is not 0, no further call begins; calls in progress end and are recorded.
        """
        ...

    def run_calls(self, work: Callable[[], None]) -> None:
        """Run `work`, which makes the calls. May return before `work` ends.

        The outcome of a call in progress is unknown then, and the next run looks it up.
        """
        ...


class ApplyObserver:
    """Receives the events of an apply. This base class shows nothing and stops nothing.

    Subclass it and override the methods you need. The applying thread calls all methods with two
    exceptions: worker threads call those of progress (`report_*`), and any thread calls
    `read_stop_signal`. Where one of these raises, what has begun ends and is recorded, and the
    exception is raised after the report: see `ErrorHoldingProgress`. An exception of any other
    method ends the apply at once.
    """

    def show_plan(self, plan: Plan) -> None:
        """A plan was made. It is neither checked nor approved yet, and may have errors."""

    def show_changed_plan(self, plan: Plan) -> None:
        """The approved plan is outdated. This plan takes its place and has to be approved."""
        self.show_plan(plan)

    def show_warnings(self, warnings: Sequence[Diagnostic]) -> None:
        """Warnings that are not in the plan, such as those about a saved plan's file."""

    def show_report(self, report: Report) -> None:
        """The apply has ended. The state is still locked."""

    def wait(
        self,
        seconds: float,
        open_calls: Sequence[Intent],  # noqa: ARG002
        longest: float,  # noqa: ARG002
    ) -> None:
        """Block for `seconds`; then `open_calls` are looked up once more.

        After `longest` seconds from now their outcome can be determined in any case.
        """
        time.sleep(seconds)

    def watch_calls(
        self,
        hang_up: Callable[[str], None],  # noqa: ARG002
    ) -> AbstractContextManager[CallWatcher]:
        """A context that is entered before the first call and left after the last.

        `hang_up` closes all connections in use; its argument is the reason.
        """
        return nullcontext(self)

    def report_start(self, address: Address, verb: str) -> None:
        """A resource's calls begin."""

    def report_upload(self, address: Address, sent_bytes: int, total_bytes: int) -> None:
        """`sent_bytes` of `total_bytes` of an upload were sent."""

    def report_job(self, address: Address, job: Job) -> None:
        """A job that is followed was read again."""

    def report_end(
        self, address: Address, verb: str, result: str, seconds: float, remote_id: str = ""
    ) -> None:
        """A resource's calls have ended; `remote_id` is the server's, where it is known."""

    def report_wait(self, seconds: float, location: str) -> None:
        """The state at a location may be written to after `seconds`; 0 when that wait is over."""

    def read_stop_signal(self) -> int:
        """The number of the signal that asks to end, as `signal.SIGTERM`; 0 while nothing does."""
        return 0

    def run_calls(self, work: Callable[[], None]) -> None:
        """Do `work`, which makes the calls."""
        work()


class ErrorHoldingProgress:
    """The progress of an apply, passed on to a receiver whose exceptions are held back.

    They are raised while calls are made and recorded, and must not change what became of a call.
    The first is kept until `raise_held`. The apply goes on, but after
    KeyboardInterrupt, SystemExit and any exception of `read_stop_signal` no further call begins.
    Every other BaseException passes: with one of its own a caller cuts the apply short.
    """

    def __init__(self, progress: Progress, read_stop_signal: Callable[[], int]) -> None:
        """`progress` and `read_stop_signal` are what the methods pass on to."""
        self.report_start = self._hold_errors_of(progress.report_start)
        self.report_upload = self._hold_errors_of(progress.report_upload)
        self.report_job = self._hold_errors_of(progress.report_job)
        self.report_end = self._hold_errors_of(progress.report_end)
        self.report_wait = self._hold_errors_of(progress.report_wait)
        self._read_stop_signal = read_stop_signal
        self._first_error: BaseException | None = None
        self._stop_signal = 0

    def raise_held(self) -> None:
        """Raise the first exception, if there was one."""
        if self._first_error is not None:
            raise self._first_error

    def _hold_errors_of(self, report: Callable[P, None]) -> Callable[P, None]:
        def report_or_hold(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                report(*args, **kwargs)
            except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 - raised later
                self._hold(error, stops=isinstance(error, SystemExit))

        return report_or_hold

    def _hold(self, error: BaseException, *, stops: bool) -> None:
        self._first_error = self._first_error or error
        if isinstance(error, KeyboardInterrupt):
            self._stop_signal = signal.SIGINT
        elif stops:
            self._stop_signal = self._stop_signal or signal.SIGTERM

    def read_stop_signal(self) -> int:
        """The number of the signal that asks to end, or that stands for an exception; else 0."""
        if not self._stop_signal:
            try:
                return self._read_stop_signal()
            except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 - raised later
                self._hold(error, stops=True)
        return self._stop_signal
