"""What a person sees of an apply, from its plan to its report, and how a signal ends it.

What Ctrl-C and SIGTERM do during an apply: the first lets calls end, the second stops. Where nobody
can send a second one, as in CI, calls in progress get a few seconds: a runner soon kills a process
that outlives its signal, and then there would be no report. A state that does not answer is not
waited for without end either: after some more seconds the run ends as by a second signal.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Thread
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from synapse_apply import ApplyObserver
from synapse_apply.cli.console import Console, OutputFailedError, ask_approval
from synapse_apply.cli.help_pages import Terminated
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import Exit, InputError, NotApproved
from synapse_apply.model.job import Job
from synapse_apply.model.phrases import format_short_list
from synapse_apply.model.plan import Plan
from synapse_apply.model.report import Report
from synapse_apply.model.state import Intent, IntentState
from synapse_apply.views.sanitize import sanitize
from synapse_apply.views.text.outcomes import render_report
from synapse_apply.views.text.plan import render_plan
from synapse_apply.views.text.progress import SilentProgress, choose_display

if TYPE_CHECKING:
    from synapse_apply.cli.reports import Reports


_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Wrappers pass on what the terminal sends to all: two signals so close, in seconds, are one.
_ECHO_SECONDS = 0.1
_LISTEN_SECONDS = 0.05


class SecondSignal(BaseException):
    """Raised in the main thread by a second signal: stop waiting."""


class StoppableProgress:
    """The progress of an apply that a signal asks to end; takes over the signals in `with`.

    Every report is passed on to the display. The resources whose calls are under way are
    remembered: a second signal names them as those of which the outcome is unknown.
    """

    def __init__(
        self,
        display: SilentProgress,
        seconds: float = 0.0,
        hang_up: Callable[[str], None] = lambda _why: None,
    ) -> None:
        """Signal handlers are installed on entering the context and restored on leaving it.

        Once a signal came they stay. `hang_up` is called `seconds` after the first one, and
        STORE_SECONDS later the run ends whatever it waits for; never with 0.
        """
        self._display = display
        self._seconds = seconds
        self._hang_up = hang_up
        self._ongoing_verbs: dict[Address, str] = {}
        self._old_handlers: dict[int, Any] = {}
        self._signal_at = 0.0
        self._can_cut = False
        self._is_over = False
        self._has_hung_up = False
        # That of the report, once it is told: from then on nothing is waited for.
        self.exit_code: int | None = None
        self.signal_number = 0
        self.was_cut = False

    def read_stop_signal(self) -> int:
        """The number of the signal that asks to end, 0 while there is none."""
        return self.signal_number

    def run_calls(self, work: Callable[[], None]) -> None:
        """Run `work`; a second signal ends it at once, and sets `was_cut`: nothing is raised."""
        failures: list[BaseException] = []

        def work_or_fail() -> None:
            try:
                work()
            except BaseException as failure:  # noqa: BLE001 - raised below
                failures.append(failure)

        # This thread hears signals meanwhile, which it would not inside of SQLite.
        thread = Thread(target=work_or_fail, name="apply", daemon=True)
        try:
            self._can_cut = True
            thread.start()
            while thread.is_alive():
                thread.join(_LISTEN_SECONDS)  # one that another thread was sent wakes nobody
        except SecondSignal:
            self.was_cut = True
        finally:
            self._can_cut, self._is_over = False, True
        if failures:
            raise failures[0]

    def __enter__(self) -> Self:
        for number in _STOP_SIGNALS:
            with suppress(ValueError, OSError):  # not the main thread: nobody sends it signals
                self._old_handlers[number] = signal.signal(number, self._handle_stop_signal)
        with suppress(ValueError, OSError):
            self._old_handlers[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._handle_timer)
            signal.setitimer(signal.ITIMER_REAL, 0)
        self._display.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._display.__exit__(*raised)
        # Once asked to end, nothing may cut the report short that tells what was done; what comes
        # after it, such as giving the lock back, ends like the calls.
        for number, old_handler in () if self.signal_number else self._old_handlers.items():
            signal.signal(number, old_handler)

    def report_start(self, address: Address, verb: str) -> None:
        """A resource's calls begin."""
        self._ongoing_verbs[address] = verb
        self._display.report_start(address, verb)

    def report_upload(self, address: Address, sent_bytes: int, total_bytes: int) -> None:
        """Bytes of an upload were sent."""
        self._display.report_upload(address, sent_bytes, total_bytes)

    def report_wait(self, seconds: float, location: str) -> None:
        """Writes of the state wait for its pace."""
        self._display.report_wait(seconds, location)

    def report_job(self, address: Address, job: Job) -> None:
        """A job was read. Its id is recorded then, so its run is no longer of unknown outcome."""
        self._ongoing_verbs.pop(address, None)
        self._display.report_job(address, job)

    def report_end(
        self, address: Address, verb: str, result: str, seconds: float, remote_id: str = ""
    ) -> None:
        """A resource's calls have ended."""
        self._ongoing_verbs.pop(address, None)
        self._display.report_end(address, verb, result, seconds, remote_id)

    def _handle_stop_signal(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signal_number:
            if now - self._signal_at > _ECHO_SECONDS:
                self._handle_second_signal(number)
            return
        self.signal_number, self._signal_at = number, now
        deadline_text = f" within {self._seconds:g} s" if self._seconds else " first"
        _write_to_stderr(
            f"\nStopping: calls in progress finish{deadline_text}. A second signal stops "
            "immediately.\n"
        )
        # With 0 seconds this sets no timer.
        signal.setitimer(signal.ITIMER_REAL, self._seconds)

    def _handle_timer(self, number: int, _frame: FrameType | None) -> None:
        """Close all connections: calls in progress end as unknown, and the report says which.

        Then the state gets some time, too.
        """
        if self._has_hung_up:
            self._handle_second_signal(number)
            return
        self._has_hung_up = True
        # Each second again: whatever is waited for then is waited for no longer.
        signal.setitimer(signal.ITIMER_REAL, STORE_SECONDS, 1.0)
        if not self._is_over:
            self._hang_up("the run was stopped")

    def _handle_second_signal(self, number: int) -> None:
        """Stop waiting; intents are on disk already, and the next run looks them up."""
        if self.exit_code is not None:
            _exit_immediately(self.exit_code)
        if self._is_over:  # nothing is waited for, and the report is on its way
            return
        why = "Stopped waiting" if number == signal.SIGALRM else "Stopped at once"
        if self._can_cut:
            self._can_cut = False
            names = ", ".join(sorted(str(address) for address in list(self._ongoing_verbs)))
            unknown_text = f" Running calls: {names}." if names else ""
            _write_to_stderr(
                f"\n{why}.{unknown_text} The next run looks up calls whose outcome is unknown.\n"
            )
            raise SecondSignal
        _write_to_stderr(f"\n{why}. Nothing was sent.\n")
        os._exit(Exit.SIGINT if self.signal_number == signal.SIGINT else Exit.SIGTERM)


def _exit_immediately(code: int) -> NoReturn:
    """End the process now, even while its threads still wait."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _write_to_stderr(text: str) -> None:
    """Write without buffering, because a signal may arrive during a write."""
    with suppress(OSError):
        os.write(2, text.encode())


_CLEAR_LINE = "\r\033[K"


def build_wait_callback(
    console: Console, pause: Callable[[float], None]
) -> Callable[[float, Sequence[Intent], float], None]:
    """A function that waits by `pause`, and says on stderr for which calls and how long at most."""
    shown_ids: set[str] = set()

    def wait_and_show(seconds: float, open_calls: Sequence[Intent], longest: float) -> None:
        calls = "an earlier call" if len(open_calls) == 1 else f"{len(open_calls)} earlier calls"
        deeds = dict.fromkeys(f"{call.verb} of {call.address}" for call in open_calls)
        purpose = f"until the effect of {calls} is visible or no longer possible"
        if all(call.state is IntentState.UNKNOWN for call in open_calls):
            purpose = f"until {calls} can no longer act"
        purpose = sanitize(f"{purpose}: {format_short_list(deeds)}")
        if not console.can_redraw_stderr:
            if not shown_ids.issuperset(call.id for call in open_calls):
                console.write_stderr(f"Waiting at most {math.ceil(longest)} s {purpose}\n")
            shown_ids.update(call.id for call in open_calls)
            pause(seconds)
            return
        try:
            while seconds > 0:
                text = f"Waiting at most {math.ceil(longest)} s {purpose}"
                console.write_stderr(f"{_CLEAR_LINE}{text}")
                interval = min(seconds, 1.0)
                pause(interval)
                seconds -= interval
                longest -= interval
        finally:
            console.write_stderr(_CLEAR_LINE)

    return wait_and_show


# Within which calls of a run that is told to stop end where nobody can tell it once more; and so
# much longer a state is waited for, whatever it is kept in.
DRAIN_SECONDS, STORE_SECONDS = 6.0, 10.0


class ConsoleObserver(ApplyObserver):
    """Prints an apply on a console, asks for approval there, and stops it on a signal."""

    def __init__(
        self, console: Console, reports: Reports | None = None, *, show_unchanged: bool = False
    ) -> None:
        """`reports` are written in addition to what is printed; others may take their place."""
        self._console = console
        self.reports = reports
        self.shown_plan: Plan | None = None
        self._show_unchanged = show_unchanged
        self._stop: StoppableProgress | None = None
        self._wait = build_wait_callback(console, time.sleep)

    @contextmanager
    def advising(self) -> Iterator[None]:
        """Who interrupts the block before its first call is told that nothing was sent."""
        try:
            yield
        except (KeyboardInterrupt, Terminated) as interruption:
            if self._stop is None:
                interruption.add_note("Nothing was sent.")
            raise

    def run(self, apply: Callable[[], Report]) -> int:
        """Call `apply`, which uses this observer; returns the exit code.

        Raises what stopped it, except for the errors of a printed plan and a declined approval:
        the user has seen these.
        """
        try:
            return apply().exit_code
        except NotApproved:
            self._console.write_stderr("Apply cancelled. Nothing was sent.\n")
            return Exit.ERROR
        except InputError as problem:
            plan = problem.plan
            if plan is None or not plan.has_errors or self._console.as_json:
                raise
            if self.reports:
                self.reports.report_stopped_plan(plan, Exit.ERROR)
            return Exit.ERROR

    def confirm(self, plan: Plan) -> bool:
        """Ask the person at the terminal; True for `yes`."""
        return ask_approval(
            self._console,
            f"Do you want to perform these actions on target {plan.base.target}?",
            "synapse-apply will perform exactly the actions shown above.",
        )

    def show_plan(self, plan: Plan) -> None:
        """Print the plan as text, or as events with --json-lines."""
        self.shown_plan = plan
        if self._console.as_events:
            from synapse_apply.views.json.events import build_finding_event, iter_change_events

            self._console.write_events(iter_change_events(plan))
            self._console.write_events(
                build_finding_event(finding.to_json()) for finding in plan.diagnostics
            )
        elif not self._console.as_json:
            self._console.write_output(
                render_plan(plan, **self._console.layout, show_unchanged=self._show_unchanged)
            )

    def show_changed_plan(self, plan: Plan) -> None:
        """Print the plan that replaces the approved one."""
        self._console.write_output(
            "\nThe backend or the state has changed. This is the new plan:\n\n"
        )
        self.show_plan(plan)

    def show_warnings(self, warnings: Sequence[Diagnostic]) -> None:
        """Print warnings on stderr."""
        self._console.write_findings(warnings)

    def wait(self, seconds: float, open_calls: Sequence[Intent], longest: float) -> None:
        """Wait with a countdown."""
        self._wait(seconds, open_calls, longest)

    @contextmanager
    def watch_calls(self, hang_up: Callable[[str], None]) -> Iterator[StoppableProgress]:
        """Show progress on stderr, and let signals end the apply early."""
        # At a terminal a person can send a second signal; in CI nobody can.
        seconds = 0.0 if self._console.is_interactive else DRAIN_SECONDS
        color, is_silent = self._console.is_stderr_colored, self._console.as_json
        # --json is one document and nothing else.
        display = choose_display(sys.stderr, color=color, silent=is_silent)
        if self._console.as_events:
            from synapse_apply.views.json.events import EventWriter

            self._console.write_version_line_once()  # also before any plan
            display = EventWriter(sys.stdout)
        with StoppableProgress(display, seconds, hang_up) as self._stop:
            yield self._stop

    def show_report(self, report: Report) -> None:
        """Print the report, and write the requested report files.

        Ends the process where a second signal cut the apply short.
        """
        if self._console.section is not None:
            self._console.section.was_stopped = report.stop_signal != 0
        try:
            if self._console.as_json:
                from synapse_apply.views.json.documents import report_document

                if self._console.as_events:
                    from synapse_apply.views.json.events import iter_summary_event

                    self._console.write_events(iter_summary_event(report))
                self._console.write_or_keep_document(report_document(report))
            else:
                # On a terminal a long plan has scrolled away.
                is_log = self._console.terminal_width is None
                text = render_report(
                    report,
                    color=self._console.is_output_colored,
                    shown_plan=self.shown_plan if is_log else None,
                )
                self._console.write_output(f"\n{text}")
        except OutputFailedError:
            # All that was done must not go unsaid because nobody can take it where it was to go.
            self._console.write_stderr(render_report(report, color=self._console.is_stderr_colored))
            raise
        finally:
            if self.reports:
                self.reports.report_apply(report)
            # Past the lock, which ends by itself, and the threads that still wait.
            if self._stop is not None:
                self._stop.exit_code = report.exit_code
                if self._stop.was_cut:
                    _exit_immediately(report.exit_code)
