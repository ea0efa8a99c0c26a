"""What is printed while a job is followed: log lines, progress, its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synapse_apply.cli.console import Console
from synapse_apply.cli.texts.jobs import format_job_status, job_failure_text
from synapse_apply.model.command import Command, name_target_in_commands
from synapse_apply.model.errors import Exit
from synapse_apply.model.job import Job, JobStatus
from synapse_apply.model.remote.log_lines import LogLine
from synapse_apply.views.sanitize import sanitize
from synapse_apply.views.text.job_log import format_log_line, format_log_line_as_json
from synapse_apply.views.text.values import format_value_inline

if TYPE_CHECKING:
    from synapse_apply.library import TargetJobs

_PROGRESS_STEP = 10.0  # percent, between two words about progress


@dataclass
class JobFollower:
    """Prints what happens to one job.

    `log_only` prints only the log, for the command that shows logs.
    """

    console: Console
    log_only: bool = False
    _shown_status: JobStatus | None = None
    _shown_progress: float = 0.0

    def follow_log(
        self,
        jobs: TargetJobs,
        job_id: str,
        *,
        interval: float,
        timeout: float | None,
        tail: int | None = None,
    ) -> Job:
        """Follow a job to its end or the timeout; on an interrupt, say that it goes on."""
        with _hint_at_interrupt(self.console, job_id):
            return jobs.follow_log(
                job_id, self.write_log_line, on_job=self.show_step,
                on_note=self.show_note, tail=tail, interval=interval, timeout=timeout,
            )  # fmt: skip

    def write_log_line(self, line: LogLine) -> None:
        """A log line is the requested output, so it goes to stdout unless a document goes there."""
        if self.console.as_lines:
            self.console.write_output(format_log_line_as_json(line))
            return
        text = format_log_line(line, color=self.console.is_output_colored)
        (self.console.write_stderr if self.console.as_json else self.console.write_output)(text)

    def show_step(self, job: Job) -> None:
        """Print progress on a terminal only, never into a pipeline's log."""
        progress = job.progress or 0.0
        has_moved = (
            job.status is not self._shown_status
            or progress - self._shown_progress >= _PROGRESS_STEP
        )
        if self.log_only or not has_moved or not self.console.is_stderr_terminal:
            return
        self._shown_status, self._shown_progress = job.status, progress
        if not job.status.has_ended:
            self.console.write_stderr(
                f"Job {sanitize(job.id)}: {sanitize(format_job_status(job))}\n"
            )

    def show_note(self, text: str) -> None:
        self.console.write_stderr(
            f"{sanitize(name_target_in_commands(text, self.console.typed_target))}\n"
        )

    def print_job_end(self, job: Job, timeout: float | None) -> int:
        """Print how the job ended; returns the exit code."""
        name = f"Job {sanitize(job.id)}"
        if not job.status.has_ended:
            self.console.write_stderr(
                f"{name} has not ended after {timeout:g} s: {sanitize(format_job_status(job))}. "
                f"It goes on; "
                f"{_format_follow_hint(job.id, self.console)}.\n"
            )
            return Exit.ERROR
        # The server's reason may end with a full stop of its own.
        failure_reason = sanitize(job_failure_text(job)).removesuffix(".")
        message = f"{name} {job.status.value}{f': {failure_reason}' if failure_reason else ''}."
        if self.log_only or self.console.as_json:
            self.console.write_stderr(
                "" if self.log_only and _is_completed(job) else f"{message}\n"
            )
        else:
            self.console.write_output(f"{message}\n")
            if job.raw.get("result") is not None:
                self.console.write_output(f"Result: {format_value_inline(job.raw['result'])}\n")
        return Exit.OK if _is_completed(job) else Exit.ERROR


@contextmanager
def _hint_at_interrupt(console: Console, job_id: str) -> Iterator[None]:
    from synapse_apply.cli.help_pages import Terminated

    try:
        yield
    except (KeyboardInterrupt, Terminated):
        console.write_stderr(
            f"\nJob {sanitize(job_id)} goes on; {_format_follow_hint(job_id, console)}."
        )
        raise


def _format_follow_hint(job_id: str, console: Console) -> str:
    command = Command("jobs logs", sanitize(job_id), "--follow", target=console.typed_target)
    return f"{command} follows it"


def _is_completed(job: Job) -> bool:
    return job.status is JobStatus.COMPLETED
