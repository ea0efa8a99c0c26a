"""What an apply is doing right now, on stderr: bars on a terminal, a log off it. Home of rich."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO, cast

from synapse_apply.model.address import Address
from synapse_apply.model.frozen import frozen
from synapse_apply.model.job import Job
from synapse_apply.views.grammar import byte_size, elapsed
from synapse_apply.views.pen import Pen
from synapse_apply.views.safety import clean, disarm
from synapse_apply.views.under_way import INTERVAL, Call, UnderWay

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


@frozen
class Words:
    """How one verb is told while it goes on, when it ended well and when not."""

    doing: str
    done: str


_WORDS = {
    "create": Words("Creating", "Creation complete"),
    "recreate-missing": Words("Creating", "Creation complete"),
    "update": Words("Modifying", "Modifications complete"),
    "delete": Words("Destroying", "Destruction complete"),
    "adopt": Words("Importing", "Import complete"),
    "forget": Words("Forgetting", "Removed from state"),
    "no-op": Words("Recording", "Record up to date"),
    "try": Words("Trying", "Trial complete"),
    "verify": Words("Verifying", "Verification passed"),
}
_STEP = 0.25
# The results of calls that came to what was asked for.
WELL = frozenset({"done", "passed"})


def words_of(verb: str) -> Words:
    """The words of a verb; a verb nobody foresaw speaks for itself."""
    return _WORDS.get(verb) or Words(clean(verb).capitalize(), f"{clean(verb).capitalize()} done")


def ending(verb: str, result: str, seconds: float, remote_id: str = "") -> str:
    """How a resource's line ends: `Creation complete after 1.2s [id=7]`."""
    took = f"after {elapsed(seconds)}"
    if result in WELL:
        of = f" [id={clean(remote_id)}]" if remote_id else ""
        return f"{words_of(verb).done} {took}{of}"
    if result == "refused":
        return f"Refused {took}"
    if result == "skipped":
        return "Skipped"
    if result == "unknown":
        return f"No answer {took}: nobody can tell yet whether it was done"
    if result in {"running", "timed-out"}:
        return f"Still running {took}"
    return f"Failed {took}"


def _verifying(job: Job) -> str:
    return f"{words_of('verify').doing}... job {clean(job.id)} {job.status.value}"


def _percent(job: Job) -> str:
    return "" if job.progress is None else f", {job.progress:.0f}%"


class Display(Protocol):
    """A Progress (model.ports) that takes and gives back the terminal."""

    def started(self, address: Address, verb: str) -> None: ...
    def sent(self, address: Address, done: int, total: int) -> None: ...
    def looked(self, address: Address, job: Job) -> None: ...
    def finished(
        self, address: Address, verb: str, result: str, seconds: float, remote_id: str = ""
    ) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None: ...


def open_progress(stream: TextIO, *, color: bool, quiet: bool = False) -> Display:
    """The display that fits: bars on a capable terminal, lines on a dumb one, a log elsewhere."""
    if quiet:
        return Silent()
    if not _is_terminal(stream):
        return Log(stream, color=color)
    return Live(stream) if color else Lines(stream)


def _is_terminal(stream: TextIO) -> bool:
    with suppress(OSError, ValueError, AttributeError):
        return stream.isatty()
    return False


class Forgiving:
    """A text stream that drops what cannot be written.

    Rich answers a broken pipe by ending the program, which must not happen in the middle of an
    apply; so it never sees one.
    """

    def __init__(self, stream: TextIO) -> None:
        """The stream stays its owner's."""
        self._stream = stream
        self._broken = False
        self._line = threading.Lock()

    def write_line(self, line: str) -> None:
        """A line from any thread, whole and at once."""
        with self._line:
            self.write(line)
            self.flush()

    def write(self, text: str) -> int:
        """All of the text, or nothing from the first failure on."""
        if not self._broken:
            try:
                self._stream.write(text)
            except (OSError, ValueError):
                self._broken = True
        return len(text)

    def flush(self) -> None:
        """Nothing is said where that fails."""
        if not self._broken:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self._broken = True

    def isatty(self) -> bool:
        """Whether the stream is a terminal."""
        return _is_terminal(self._stream)

    def fileno(self) -> int:
        """For asking the terminal's size."""
        return self._stream.fileno()

    @property
    def encoding(self) -> str:
        """What the stream writes."""
        return getattr(self._stream, "encoding", None) or "utf-8"


class Silent:
    """Says nothing."""

    def started(self, address: Address, verb: str) -> None:
        """Nothing."""

    def sent(self, address: Address, done: int, total: int) -> None:
        """Nothing."""

    def looked(self, address: Address, job: Job) -> None:
        """Nothing."""

    def finished(
        self, address: Address, verb: str, result: str, seconds: float, remote_id: str = ""
    ) -> None:
        """Nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Nothing to give back."""


