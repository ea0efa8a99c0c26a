"""What is printed of jobs, as text and as JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime

from synapse_apply.cli.console import Console
from synapse_apply.model.coding.json_types import JsonDocument
from synapse_apply.model.job import Job
from synapse_apply.model.remote.log_lines import iter_log_lines
from synapse_apply.model.values import flatten
from synapse_apply.views.text.job_log import format_log_line
from synapse_apply.views.text.record import render_fields_block
from synapse_apply.views.text.tables import stream_table

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


def format_server_time(text: str) -> str:
    """A server's time in UTC, as all times are shown; without fractions alone if it has no zone."""
    with suppress(ValueError, OverflowError):
        if (moment := datetime.fromisoformat(text)).tzinfo:
            text = f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"
    return re.sub(r"\.\d+", "", text)


def _build_job_row(job: Job) -> tuple[object, ...]:
    percent = "" if job.progress is None else f"{job.progress:g}%"
    times = (format_server_time(job.created), format_server_time(job.completed))
    plugin = job.plugin_code or job.plugin
    return (job.id, job.status.value, percent, plugin, job.version, *times)
