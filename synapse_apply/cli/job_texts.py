"""Jobs as a person reads them, and as documents."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from synapse_apply.cli.face import Face
from synapse_apply.model.job import Job
from synapse_apply.model.logs import lines_of
from synapse_apply.model.values import leaves
from synapse_apply.views.logs import log_text
from synapse_apply.views.record import render_fields
from synapse_apply.views.tables import stream_table

_HEADS = ("id", "status", "progress", "plugin", "version", "created", "ended")
_PROGRESS = 2
# Told in other places, or a second time under another name.
_TOLD = frozenset({"id", "job_id", "status", "progress", "logs"})
_TWINS = {"params": "parameters", "meta": "metadata"}


def list_jobs(face: Face, jobs: Iterable[Job]) -> int:
    """A row a job as they come; as JSON one document of them all."""
    if face.as_json:
        face.document({"jobs": [job_document(job) for job in jobs]})
        return 0
    told = False
    for piece in stream_table(_HEADS, map(_row, jobs), color=face.color_out, right={_PROGRESS}):
        face.out(piece)
        told = True
    if not told:
        face.err("There is no such job.\n")
    return 0


def show_job(face: Face, job: Job) -> int:
    """All that the server says of a job, and its log where that was asked for."""
    if face.as_json:
        face.document(job_document(job))
        return 0
    heading = f"job {job.id}: {standing(job)}"
    fields = leaves(_fields(job.raw))
    named = ("job", job.id, job.id)
    face.out(render_fields(heading, named, fields, color=face.color_out, width=face.width))
    for entry in job.raw.get("logs") or ():
        for line in lines_of(entry):
            face.out(log_text(line, color=face.color_out))
    return 0


def job_document(job: Job) -> dict[str, Any]:
    """A job in one vocabulary, and under `raw` as its server has it."""
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


def standing(job: Job) -> str:
    """`running (40%)`; a word that nobody knows is the server's own."""
    word = job.status.value
    if word == "unknown":
        word = f"unknown ({job.raw.get('status')})"
    return word if job.progress is None or job.status.ended else f"{word} ({job.progress:g}%)"


def reason(job: Job) -> str:
    """Why a job failed, in the server's words; "" where it says nothing."""
    told = job.raw.get("error")
    if isinstance(told, Mapping):
        parts = (told.get("error_type"), told.get("message"))
        return ": ".join(str(part) for part in parts if part)
    return str(told) if told else ""


def short_time(text: str) -> str:
    """A server's time without its fractions of a second."""
    return re.sub(r"\.\d+", "", text)


def _row(job: Job) -> tuple[object, ...]:
    percent = "" if job.progress is None else f"{job.progress:g}%"
    times = (short_time(job.created), short_time(job.completed))
    plugin = job.plugin_code or job.plugin
    return (job.id, job.status.value, percent, plugin, job.version, *times)


def _fields(raw: Mapping[str, Any]) -> dict[str, Any]:
    """What is worth a line: no empty value, nothing twice."""
    return {
        name: value
        for name, value in raw.items()
        if name not in _TOLD
        and value not in (None, "", [], {}, False)
        and not (name in _TWINS and raw.get(_TWINS[name]) == value)
    }
