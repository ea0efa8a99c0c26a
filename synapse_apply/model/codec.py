"""JSON coding of the model's values, for state and for saved plans: exact in both directions.

Reading ignores unknown keys and fills left-out ones with their defaults, so that minor versions
read each other; any other shape is a ValueError that says where, never what stood there. Writing
a secret, or what could not be read back, is a TypeError.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from synapse_apply.model.json_shapes import coder_of
from synapse_apply.model.json_values import TOO_DEEP, Json, WrongShape, value_to_json
from synapse_apply.model.plan import Change, Plan
from synapse_apply.model.state import AuditEntry, Intent, Record, State
from synapse_apply.model.trial import Trial
from synapse_apply.model.values import Fields

PLAN_FORMAT = 1
# `json.dumps` would make such an encoder anew at each call.
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)

T = TypeVar("T")


def record_to_json(record: Record) -> Json:
    return _encode(Record, record)


def record_from_json(data: Any) -> Record:
    return _decode(Record, data)


def intent_to_json(intent: Intent) -> Json:
    return _encode(Intent, intent)


def intent_from_json(data: Any) -> Intent:
    return _decode(Intent, data)


def audit_to_json(entry: AuditEntry) -> Json:
    return _encode(AuditEntry, entry)


def audit_from_json(data: Any) -> AuditEntry:
    return _decode(AuditEntry, data)


def state_to_json(state: State) -> Json:
    return _encode(State, state)


def state_from_json(data: Any) -> State:
    return _decode(State, data)


def change_to_json(change: Change) -> Json:
    return _encode(Change, change)


def change_from_json(data: Any) -> Change:
    return _decode(Change, data)


def trial_to_json(trial: Trial) -> Json:
    return _encode(Trial, trial)


def plan_to_json(plan: Plan) -> Json:
    """The plan with a `format` number beside its own fields."""
    return {"format": PLAN_FORMAT, **_encode(Plan, plan)}


def plan_from_json(data: Any) -> Plan:
    """The plan; ValueError also where a newer version wrote it."""
    found = data.get("format") if isinstance(data, Mapping) else None
    if not isinstance(found, int) or found < 1:
        raise WrongShape("this is not a plan: it has no format number")
    if found > PLAN_FORMAT:
        raise WrongShape(f"the plan was written by a newer version (format {found})")
    return _decode(Plan, data)


def fields_to_json(values: Fields) -> Json:
    """Flat fields as an object of JSON Pointers (RFC 6901)."""
    encoded: Json = _guarded(coder_of(Fields).encode, values)
    return encoded


def fields_from_json(data: Any) -> dict[tuple[str, ...], Any]:
    """The inverse of fields_to_json."""
    decoded: dict[tuple[str, ...], Any] = _guarded(coder_of(Fields).decode, data)
    return decoded


def value_text(value: Any) -> str:
    """One text per field value, markers such as ABSENT included."""
    return canonical(_guarded(value_to_json, value))


def canonical(data: Any) -> str:
    """One text per JSON value, in ASCII: equal values have equal texts, and 1, 1.0, true differ."""
    return _CANONICAL.encode(data)


def _encode(kind: Any, value: Any) -> Json:
    encoded: Json = _guarded(coder_of(kind).encode, value)
    return encoded


def _decode(kind: type[T], data: Any) -> T:
    hint: Any = kind
    decoded: T = _guarded(coder_of(hint).decode, data)
    return decoded


def _guarded(work: Callable[[Any], Any], value: Any) -> Any:
    try:
        return work(value)
    except RecursionError:
        raise WrongShape(TOO_DEEP) from None
