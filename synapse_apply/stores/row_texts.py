"""How records, intents and audit entries are encoded as the JSON texts in rows, and decoded."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from synapse_apply.model.coding import codec
from synapse_apply.model.coding.canonical_json import format_canonical_json
from synapse_apply.model.state import AuditEntry, Intent, Record
from synapse_apply.stores import state_messages

T = TypeVar("T")


def encode_record(record: Record, location: str) -> str:
    """The canonical JSON of a record; TypeError for a secret, StateError if nested too deep."""
    return _encode(codec.record_to_json, record, location)


def decode_record(text: str, location: str, row_label: str) -> Record:
    """The record in a row's text; StateError (damaged) if it is not what `encode_record` writes.

    `row_label` names the row in messages.
    """
    return _decode(codec.record_from_json, text, location, row_label)


def encode_intent(intent: Intent, location: str) -> str:
    return _encode(codec.intent_to_json, intent, location)


def decode_intent(text: str, location: str, row_label: str) -> Intent:
    return _decode(codec.intent_from_json, text, location, row_label)


def encode_audit_entry(entry: AuditEntry, location: str) -> str:
    return _encode(codec.audit_entry_to_json, entry, location)


def decode_audit_entry(text: str, location: str, row_label: str) -> AuditEntry:
    return _decode(codec.audit_entry_from_json, text, location, row_label)


def _encode(encode: Callable[[Any], Any], value: Any, location: str) -> str:
    try:
        return format_canonical_json(encode(value))
    except (ValueError, RecursionError) as problem:
        raise state_messages.unstorable_value_error(location, str(problem)) from None


def _decode(decode: Callable[[Any], T], text: str, location: str, row_label: str) -> T:
    try:
        return decode(json.loads(text))
    except json.JSONDecodeError:
        raise state_messages.build_damaged_state_error(
            location, f"{row_label} is not JSON"
        ) from None
    except (ValueError, RecursionError) as problem:
        raise state_messages.build_damaged_state_error(
            location, f"{row_label}: {problem}"
        ) from None
