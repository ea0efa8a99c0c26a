"""What is printed of jobs: as text and as JSON, and while one is followed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import Terminated, interruption_advice
from synapse_apply.model.command import Command
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
    from synapse_apply.library import StartedRun, TargetJobs


_STARTED_ADVICE = "The run was started. The same command would start another run."
_HEADERS = ("id", "status", "progress", "plugin", "version", "created", "ended")
_PROGRESS_COLUMN = 2
# Told in other places, or a second time under another name.
_HIDDEN_FIELDS = frozenset({"id", "job_id", "status", "progress", "logs"})
_FIELD_TWINS = {"params": "parameters", "meta": "metadata"}


@dataclass
class RunDisplay:
    """Prints what became of a run of a plugin: its job, or its answer."""

    console: Console
    plugin: str
    is_awaited: bool
    started_run: StartedRun | None = None

    def show(self, started_run: StartedRun) -> None:
        """Print the job's id, or what the server answered in place of a job."""
        self.started_run = started_run
        if started_run.job is not None:
            self.console.write_note(f"Job {sanitize(started_run.job.id)} started.")
            return
        name, status = sanitize(self.plugin), started_run.status
        if not status.has_ended:
            way = "the run cannot be followed"
            if started_run.has_result_ticket:
                way = "the command waits for it" if self.is_awaited else "--follow waits for a job"
            self.console.write_note(
                f"{name} was started, but the answer contains neither a job nor a result: {way}."
            )
        elif not self.console.as_json:
            bad = "" if status is JobStatus.COMPLETED else f" that it {status.value}"
            answer = format_value_inline(started_run.answer)
            self.console.write_note(f"{name} ran, and answered{bad or ' at once'}: {answer}")

    @contextmanager
    def advise_if_interrupted(self) -> Iterator[None]:
        """On an interrupt after the start, write the document with the job's id."""
        try:
            yield
        except (KeyboardInterrupt, Terminated) as interruption:
            if self.started_run is not None:
                if not interruption_advice(interruption):
                    interruption.add_note(_STARTED_ADVICE)
                if self.console.as_json and not self.console.has_written_document:
                    self.console.write_or_keep_document(build_run_document(self.started_run))
            raise


def build_run_document(started_run: StartedRun) -> JsonDocument:
    """The job of a run, or its answer where there is no job."""
    if started_run.job is None:
        return {"job_id": None, "result": started_run.answer}
    return {"job_id": started_run.job.id, "job": build_job_document(started_run.job)}


def print_jobs_table(
    console: Console, jobs: Iterable[Job], empty_text: str = "No job matches."
) -> int:
    """Print each job's row as it arrives, or all as one JSON document; returns the exit code."""
    if console.as_json:
        console.write_or_keep_document({"jobs": [build_job_document(job) for job in jobs]})
        return 0
    has_rows = False
    rows = (
        (
            *(job.id, job.status.value, "" if job.progress is None else f"{job.progress:g}%"),
            *(job.plugin_code or job.plugin, job.version),
            *(format_server_time(job.created), format_server_time(job.completed)),
        )
        for job in jobs
    )
    color, right_columns = console.is_output_colored, {_PROGRESS_COLUMN}
    for chunk in stream_table(_HEADERS, rows, color=color, right_columns=right_columns):
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
    told = {
        name: value
        for name, value in job.raw.items()
        if name not in _HIDDEN_FIELDS
        and value not in (None, "", [], {}, False)
        and not (name in _FIELD_TWINS and job.raw.get(_FIELD_TWINS[name]) == value)
    }
    label, fields = ("job", job.id, job.id), flatten(told)
    console.write_output(render_fields_block(heading, label, fields, **console.layout))
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
        try:
            return jobs.follow_log(
                job_id, self.write_log_line, on_job=self.show_step,
                on_note=self.show_note, tail=tail, interval=interval, timeout=timeout,
            )  # fmt: skip
        except (KeyboardInterrupt, Terminated):
            hint = _format_follow_hint(job_id, self.console)
            self.console.write_stderr(f"\nJob {sanitize(job_id)} continues; {hint}.\n")
            raise

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
        has_progressed = progress - self._shown_progress >= _PROGRESS_STEP
        has_moved = job.status is not self._shown_status or has_progressed
        if self.log_only or not has_moved or not self.console.is_stderr_terminal:
            return
        self._shown_status, self._shown_progress = job.status, progress
        if not job.status.has_ended:
            status = sanitize(format_job_status(job))
            self.console.write_stderr(f"Job {sanitize(job.id)}: {status}\n")

    def show_note(self, text: str) -> None:
        self.console.write_stderr(f"{sanitize(self.console.name_target(text))}\n")

    def print_job_end(self, job: Job, timeout: float | None) -> int:
        """Print how the job ended; returns the exit code."""
        name = f"Job {sanitize(job.id)}"
        if not job.status.has_ended:
            status = sanitize(format_job_status(job))
            hint = _format_follow_hint(job.id, self.console)
            self.console.write_stderr(
                f"{name} has not ended after {timeout:g} s: {status}. The job continues; {hint}.\n"
            )
            return Exit.ERROR
        # Why it failed, in the server's words, which may end with a full stop of their own.
        error = job.raw.get("error") or ""
        if isinstance(error, Mapping):
            parts = (error.get("error_type"), error.get("message"))
            error = ": ".join(str(part) for part in parts if part)
        failure_reason = sanitize(error).removesuffix(".")
        message = f"{name} {job.status.value}{f': {failure_reason}' if failure_reason else ''}."
        is_completed = job.status is JobStatus.COMPLETED
        if self.log_only or self.console.as_json:
            self.console.write_stderr("" if self.log_only and is_completed else f"{message}\n")
        else:
            self.console.write_output(f"{message}\n")
            if job.raw.get("result") is not None:
                self.console.write_output(f"Result: {format_value_inline(job.raw['result'])}\n")
        return Exit.OK if is_completed else Exit.ERROR


def _format_follow_hint(job_id: str, console: Console) -> str:
    command = Command("jobs logs", sanitize(job_id), "--follow", target=console.typed_target)
    return f"follow it with {command}"
