"""How values of the model are written to JSON and read back, for states and saved plans.

Both directions are exact. Reading ignores unknown keys and fills missing ones with defaults, so
that minor versions can read each other's files; any other shape is a WrongShapeError that names the
place, never the value. Writing a secret, or what could not be read back, raises TypeError.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from synapse_apply.model.coding.json_shapes import build_coder
from synapse_apply.model.coding.json_types import JsonObject
from synapse_apply.model.coding.json_values import (
    TOO_DEEP,
    WrongShapeError,
    format_canonical_json,
    value_to_json,
)
from synapse_apply.model.plan import Change, Plan
from synapse_apply.model.remote import DryRunCounts
from synapse_apply.model.state import AuditEntry, Intent, Record, State
from synapse_apply.model.values import Fields

PLAN_FORMAT = 1

T = TypeVar("T")


def record_to_json(record: Record) -> JsonObject:
    return _encode_model_value(Record, record)


def record_from_json(data: Any) -> Record:
    return _decode_model_value(Record, data)


def intent_to_json(intent: Intent) -> JsonObject:
    return _encode_model_value(Intent, intent)


def intent_from_json(data: Any) -> Intent:
    return _decode_model_value(Intent, data)


def audit_entry_to_json(entry: AuditEntry) -> JsonObject:
    return _encode_model_value(AuditEntry, entry)


def audit_entry_from_json(data: Any) -> AuditEntry:
    return _decode_model_value(AuditEntry, data)


def state_to_json(state: State) -> JsonObject:
    return _encode_model_value(State, state)


def state_from_json(data: Any) -> State:
    return _decode_model_value(State, data)


def change_to_json(change: Change) -> JsonObject:
    return _encode_model_value(Change, change)


def change_from_json(data: Any) -> Change:
    return _decode_model_value(Change, data)


def dry_run_counts_to_json(trial: DryRunCounts) -> JsonObject:
    return _encode_model_value(DryRunCounts, trial)


def plan_to_json(plan: Plan) -> JsonObject:
    """The JSON object of a plan, with a `format` number."""
    return {"format": PLAN_FORMAT, **_encode_model_value(Plan, plan)}


def plan_from_json(data: Any) -> Plan:
    """The plan of a JSON object; raises WrongShapeError, also for the format of a newer version."""
    format_number = data.get("format") if isinstance(data, Mapping) else None
    if not isinstance(format_number, int) or format_number < 1:
        raise WrongShapeError("this is not a plan: it has no format number")
    if format_number > PLAN_FORMAT:
        raise WrongShapeError(f"the plan was written by a newer version (format {format_number})")
    return _decode_model_value(Plan, data)


def fields_to_json(values: Fields) -> JsonObject:
    """Flat fields as an object of JSON Pointers (RFC 6901)."""
    encoded: JsonObject = _convert(build_coder(Fields).encode, values)
    return encoded


def fields_from_json(data: Any) -> dict[tuple[str, ...], Any]:
    """The inverse of fields_to_json."""
    decoded: dict[tuple[str, ...], Any] = _convert(build_coder(Fields).decode, data)
    return decoded


def format_canonical_field_value(value: Any) -> str:
    """The canonical JSON text of a field's value, which may be a marker such as ABSENT."""
    return format_canonical_json(_convert(value_to_json, value))


def _encode_model_value(model_type: Any, value: Any) -> JsonObject:
    encoded: JsonObject = _convert(build_coder(model_type).encode, value)
    return encoded


def _decode_model_value(model_type: type[T], data: Any) -> T:
    hint: Any = model_type
    decoded: T = _convert(build_coder(hint).decode, data)
    return decoded


def _convert(convert: Callable[[Any], Any], value: Any) -> Any:
    try:
        return convert(value)
    except RecursionError:
        raise WrongShapeError(TOO_DEEP) from None
