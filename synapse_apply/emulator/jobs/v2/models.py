"""What a job is to API v2. The store holds the same row that v1 shows."""

from __future__ import annotations

from typing import Any

from synapse_apply.emulator.core.backend import Backend
from synapse_apply.emulator.core.clock import iso
from synapse_apply.emulator.core.errors import ApiError
from synapse_apply.emulator.core.fields import Field
from synapse_apply.emulator.core.store import Row
from synapse_apply.emulator.jobs import models as v1
from synapse_apply.emulator.jobs import words
from synapse_apply.emulator.jobs.ids import public_id

STATUSES = tuple(words.PLATFORM.values())
UPDATE_FIELDS = (
    Field("status", "choice", choices=STATUSES),
    *(
        Field(name, "any", nullable=True)
        for name in ("progress_record", "metrics_record", "meta", "result")
    ),
)
# What the store calls what v2 calls meta.
STORED = {"meta": "metadata"}


def is_shown(row: Row) -> bool:
    """API v2 has no job without a release."""
    return row.body.get("release") is not None


def bad_transition(old: words.Status, new: words.Status) -> ApiError:
    before, after = words.PLATFORM[old], words.PLATFORM[new]
    return ApiError(
        400,
        {"status": [f"A job that is {before} cannot become {after}."]},
        code="INVALID_TRANSITION",
        facts={"current_status": before, "requested_status": after},
    )


def has_ended(status: words.Status) -> ApiError:
    word = words.PLATFORM[status]
    return ApiError(
        409,
        {"detail": f"The job has ended ({word}) and cannot be stopped."},
        code="INVALID_STATE",
        facts={"current_status": word},
    )


def item(backend: Backend, row: Row) -> dict[str, Any]:
    now = v1.at(row, backend.clock.now())
    is_ended = now.status in words.ENDED
    return {
        "id": public_id(backend.store.data_set, row),
        "status": words.PLATFORM[now.status],
        "action": row.body["action"],
        "is_active": not is_ended,
        "queue": v1.queue(row, now).get("queue"),
        "error": v1.error(row, now),
        "created": iso(row.created),
        "completed": iso(v1.ended_at(row)) if is_ended else None,
    }


def whole(backend: Backend, row: Row) -> dict[str, Any]:
    body = row.body
    release = backend.id_on_v2(body["release"])
    return {
        **item(backend, row),
        "params": body["parameters"],
        "progress_record": body.get("progress_record"),
        "metrics_record": body.get("metrics_record"),
        "result": v1.result(row, v1.at(row, backend.clock.now())),
        "meta": body.get("metadata"),
        "plugin_release_id": release,
        "plugin_release": {
            "id": release,
            "plugin_id": backend.id_on_v2(row.parent or 0),
            "version": body["version"],
        },
        "modified": iso(body.get("modified", row.created)),
    }
