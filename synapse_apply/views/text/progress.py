"""How progress is shown on stderr: bars on a terminal, lines in a log. Home of rich."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TextIO, cast

from synapse_apply.model.address import Address
from synapse_apply.model.job import Job
from synapse_apply.model.report import UNRECORDED
from synapse_apply.views.grammar import format_byte_size, format_duration
from synapse_apply.views.sanitize import escape_ci_commands, sanitize
from synapse_apply.views.text.terminal import Style

REPORT_INTERVAL = 10.0


@dataclass
class OngoingCall:
    """A call in progress; `facts` say how far it is, where that is known. Times are in seconds."""

    address: Address
    verb: str
    start_time: float
    next_report_time: float
    facts: Mapping[str, Any] = field(default_factory=dict)


class OngoingCalls:
    """The calls in progress; `report` is called for each every `interval` seconds.

    It is called under the lock, so that no report of a call comes after its end.
    """

    def __init__(
        self,
        report: Callable[[OngoingCall, float], None],
        interval: float = REPORT_INTERVAL,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is reported by itself before `start_reporting`."""
        self._report = report
        self._interval = interval
        self._now = now
        self._calls: dict[Address, OngoingCall] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()

    def start_reporting(self) -> None:
        """Start a daemon thread that reports long calls until `stop_reporting`."""
        threading.Thread(target=self._report_until_closed, name="progress", daemon=True).start()

    def _report_until_closed(self) -> None:
        # Checked each second, since calls begin at different times.
        while not self._closed.wait(min(1.0, self._interval)):
            self.report_overdue_calls()

    def stop_reporting(self) -> None:
        """Stop the reports, and forget all calls."""
        self._closed.set()
        with self._lock:
            self._calls.clear()

    def add_call(self, address: Address, verb: str) -> None:
        """Add a call that begins now."""
        now = self._now()
        with self._lock:
            self._calls[address] = OngoingCall(address, verb, now, now + self._interval)

    def replace_facts(self, address: Address, facts: Mapping[str, Any]) -> None:
        """Replace the facts of a call; ignored if it has ended."""
        with self._lock:
            if (call := self._calls.get(address)) is not None:
                call.facts = facts

    def remove_call(self, address: Address) -> None:
        """Remove a call that has ended."""
        with self._lock:
            self._calls.pop(address, None)

    def report_overdue_calls(self) -> None:
        """Report each call for which another interval has passed."""
        now = self._now()
        with self._lock:
            for call in self._calls.values():
                if now >= call.next_report_time:
                    # From now, not from the due time, so that a delay causes no burst of reports.
                    call.next_report_time = now + self._interval
                    self._report(call, now - call.start_time)


if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


# What is said of a call while it goes on, and of its success.
_WORDS_BY_VERB = {
    "create": ("Creating", "Creation complete"),
    "recreate-missing": ("Creating", "Creation complete"),
    "update": ("Modifying", "Modifications complete"),
    "delete": ("Destroying", "Destruction complete"),
    "adopt": ("Importing", "Import complete"),
    "forget": ("Forgetting", "Removed from state"),
    "no-op": ("Recording", "Record up to date"),
    "try": ("Trying", "Dry run complete"),
    "verify": ("Verifying", "Verification passed"),
}
# How calls end that did not succeed, else they failed.
_ENDINGS = {
    "refused": "Refused {}",
    "skipped": "Skipped",
    "unknown": "Outcome unknown {}",
    # Of a job: the call that started it has ended, and the job goes on.
    "running": "Still running {}",
    "timed-out": "Still running {}",
}
_REPORT_STEP = 0.25
# Seconds: a shorter wait is over before it is read.
_SHORTEST_SHOWN_WAIT = 1.0
# The results of calls that succeeded.
SUCCESS_RESULTS = frozenset({"done", "passed"})
# Of a call that ended so, nothing remains to be found out.
_TOLD_BY_REPORT = SUCCESS_RESULTS | {"failed", "refused", "skipped"}


def ongoing_word(verb: str) -> str:
    """What a call does, such as `Creating`; an unknown verb itself."""
    return _words(verb)[0]


def _words(verb: str) -> tuple[str, str]:
    word = sanitize(verb).capitalize()
    return _WORDS_BY_VERB.get(verb, (word, f"{word} done"))


