"""How a job is shown and refused on API v2; the stored row is the same as on v1."""

from __future__ import annotations

from synapse_apply.emulator.core.backend import DataSetBackend
from synapse_apply.emulator.core.clock import format_iso
from synapse_apply.emulator.core.errors import ApiError
from synapse_apply.emulator.core.fields import AnswerObject, Field
from synapse_apply.emulator.core.store import StoredObject
from synapse_apply.emulator.jobs import models as v1
from synapse_apply.emulator.jobs import words
from synapse_apply.emulator.jobs.ids import build_job_uuid

STATUSES = tuple(words.PLATFORM.values())
UPDATE_FIELDS = (
    Field("status", "choice", choices=STATUSES),
    *(
        Field(name, "any", nullable=True)
        for name in ("progress_record", "metrics_record", "meta", "result")
    ),
)
# The names in the store of fields that v2 calls otherwise.
STORED_NAMES = {"meta": "metadata"}


def is_visible_on_v2(row: StoredObject) -> bool:
    """Whether API v2 shows a job: only one with a release."""
    return row.body.get("release") is not None


def bad_transition(old: words.Status, new: words.Status) -> ApiError:
    before, after = words.PLATFORM[old], words.PLATFORM[new]
    return ApiError(
        400,
        {"status": [f"A job that is {before} cannot become {after}."]},
        code="INVALID_TRANSITION",
        details={"current_status": before, "requested_status": after},
    )


def build_job_ended_error(status: words.Status) -> ApiError:
    word = words.PLATFORM[status]
    return ApiError(
        409,
        {"detail": f"The job has ended ({word}) and cannot be stopped."},
        code="INVALID_STATE",
        details={"current_status": word},
    )


def build_job_item(backend: DataSetBackend, row: StoredObject) -> AnswerObject:
    job_moment = v1.compute_job_moment(row, backend.clock.now())
    is_ended = job_moment.status in words.ENDED_STATUSES
    return {
        "id": build_job_uuid(backend.store.data_set, row),
        "status": words.PLATFORM[job_moment.status],
        "action": row.body["action"],
        "is_active": not is_ended,
        "queue": v1.queue_field(row, job_moment).get("queue"),
        "error": v1.build_job_error(row, job_moment),
        "created": format_iso(row.created),
        "completed": format_iso(v1.compute_end_time(row)) if is_ended else None,
    }


def build_job_json(backend: DataSetBackend, row: StoredObject) -> AnswerObject:
    body = row.body
    release = backend.to_v2_id(body["release"])
    return {
        **build_job_item(backend, row),
        "params": body["parameters"],
        "progress_record": body.get("progress_record"),
        "metrics_record": body.get("metrics_record"),
        "result": v1.build_job_result_or_none(row, v1.compute_job_moment(row, backend.clock.now())),
        "meta": body.get("metadata"),
        "plugin_release_id": release,
        "plugin_release": {
            "id": release,
            "plugin_id": backend.to_v2_id(row.parent or 0),
            "version": body["version"],
        },
        "modified": format_iso(body.get("modified", row.created)),
    }