class Lines(Silent):
    """A line when a resource starts and ends, at each quarter of an upload or of a job.

    Progress never ends an apply: a stream that cannot be written to is left alone from then on.
    """

    def __init__(self, stream: TextIO, *, color: bool = False) -> None:
        """Lines come from several threads; each is written whole."""
        self._stream = Forgiving(stream)
        self._pen = Pen(color)
        self._lock = threading.Lock()
        self._told: dict[Address, float] = {}
        self._jobs: dict[Address, tuple[str, int]] = {}

    def started(self, address: Address, verb: str) -> None:
        """`plugin/yolo: Creating...`."""
        self._write(address, f"{words_of(verb).doing}...")

    def sent(self, address: Address, done: int, total: int) -> None:
        """`release/yolo@1.2.0: Uploading... 50% of 27.0 MiB`."""
        share = done / total if total > 0 else 1.0
        with self._lock:
            told = self._told.get(address, 0.0)
            if share < told:  # sent anew
                self._told[address] = told = 0.0
            due = share - told >= _STEP and share < 1
            if due:
                self._told[address] = share
        if due:
            self._write(address, f"Uploading... {share:.0%} of {byte_size(total)}")

    def looked(self, address: Address, job: Job) -> None:
        """`release/yolo@1.2.0: Verifying... job 12 running, 50%`."""
        at = (job.status.value, int((job.progress or 0.0) / 100 / _STEP))
        with self._lock:
            due = self._jobs.get(address) != at and not job.status.ended
            self._jobs[address] = at
        if due:
            self._write(address, f"{_verifying(job)}{_percent(job)}")

    def finished(
        self, address: Address, verb: str, result: str, seconds: float, remote_id: str = ""
    ) -> None:
        """`plugin/yolo: Creation complete after 1.2s [id=7]`."""
        self._write(address, ending(verb, result, seconds, remote_id))

    def _write(self, address: Address, text: str) -> None:
        self._stream.write_line(disarm(f"{self._pen(clean(address), 'bold')}: {text}\n"))


class Log(Lines):
    """A line as each call ends, for a log that is read later; every 10 s one on what goes on.

    A record that was only brought up to date gets none, as it has no row in the report.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        color: bool = False,
        interval: float = INTERVAL,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """What takes long is reported by itself only in `with`."""
        super().__init__(stream, color=color)
        self._under_way = UnderWay(self._still, interval, now)

    def __enter__(self) -> Self:
        self._under_way.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._under_way.close()

    def report_due(self) -> None:
        """Write a line on each call that has gone on for another interval."""
        self._under_way.report_due()

    def started(self, address: Address, verb: str) -> None:
        """No line: its end has one."""
        self._under_way.start(address, verb)

    def sent(self, address: Address, done: int, total: int) -> None:
        """No line: it stands in that on a call that takes long."""
        self._under_way.describe(address, {"": f"{byte_size(done)} of {byte_size(total)}"})

    def looked(self, address: Address, job: Job) -> None:
        """`release/yolo@1.2.0: Verifying... job 12 queued`, once a job."""
        status = f"job {clean(job.id)} {job.status.value}{_percent(job)}"
        self._under_way.describe(address, {"": status})
        with self._lock:
            is_new = self._jobs.get(address) != (job.id, 0)
            self._jobs[address] = (job.id, 0)
        if is_new:
            self._write(address, _verifying(job))

    def finished(
        self, address: Address, verb: str, result: str, seconds: float, remote_id: str = ""
    ) -> None:
        """`plugin/yolo: Creation complete after 1.2s [id=7]`."""
        self._under_way.end(address)
        if verb != "no-op" or result not in WELL:
            super().finished(address, verb, result, seconds, remote_id)

    def _still(self, call: Call, seconds: float) -> None:
        facts = ", ".join([f"{elapsed(seconds)} elapsed", *map(str, call.facts.values())])
        self._write(call.address, f"Still {words_of(call.verb).doing.lower()}... [{facts}]")


class Live(Lines):
    """A line for each resource that ended, and below them a bar for each that is going on."""

    def __init__(self, stream: TextIO) -> None:
        """Nothing is drawn before `with`."""
        super().__init__(stream, color=True)
        self._bars: Bars | None = None
        self._tasks: dict[Address, TaskID] = {}

    def __enter__(self) -> Self:
        with suppress(Exception):
            self._bars = _bars(self._stream)
            self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        bars, self._bars = self._bars, None
        if bars is not None:
            with suppress(Exception):
                bars.stop()

    def started(self, address: Address, verb: str) -> None:
        """A bar that moves until it is known how much there is to send."""
        if self._bars is None:
            super().started(address, verb)
            return
        with suppress(Exception), self._lock:
            text = f"{clean(address)}: {words_of(verb).doing}..."
            self._tasks[address] = self._bars.add_task(text, total=None, sent="")

    def sent(self, address: Address, done: int, total: int) -> None:
        """The bar of an upload, and how much of it has gone: `12.1 MiB of 1.0 GiB`."""
        with suppress(Exception), self._lock:
            if self._bars is not None and address in self._tasks:
                text = f"{byte_size(done)} of {byte_size(total)}"
                self._bars.update(
                    self._tasks[address], completed=done, total=max(total, 1), sent=text
                )

    def looked(self, address: Address, job: Job) -> None:
        """The bar of a job, which moves until it is known how far the job is."""
        if self._bars is None:
            super().looked(address, job)
            return
        with suppress(Exception), self._lock:
            if address in self._tasks:
                text = f"{clean(address)}: {_verifying(job)}"
                total = None if job.progress is None else 100.0
                done = job.progress or 0.0
                self._bars.update(
                    self._tasks[address], description=text, completed=done, total=total
                )

    def finished(
        self, address: Address, verb: str, result: str, seconds: float, remote_id: str = ""
    ) -> None:
        """The bar makes room for a line that stays."""
        with suppress(Exception), self._lock:
            task = self._tasks.pop(address, None)
            if self._bars is not None and task is not None:
                self._bars.remove_task(task)
        if self._bars is None:
            super().finished(address, verb, result, seconds, remote_id)
            return
        with suppress(Exception):
            line = f"{clean(address)}: {ending(verb, result, seconds, remote_id)}"
            self._bars.console.print(line, markup=False, highlight=False, emoji=False)


def _bars(stream: Forgiving) -> Bars:
    # Imported here: only a terminal that draws bars pays for rich.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[sent]}", markup=False),
        TimeElapsedColumn(),
        console=Console(file=cast("TextIO", stream)),
        transient=True,
    )