def describe_call_ending(verb: str, result: str, seconds: float, remote_id: str = "") -> str:
    """How a call ended, such as `Creation complete after 1.2s [id=7]`."""
    duration_text = f"after {format_duration(seconds)}"
    if result in {*SUCCESS_RESULTS, UNRECORDED}:
        id_text = f" [id={sanitize(remote_id)}]" if remote_id else ""
        recorded_text = ", but the state could not record it" if result == UNRECORDED else ""
        return f"{_words(verb)[1]} {duration_text}{id_text}{recorded_text}"
    return _ENDINGS.get(result, "Failed {}").format(duration_text)


def _format_job_status(job: Job) -> str:
    return f"Verifying... job {sanitize(job.id)} {job.status.value}"


def _format_wait(seconds: float, location: str) -> str:
    return (
        f"Waiting {format_duration(seconds)} before the next write to the state ("
        f"{sanitize(location)})"
    )


def _job_percent(job: Job) -> str:
    return "" if job.progress is None else f", {job.progress:.0f}%"


def choose_display(stream: TextIO, *, color: bool, silent: bool = False) -> SilentProgress:
    """The display for a stream: bars on a terminal with colour, lines on another, else a log."""
    if silent:
        return SilentProgress()
    if not _is_terminal(stream):
        return LogProgress(stream, color=color)
    # Bars need control characters, which a terminal without colour may not understand.
    return LiveProgress(stream) if color else LineProgress(stream)


def _is_terminal(stream: TextIO) -> bool:
    # A closed stream raises ValueError, and a replaced one may have no `isatty`.
    with suppress(OSError, ValueError, AttributeError):
        return stream.isatty()
    return False


class ForgivingStream:
    """A text stream that ignores everything after the first write error.

    Rich answers a broken pipe by ending the program, which must not happen in the middle of an
    apply; so it never sees one.
    """

    def __init__(self, stream: TextIO) -> None:
        """The stream is never closed here."""
        self._stream = stream
        self._is_broken = False
        self._line_lock = threading.Lock()

    def write_whole_line(self, line: str) -> None:
        """Write a line and flush it; lines of several threads do not mix."""
        with self._line_lock:
            self.write(line)
            self.flush()

    def write(self, text: str) -> int:
        """Write a text; nothing after the first failure. Returns its length, as a file does."""
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush the stream; a failure counts as a write error."""
        self._try(self._stream.flush)

    def _try(self, use_stream: Callable[[], object]) -> None:
        if not self._is_broken:
            try:
                use_stream()
            except (OSError, ValueError):
                self._is_broken = True

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return _is_terminal(self._stream)

    def fileno(self) -> int:
        """The file descriptor, by which rich asks for the terminal's size."""
        return self._stream.fileno()

    @property
    def encoding(self) -> str:
        """The stream's encoding, else UTF-8."""
        return getattr(self._stream, "encoding", None) or "utf-8"


