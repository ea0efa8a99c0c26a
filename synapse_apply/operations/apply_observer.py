"""Whom an apply tells how it goes on, and who may end it early; the base class does nothing."""

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
    """Follows the calls of an apply from the first to the last, and may end it early."""

    def read_stop_signal(self) -> int:
        """The number of the signal that asks to end; 0 while nothing does.

        No call is begun any more once it is another; what has begun ends and is recorded.
        """
        ...

    def run_until_cut(self, work: Callable[[], None]) -> None:
        """Do `work`, which makes the calls. May come back before its end.

        The outcome of a call under way is unknown then, and the next run looks it up.
        """
        ...


class ApplyObserver:
    """Is told how an apply goes on. This base class shows nothing and stops nothing.

    Derive a class from it and override what you want to know of. The thread that applies calls all
    methods but two kinds: worker threads call those of progress (`report_*`), and any thread calls
    `read_stop_signal`. These must not raise; what another one raises ends the apply.
    """

    def show_plan(self, plan: Plan) -> None:
        """A plan was made. It is neither checked nor approved yet, and may have errors."""

    def show_changed_plan(self, plan: Plan) -> None:
        """What was approved is not true any more. This plan takes its place, to be approved."""
        self.show_plan(plan)

    def show_warnings(self, warnings: Sequence[Diagnostic]) -> None:
        """Warnings that are not among those of the plan: of a saved plan's file, for one."""

    def show_report(self, report: Report) -> None:
        """The apply has ended. The state is still locked."""

    def wait(self, seconds: float, open_calls: Sequence[Intent]) -> None:  # noqa: ARG002
        """Let `seconds` pass, after which it can be told what became of `open_calls`."""
        time.sleep(seconds)

    def watch_calls(
        self,
        hang_up: Callable[[str], None],  # noqa: ARG002
    ) -> AbstractContextManager[CallWatcher]:
        """What follows the calls: entered before the first one, left after the last.

        `hang_up` ends all calls under way; what it is given says why.
        """
        return nullcontext(self)

    def report_start(self, address: Address, verb: str) -> None:
        """A resource's calls begin."""

    def report_upload(self, address: Address, sent_bytes: int, total_bytes: int) -> None:
        """Bytes of an upload."""

    def report_job(self, address: Address, job: Job) -> None:
        """A look at a job that is followed."""

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
