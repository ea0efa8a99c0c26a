"""A server with one job, in memory: its log grows as it is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from synapse_apply import RemoteError
from synapse_apply.applying.logs import FollowOptions, LogListener, LogTailer
from synapse_apply.model.errors import NotFound, ServerFault, Unreachable
from synapse_apply.model.job import Job
from synapse_apply.model.remote import LogLine


@dataclass
class JobServer:
    """`step` lines are written between two requests."""

    lines: Sequence[Any]
    step: int = 1
    has_list: bool = True
    list_fails: list[RemoteError] = field(default_factory=list)
    job_fails: list[RemoteError] = field(default_factory=list)
    status: str = "completed"
    written: int = 0
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
    server: Any,
    told: Told,
    *,
    timeout: float | None = None,
    last: int | None = None,
    **more: Any,
) -> tuple[LogTailer, Time]:
    """`more` are further fields of FollowOptions."""
    time = Time()
    pace = FollowOptions(5.0, timeout, time.pause, lambda: time.now, **more)
    watcher = LogListener(told.lines.append, told.looks.append, told.notes.append)
    return LogTailer(server, "7", pace, watcher, last), time


def follow(server: Any, **options: Any) -> tuple[Job, Told]:
    told = Told()
    job = tailer(server, told, **options)[0].follow_log()
    return job, told


__all__ = ["JobServer", "NotFound", "ServerFault", "Told", "Unreachable", "follow", "tailer"]
