"""Structured logs that a job's agent sends: one by one, or many at once and then all or none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_apply.emulator.core.backend import Backend
from synapse_apply.emulator.core.clock import iso, parse_iso
from synapse_apply.emulator.core.errors import ApiError, field_error
from synapse_apply.emulator.core.fields import REQUIRED, Body, Field, check, with_resets
from synapse_apply.emulator.core.store import Row

LEVELS = ("debug", "info", "success", "warning", "danger", "error", "critical")
FIELDS = (
    Field("event", required=True),
    Field("data", "any", required=True, nullable=True),
    Field("datetime", required=True),
    Field("step", reset=""),
    Field("level", "choice", choices=LEVELS, reset="info"),
)
KEPT = "logs"  # in a job's body
MOST = 1000
_LONGEST_STEP = 255
_IDS = 1_000_000  # of each job


def checked(body: Body) -> dict[str, Any]:
    """A log as it is kept. Raises ApiError (400)."""
    values = with_resets(FIELDS, check(FIELDS, body.loosened(FIELDS)))
    moment = parse_iso(values["datetime"])
    if moment is None:
        raise field_error("datetime", "Datetime has wrong format.")
    if len(values["step"]) > _LONGEST_STEP:
        raise field_error("step", f"Ensure this field has no more than {_LONGEST_STEP} characters.")
    return {**values, "datetime": moment}


def checked_many(body: Body) -> list[dict[str, Any]]:
    """All logs of a request, or none. Raises ApiError (400)."""
    sent = body.values.get("logs")
    if sent is None:
        raise field_error("logs", REQUIRED)
    if not isinstance(sent, list) or not sent:
        raise field_error("logs", "Expected a list of at least one log.")
    if len(sent) > MOST:
        raise ApiError(
            400,
            {"detail": f"At most {MOST} logs at once."},
            code="BULK_SIZE_EXCEEDED",
            facts={"received": len(sent), "limit": MOST},
        )
    found = []
    for number, one in enumerate(sent):
        if not isinstance(one, Mapping):
            raise field_error("logs", f"Log {number} is no object.")
        try:
            found.append(checked(Body(dict(one))))
        except ApiError as wrong:
            said = "; ".join(f"{name}: {texts[0]}" for name, texts in wrong.body.items())
            raise field_error("logs", f"Log {number}: {said}") from None
    return found


def kept(backend: Backend, row: Row, logs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add logs to a job; each with its id and when it came."""
    before = row.body.get(KEPT, [])
    made = [
        {**one, "id": row.id * _IDS + number, "created": backend.clock.now()}
        for number, one in enumerate(logs, start=len(before) + 1)
    ]
    backend.store.replace("job", row, {**row.body, KEPT: [*before, *made]}, key=row.key)
    return made


def shown(log: Mapping[str, Any], job: str) -> dict[str, Any]:
    return {
        "job_id": job,
        "file": "",
        **log,
        "datetime": iso(log["datetime"]),
        "created": iso(log["created"]),
    }
