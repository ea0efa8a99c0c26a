"""A job that is followed at a terminal or in a pipeline: its lines, its progress, its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synapse_apply.applying.tailing import Watcher
from synapse_apply.cli.face import Face
from synapse_apply.cli.job_texts import reason, standing
from synapse_apply.model.aim import aimed
from synapse_apply.model.errors import Exit
from synapse_apply.model.job import Job, JobStatus
from synapse_apply.model.logs import LogLine
from synapse_apply.views.literals import inline
from synapse_apply.views.logs import log_json, log_text
from synapse_apply.views.safety import clean

if TYPE_CHECKING:
    from synapse_apply.session.jobs import Follow
    from synapse_apply.session.reach import Reach

_STEP = 10.0  # percent, between two words about progress


@dataclass
class Onlooker:
    """Tells of one job. `quiet`: of its log alone, as a command does that is asked for the log."""

    face: Face
    quiet: bool = False
    _status: JobStatus | None = None
    _told: float = 0.0

    def watcher(self) -> Watcher:
        return Watcher(self.line, self.look, self.note)

    def line(self, line: LogLine) -> None:
        """A line of the log is what was asked for, so it goes to stdout where that is free."""
        if self.face.in_lines:
            self.face.out(log_json(line))
            return
        text = log_text(line, color=self.face.color_out)
        (self.face.err if self.face.as_json else self.face.out)(text)

    def look(self, job: Job) -> None:
        """Progress is for who watches: never in a log of a pipeline."""
        progress = job.progress or 0.0
        moved = job.status is not self._status or progress - self._told >= _STEP
        if self.quiet or not moved or not self.face.is_watched:
            return
        self._status, self._told = job.status, progress
        if not job.status.ended:
            self.face.err(f"Job {clean(job.id)}: {clean(standing(job))}\n")

    def note(self, text: str) -> None:
        self.face.err(f"{clean(aimed(text, self.face.aim))}\n")

    def end(self, job: Job, timeout: float | None) -> int:
        """How the job ended, in words, and the exit code that says so."""
        name = f"Job {clean(job.id)}"
        if not job.status.ended:
            self.face.err(
                f"{name} has not ended after {timeout:g} s: {clean(standing(job))}. It goes on; "
                f"{_how_to_follow(job.id, self.face)}.\n"
            )
            return Exit.ERROR
        why = reason(job)
        words = f"{name} {job.status.value}{f': {clean(why)}' if why else ''}.".replace("..", ".")
        if self.quiet or self.face.as_json:
            self.face.err("" if self.quiet and _went_well(job) else f"{words}\n")
        else:
            self.face.out(f"{words}\n")
            if job.raw.get("result") is not None:
                self.face.out(f"Result: {inline(job.raw['result'])}\n")
        return Exit.OK if _went_well(job) else Exit.ERROR


def follow(reach: Reach, job_id: str, how: Follow, told: Onlooker, last: int | None = None) -> Job:
    """Follow a job; whoever stops watching is told that the job goes on."""
    from synapse_apply.session.jobs import follow_log

    with _staying(told.face, job_id):
        return follow_log(reach, job_id, how, told.watcher(), last)


@contextmanager
def _staying(face: Face, job_id: str) -> Iterator[None]:
    from synapse_apply.cli.manual import Terminated

    try:
        yield
    except (KeyboardInterrupt, Terminated):
        face.err(f"\nJob {clean(job_id)} goes on; {_how_to_follow(job_id, face)}.")
        raise


def _how_to_follow(job_id: str, face: Face) -> str:
    return aimed(f"`synapse-apply jobs logs {clean(job_id)} --follow` follows it", face.aim)


def _went_well(job: Job) -> bool:
    return job.status is JobStatus.COMPLETED
