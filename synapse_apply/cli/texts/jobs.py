"""What is printed of jobs: as text and as JSON, and while one is followed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synapse_apply.cli.console import Console
from synapse_apply.model.command import Command, name_target_in_commands
from synapse_apply.model.errors import Exit
from synapse_apply.model.job import Job, JobStatus
from synapse_apply.model.json_types import JsonDocument
from synapse_apply.model.remote import LogLine, iter_log_lines
from synapse_apply.model.values import flatten
from synapse_apply.views.grammar import format_server_time
from synapse_apply.views.json.documents import format_log_line_as_json
from synapse_apply.views.sanitize import sanitize
from synapse_apply.views.text.record import format_log_line, render_fields_block
from synapse_apply.views.text.terminal import stream_table
from synapse_apply.views.text.values import format_value_inline

if TYPE_CHECKING:
    from synapse_apply.library import TargetJobs


_HEADERS = ("id", "status", "progress", "plugin", "version", "created", "ended")
_PROGRESS_COLUMN = 2
# Told in other places, or a second time under another name.
_HIDDEN_FIELDS = frozenset({"id", "job_id", "status", "progress", "logs"})
_FIELD_TWINS = {"params": "parameters", "meta": "metadata"}


def print_jobs_table(
    console: Console, jobs: Iterable[Job], empty_text: str = "There is no such job."
) -> int:
    """Print each job's row as it arrives, or all as one JSON document; returns the exit code."""
    if console.as_json:
        console.write_or_keep_document({"jobs": [build_job_document(job) for job in jobs]})
        return 0
    has_rows = False
    for chunk in stream_table(
        _HEADERS,
        map(_build_job_row, jobs),
        color=console.is_output_colored,
        right_columns={_PROGRESS_COLUMN},
    ):
        console.write_output(chunk)
        has_rows = True
    if not has_rows:
        console.write_stderr(f"{empty_text}\n")
    return 0


def print_job(console: Console, job: Job) -> int:
    """Print all fields of a job, and its log if it was requested; returns the exit code."""
    if console.as_json:
        console.write_or_keep_document(build_job_document(job))
        return 0
    heading = f"job {job.id}: {format_job_status(job)}"
    fields = flatten(
        {
            name: value
            for name, value in job.raw.items()
            if name not in _HIDDEN_FIELDS
            and value not in (None, "", [], {}, False)
            and not (name in _FIELD_TWINS and job.raw.get(_FIELD_TWINS[name]) == value)
        }
    )
    object_label = ("job", job.id, job.id)
    console.write_output(
        render_fields_block(
            heading,
            object_label,
            fields,
            color=console.is_output_colored,
            width=console.terminal_width,
        )
    )
    for log_entry in job.raw.get("logs") or ():
        for line in iter_log_lines(log_entry):
            console.write_output(format_log_line(line, color=console.is_output_colored))
    return 0


def build_job_document(job: Job) -> JsonDocument:
    """A job in the API page's vocabulary, and under `raw` as its server sent it."""
    return {
        "id": job.id,
        "status": job.status.value,
        "progress": job.progress,
        "plugin": job.plugin or job.plugin_code,
        "plugin_code": job.plugin_code,
        "version": job.version,
        "created": job.created,
        "completed": job.completed,
        "raw": job.raw,
    }


def format_job_status(job: Job) -> str:
    """The status with the progress, `running (40%)`; an unknown one with the server's word."""
    word = job.status.value
    if word == "unknown":
        word = f"unknown ({job.raw.get('status')})"
    return word if job.progress is None or job.status.has_ended else f"{word} ({job.progress:g}%)"


def job_failure_text(job: Job) -> str:
    """Why a job failed, in the server's words; "" where it gives no reason."""
    job_error = job.raw.get("error")
    if isinstance(job_error, Mapping):
        parts = (job_error.get("error_type"), job_error.get("message"))
        return ": ".join(str(part) for part in parts if part)
    return str(job_error) if job_error else ""


def _build_job_row(job: Job) -> tuple[object, ...]:
    percent = "" if job.progress is None else f"{job.progress:g}%"
    times = (format_server_time(job.created), format_server_time(job.completed))
    plugin = job.plugin_code or job.plugin
    return (job.id, job.status.value, percent, plugin, job.version, *times)


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
        is_completed = job.status is JobStatus.COMPLETED
        if self.log_only or self.console.as_json:
            self.console.write_stderr("" if self.log_only and is_completed else f"{message}\n")
        else:
            self.console.write_output(f"{message}\n")
            if job.raw.get("result") is not None:
                self.console.write_output(f"Result: {format_value_inline(job.raw['result'])}\n")
        return Exit.OK if is_completed else Exit.ERROR


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
