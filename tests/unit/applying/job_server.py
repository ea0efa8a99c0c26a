"""A server with one job, in memory: its log grows as it is read, its tail breaks by plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from synapse_apply.applying.logs.following import FollowOptions
from synapse_apply.applying.logs.tailing import LogListener, LogTailer
from synapse_apply.model.errors import NotFound, RemoteError, ServerFault, Unreachable
from synapse_apply.model.job import Job
from synapse_apply.model.remote.log_lines import LogLine


@dataclass
class JobServer:
    """`begins`: start, now, or how many lines before now; `cuts`: frames until a break, in turn.

    `steps` are lines written between two requests, and between two frames.
    """

    lines: Sequence[Any]
    begins: str | int = "start"
    cuts: list[int] = field(default_factory=list)
    step: int = 1
    tail_entry: Any = staticmethod(lambda entry: entry)
    has_tail: bool = True
    has_list: bool = True
    list_fails: list[RemoteError] = field(default_factory=list)
    job_fails: list[RemoteError] = field(default_factory=list)
    tail_fails: list[RemoteError] = field(default_factory=list)
    status: str = "completed"
    written: int = 0
    says_complete: bool = True
    asked: list[str] = field(default_factory=list)
    passes: Any = staticmethod(lambda: None)  # called whenever something is written

    def get_job(self, pk: Any, params: Any = None) -> dict[str, Any]:
        self.asked.append("job")
        if self.job_fails:
            raise self.job_fails.pop(0)
        self._write()
        ended = self.written >= len(self.lines)
        return {"id": pk, "status": self.status if ended else "running"}

    def iterate_job_console_logs(self, pk: Any) -> Iterator[Any]:
        self.asked.append("list")
        if not self.has_list:
            raise RemoteError("no list", status_code=405)
        self._write()
        for number, line in enumerate(self.lines[: self.written]):
            if self.list_fails and number >= self.written // 2:
                raise self.list_fails.pop(0)
            yield line

    def tail_job_console_logs(
        self, pk: Any, *, max_seconds: float | None = None
    ) -> Iterator[dict[str, Any]]:
        self.asked.append("tail")
        if not self.has_tail:
            raise RemoteError("no tail", status_code=405)
        if self.tail_fails:
            raise self.tail_fails.pop(0)
        left = self.cuts.pop(0) if self.cuts else None
        at = self._begin()
        yield {"type": "connected", "job_id": pk}
        while at < len(self.lines):
            if at >= self.written:
                self._write()
                yield {"type": "heartbeat"}
                continue
            if left == 0:
                raise Unreachable("cut")
            left = None if left is None else left - 1
            yield {"type": "log", "data": self.tail_entry(self.lines[at])}
            at += 1
        if self.says_complete:
            yield {"type": "complete", "message": "over"}

    def _begin(self) -> int:
        if self.begins == "start":
            return 0
        back = 0 if self.begins == "now" else int(self.begins)
        return max(self.written - back, 0)

    def _write(self) -> None:
        self.passes()
        self.written = min(self.written + self.step, len(self.lines))


@dataclass
class Told:
    """What a follower told: lines, looks, notes."""

    lines: list[LogLine] = field(default_factory=list)
    looks: list[Job] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def messages(self) -> list[str]:
        return [line.message for line in self.lines]


class Time:
    """A clock that only waits move."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def pause(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


def tailer(
    server: Any, told: Told, *, timeout: float | None = None, last: int | None = None
) -> tuple[LogTailer, Time]:
    time = Time()
    pace = FollowOptions(5.0, timeout, time.pause, lambda: time.now)
    watcher = LogListener(told.lines.append, told.looks.append, told.notes.append)
    return LogTailer(server, "7", pace, watcher, last), time


def follow(server: Any, **options: Any) -> tuple[Job, Told]:
    told = Told()
    job = tailer(server, told, **options)[0].follow_log()
    return job, told


__all__ = ["JobServer", "NotFound", "ServerFault", "Told", "Unreachable", "follow", "tailer"]