class SilentProgress:
    """A Progress (model.ports) that shows nothing; others draw inside of `with`."""

    def report_start(self, address: Address, verb: str) -> None:
        """Nothing."""

    def report_upload(self, address: Address, sent_bytes: int, total_bytes: int) -> None:
        """Nothing."""

    def report_job(self, address: Address, job: Job) -> None:
        """Nothing."""

    def report_end(
        self, address: Address, verb: str, result: str, seconds: float, remote_id: str = ""
    ) -> None:
        """Nothing."""

    def report_wait(self, seconds: float, location: str) -> None:
        """Nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        """Nothing."""


class LineProgress(SilentProgress):
    """A line when a call starts and ends, and at each quarter of an upload or a job.

    Progress never ends an apply: after a write error nothing more is written.
    """

    def __init__(self, stream: TextIO, *, color: bool = False) -> None:
        """Nothing is written yet."""
        self._stream = ForgivingStream(stream)
        self._style = Style(color)
        self._lock = threading.Lock()
        self._reported_shares: dict[Address, float] = {}
        self._reported_jobs: dict[Address, tuple[str, int]] = {}
        self._has_reported_wait = False

    def report_start(self, address: Address, verb: str) -> None:
        """Write a line such as `plugin/yolo: Creating...`."""
        self._write_resource_line(address, f"{ongoing_word(verb)}...")

    def report_wait(self, seconds: float, location: str) -> None:
        """Write a line when writes of the state wait for its pace, once for all waits."""
        with self._lock:
            is_first = seconds >= _SHORTEST_SHOWN_WAIT and not self._has_reported_wait
            self._has_reported_wait = self._has_reported_wait or is_first
        if is_first:
            self._stream.write_whole_line(f"{_format_wait(seconds, location)}\n")

    def report_upload(self, address: Address, sent_bytes: int, total_bytes: int) -> None:
        """Write a line at each quarter: `release/yolo@1.2.0: Uploading... 50% of 27.0 MiB`."""
        share = sent_bytes / total_bytes if total_bytes > 0 else 1.0
        with self._lock:
            reported_share = self._reported_shares.get(address, 0.0)
            if share < reported_share:  # a retry sends the file from its start
                self._reported_shares[address] = reported_share = 0.0
            # At the end of the upload the line of the call's end follows.
            is_due = share - reported_share >= _REPORT_STEP and share < 1
            if is_due:
                self._reported_shares[address] = share
        if is_due:
            size = format_byte_size(total_bytes)
            self._write_resource_line(address, f"Uploading... {share:.0%} of {size}")

    def report_job(self, address: Address, job: Job) -> None:
        """Write a line at each status or quarter: `... Verifying... job 12 running, 50%`."""
        # The quarter of the progress, so that a line is written when it changes.
        job_progress = (job.status.value, int((job.progress or 0.0) / 100 / _REPORT_STEP))
        with self._lock:
            is_due = self._reported_jobs.get(address) != job_progress and not job.status.has_ended
            self._reported_jobs[address] = job_progress
        if is_due:
            self._write_resource_line(address, f"{_format_job_status(job)}{_job_percent(job)}")

    def report_end(
        self, address: Address, verb: str, result: str, seconds: float, remote_id: str = ""
    ) -> None:
        """`plugin/yolo: Creation complete after 1.2s [id=7]`."""
        self._write_resource_line(address, describe_call_ending(verb, result, seconds, remote_id))

    def _write_resource_line(self, address: Address, text: str) -> None:
        name = self._style(sanitize(address), "bold")
        self._stream.write_whole_line(escape_ci_commands(f"{name}: {text}\n"))


class LogProgress(LineProgress):
    """What goes on, every 10 s, for a log that is read later: the report tells how calls ended.

    A line at once has only what the report does not tell by itself: the id of a job, and a call
    whose outcome is still looked for.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        color: bool = False,
        interval: float = REPORT_INTERVAL,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Long calls are reported by a thread, between `__enter__` and `__exit__`."""
        super().__init__(stream, color=color)
        self._ongoing_calls = OngoingCalls(self._write_ongoing_line, interval, now)
        self._now, self._interval = now, interval
        self._begun_at = self._told_at = now()
        self._counts: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._ongoing_calls.start_reporting()
        return self

    def __exit__(self, *raised: object) -> None:
        self._ongoing_calls.stop_reporting()

    def report_overdue_calls(self) -> None:
        """Write a line for each call for which another interval has passed."""
        self._ongoing_calls.report_overdue_calls()

    def report_start(self, address: Address, verb: str) -> None:
        """Note that the call is in progress."""
        self._ongoing_calls.add_call(address, verb)

    def report_upload(self, address: Address, sent_bytes: int, total_bytes: int) -> None:
        """Note the bytes for the next line of a long call."""
        self._ongoing_calls.replace_facts(
            address, {"": f"{format_byte_size(sent_bytes)} of {format_byte_size(total_bytes)}"}
        )

    def report_job(self, address: Address, job: Job) -> None:
        """Note the job's status; write `... Verifying... job 12 queued` once for each job."""
        status = f"job {sanitize(job.id)} {job.status.value}{_job_percent(job)}"
        self._ongoing_calls.replace_facts(address, {"": status})
        with self._lock:
            # The id, not the status: a log needs one line by which to find the job.
            is_new = self._reported_jobs.get(address) != (job.id, 0)
            self._reported_jobs[address] = (job.id, 0)
        if is_new:
            self._write_resource_line(address, _format_job_status(job))

    def report_end(
        self, address: Address, verb: str, result: str, seconds: float, remote_id: str = ""
    ) -> None:
        """Count the call; every 10 s a line tells the counts: `So far 120 done, 1 failed`."""
        self._ongoing_calls.remove_call(address)
        if result not in _TOLD_BY_REPORT:
            super().report_end(address, verb, result, seconds, remote_id)
        now = self._now()
        with self._lock:
            self._counts["done" if result in SUCCESS_RESULTS else result] += verb != "no-op"
            is_due = now >= self._told_at + self._interval
            self._told_at = now if is_due else self._told_at
            counts = ", ".join(f"{n:,} {name}" for name, n in self._counts.items() if n)
        if is_due and counts:
            elapsed = format_duration(now - self._begun_at)
            self._stream.write_whole_line(f"So far {counts} [{elapsed} elapsed]\n")

    def _write_ongoing_line(self, call: OngoingCall, seconds: float) -> None:
        facts = ", ".join([f"{format_duration(seconds)} elapsed", *map(str, call.facts.values())])
        self._write_resource_line(
            call.address, f"Still {ongoing_word(call.verb).lower()}... [{facts}]"
        )


