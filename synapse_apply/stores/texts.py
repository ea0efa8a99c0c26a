"""Values as the JSON texts that rows hold."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from synapse_apply.model import codec
from synapse_apply.model.state import AuditEntry, Intent, Record
from synapse_apply.stores import faults

T = TypeVar("T")


def record_to(record: Record, where: str) -> str:
    """TypeError for a secret, StateError for what is too deep to be stored."""
    return _write(codec.record_to_json, record, where)


def record_from(text: str, where: str, name: str) -> Record:
    """StateError (damaged) when the text is not what record_to writes; `name` says which row."""
    return _read(codec.record_from_json, text, where, name)


def intent_to(intent: Intent, where: str) -> str:
    return _write(codec.intent_to_json, intent, where)


def intent_from(text: str, where: str, name: str) -> Intent:
    return _read(codec.intent_from_json, text, where, name)


def audit_to(entry: AuditEntry, where: str) -> str:
    return _write(codec.audit_to_json, entry, where)


def audit_from(text: str, where: str, name: str) -> AuditEntry:
    return _read(codec.audit_from_json, text, where, name)


def _write(encode: Callable[[Any], Any], value: Any, where: str) -> str:
    try:
        return codec.canonical(encode(value))
    except (ValueError, RecursionError) as problem:
        raise faults.unstorable(where, str(problem)) from None


def _read(decode: Callable[[Any], T], text: str, where: str, name: str) -> T:
    try:
        return decode(json.loads(text))
    except json.JSONDecodeError:
        raise faults.damaged(where, f"{name} is not JSON") from None
    except (ValueError, RecursionError) as problem:
        raise faults.damaged(where, f"{name}: {problem}") from None
