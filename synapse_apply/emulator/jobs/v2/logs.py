"""Which structured logs of a job are accepted, and how they are stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_apply.emulator.core.backend import DataSetBackend
from synapse_apply.emulator.core.clock import format_iso, parse_iso_time_or_none
from synapse_apply.emulator.core.errors import ApiError, build_error_of_field
from synapse_apply.emulator.core.fields import (
    REQUIRED_MESSAGE,
    AnswerObject,
    Body,
    Field,
    FieldValues,
    convert_sent_fields,
    with_default_values,
)
from synapse_apply.emulator.core.store import StoredObject

LEVELS = ("debug", "info", "success", "warning", "danger", "error", "critical")
FIELDS = (
    Field("event", required=True),
    Field("data", "any", required=True, nullable=True),
    Field("datetime", required=True),
    Field("step", default=""),
    Field("level", "choice", choices=LEVELS, default="info"),
)
LOGS_KEY = "logs"  # in a job's body
MAX_LOGS = 1000
_MAX_STEP_LENGTH = 255
_IDS_PER_JOB = 1_000_000  # of each job


def validate_log_in_body(body: Body) -> FieldValues:
    """The cleaned log in a body, as it is stored. Raises ApiError (400)."""
    values = with_default_values(FIELDS, convert_sent_fields(FIELDS, body.parse_json_texts(FIELDS)))
    moment = parse_iso_time_or_none(values["datetime"])
    if moment is None:
        raise build_error_of_field("datetime", "Datetime has wrong format.")
    if len(values["step"]) > _MAX_STEP_LENGTH:
        raise build_error_of_field(
            "step", f"Ensure this field has no more than {_MAX_STEP_LENGTH} characters."
        )
    return {**values, "datetime": moment}


def validate_logs_in_body(body: Body) -> list[FieldValues]:
    """The cleaned logs in a body `{"logs": [...]}`. Raises ApiError (400) if one is wrong."""
    entries = body.values.get("logs")
    if entries is None:
        raise build_error_of_field("logs", REQUIRED_MESSAGE)
    if not isinstance(entries, list) or not entries:
        raise build_error_of_field("logs", "Expected a list of at least one log.")
    if len(entries) > MAX_LOGS:
        raise ApiError(
            400,
            {"detail": f"At most {MAX_LOGS} logs at once."},
            code="BULK_SIZE_EXCEEDED",
            details={"received": len(entries), "limit": MAX_LOGS},
        )
    logs = []
    for number, entry in enumerate(entries):
        if not isinstance(entry, Mapping):
            raise build_error_of_field("logs", f"Log {number} is no object.")
        try:
            logs.append(validate_log_in_body(Body(dict(entry))))
        except ApiError as error:
            message = "; ".join(f"{name}: {texts[0]}" for name, texts in error.body.items())
            raise build_error_of_field("logs", f"Log {number}: {message}") from None
    return logs


def store_logs(
    backend: DataSetBackend, row: StoredObject, logs: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Store logs in a job; returns them with their ids and times of arrival."""
    stored_logs = row.body.get(LOGS_KEY, [])
    new_logs = [
        {**log, "id": row.id * _IDS_PER_JOB + number, "created": backend.clock.now()}
        for number, log in enumerate(logs, start=len(stored_logs) + 1)
    ]
    backend.store.replace(
        "job", row, {**row.body, LOGS_KEY: [*stored_logs, *new_logs]}, key=row.key
    )
    return new_logs


def build_log_json(log: Mapping[str, Any], job: str) -> AnswerObject:
    return {
        "job_id": job,
        "file": "",
        **log,
        "datetime": format_iso(log["datetime"]),
        "created": format_iso(log["created"]),
    }