class LiveProgress(LineProgress):
    """A line for each call that ended, and below them a bar for each in progress."""

    def __init__(self, stream: TextIO) -> None:
        """Nothing is drawn before `__enter__`."""
        super().__init__(stream, color=True)
        self._progress_bars: Bars | None = None
        self._task_ids: dict[Address, TaskID] = {}
        self._wait_id: TaskID | None = None

    def __enter__(self) -> Self:
        with suppress(Exception):
            # Progress must never end an apply, so every error of rich is dropped, here and below.
            # Imported here: rich is slow to import, and only bars need it.
            from rich.console import Console  # noqa: PLC0415
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

            self._progress_bars = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[sent]}", markup=False),
                TimeElapsedColumn(),
                console=Console(file=cast("TextIO", self._stream)),
                # The bars are removed at the end, since the report follows.
                transient=True,
            )
            self._progress_bars.start()
        return self

    def __exit__(self, *raised: object) -> None:
        # Taken out first: a thread that still reports then writes plain lines.
        bars, self._progress_bars = self._progress_bars, None
        if bars is not None:
            with suppress(Exception):
                bars.stop()

    def report_start(self, address: Address, verb: str) -> None:
        """Add a bar, which pulses until the size of an upload is known."""
        if self._progress_bars is None:
            super().report_start(address, verb)
            return
        with suppress(Exception), self._lock:
            text = f"{sanitize(address)}: {ongoing_word(verb)}..."
            self._task_ids[address] = self._progress_bars.add_task(text, total=None, sent="")

    def report_upload(self, address: Address, sent_bytes: int, total_bytes: int) -> None:
        """Update the bar of an upload, with a text such as `12.1 MiB of 1.0 GiB`."""
        with suppress(Exception), self._lock:
            if self._progress_bars is not None and address in self._task_ids:
                text = f"{format_byte_size(sent_bytes)} of {format_byte_size(total_bytes)}"
                # With a total of 0 rich shows a full bar at once.
                total, task_id = max(total_bytes, 1), self._task_ids[address]
                self._progress_bars.update(task_id, completed=sent_bytes, total=total, sent=text)

    def report_job(self, address: Address, job: Job) -> None:
        """Update the bar of a job, which pulses while its progress is not known."""
        if self._progress_bars is None:
            super().report_job(address, job)
            return
        with suppress(Exception), self._lock:
            if address in self._task_ids:
                text = f"{sanitize(address)}: {_format_job_status(job)}"
                total = None if job.progress is None else 100.0
                percent_done = job.progress or 0.0
                self._progress_bars.update(
                    self._task_ids[address], description=text, completed=percent_done, total=total
                )

    def report_wait(self, seconds: float, location: str) -> None:
        """Show a bar while writes of the state wait for its pace; it goes when the wait is over."""
        if self._progress_bars is None:
            super().report_wait(seconds, location)
            return
        with suppress(Exception), self._lock:
            if self._wait_id is not None:
                self._progress_bars.remove_task(self._wait_id)
                self._wait_id = None
            if seconds >= _SHORTEST_SHOWN_WAIT:
                text = _format_wait(seconds, location)
                self._wait_id = self._progress_bars.add_task(text, total=None, sent="")

    def report_end(
        self, address: Address, verb: str, result: str, seconds: float, remote_id: str = ""
    ) -> None:
        """Replace the bar by a line that stays."""
        with suppress(Exception), self._lock:
            task_id = self._task_ids.pop(address, None)
            if self._progress_bars is not None and task_id is not None:
                self._progress_bars.remove_task(task_id)
        if self._progress_bars is None:
            super().report_end(address, verb, result, seconds, remote_id)
            return
        with suppress(Exception):
            line = f"{sanitize(address)}: {describe_call_ending(verb, result, seconds, remote_id)}"
            # Nothing in a server's text is markup.
            self._progress_bars.console.print(line, markup=False, highlight=False, emoji=False)
