"""What an observer of an apply is notified of; the base class shows and stops nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.job import Job
from synapse_apply.model.plan import Plan
from synapse_apply.model.ports import Progress
from synapse_apply.model.report import Report
from synapse_apply.model.state import Intent


class CallWatcher(Progress, Protocol):
    """Is notified of an apply's calls, from the first to the last, and may end the apply early."""

    def read_stop_signal(self) -> int:
        """The number of the signal that asks to end; 0 while there is none.

        Once it is not 0, no further call begins; calls in progress end and are recorded.
        """
        ...

    def run_until_cut(self, work: Callable[[], None]) -> None:
        """Run `work`, which makes the calls. May return before `work` ends.

        The outcome of a call in progress is unknown then, and the next run looks it up.
        """
        ...


class ApplyObserver:
    """Receives the events of an apply. This base class shows nothing and stops nothing.

    Subclass it and override the methods you need. The applying thread calls all methods with two
    exceptions: worker threads call those of progress (`report_*`), and any thread calls
    `read_stop_signal`. These two must not raise; an exception of any other method ends the apply.
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

    def wait(self, seconds: float, open_calls: Sequence[Intent]) -> None:  # noqa: ARG002
        """Block for `seconds`, after which the outcome of `open_calls` can be determined."""
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

    def read_stop_signal(self) -> int:
        """The number of the signal that asks to end, as `signal.SIGTERM`; 0 while nothing does."""
        return 0

    def run_until_cut(self, work: Callable[[], None]) -> None:
        """Do `work`, which makes the calls."""
        work()
