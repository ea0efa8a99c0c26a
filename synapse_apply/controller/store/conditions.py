"""Which rows a filter of the page matches, as a WHERE with its values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from synapse_apply.controller.store.store_file import MATCHES_PATTERN
from synapse_apply.controller.store.store_schema import STATE_RANKS
from synapse_apply.controller.store_ports import AuditFilter, TargetFilter

_WILDCARDS = frozenset("*?[")
# LIKE ignores the case of ASCII letters.
_NAME_MATCHES = r"source || '/' || target LIKE ? ESCAPE '\'"


def build_target_condition(target_filter: TargetFilter) -> tuple[str, list[Any]]:
    """WHERE and its values for the targets that a filter matches; gone ones never do."""
    conditions, values = ["is_gone = 0"], list[Any]()
    if target_filter.state is not None:
        conditions.append("state_rank = ?")
        values.append(STATE_RANKS[target_filter.state])
    if target_filter.source:
        conditions.append("source = ?")
        values.append(target_filter.source)
    if target_filter.wanted_commit:
        conditions.append("wanted_commit = ?")
        values.append(target_filter.wanted_commit)
    if target_filter.text:
        conditions.append(_NAME_MATCHES)
        values.append(f"%{_escape_like(target_filter.text)}%")
    if target_filter.patterns is not None:
        conditions.append(_build_pattern_condition("source || '/' || target"))
        values.extend(_list_pattern_values(target_filter.patterns))
    return f"WHERE {' AND '.join(conditions)}", values


def build_audit_condition(audit_filter: AuditFilter) -> tuple[str, list[Any]]:
    """WHERE and its values for the audit rows that a filter matches; "" for all."""
    conditions, values = list[str](), list[Any]()
    if audit_filter.who:
        conditions.append("who = ?")
        values.append(audit_filter.who)
    if audit_filter.text:
        conditions.append(r"subject || ' ' || action || ' ' || detail LIKE ? ESCAPE '\'")
        values.append(f"%{_escape_like(audit_filter.text)}%")
    for comparison, number in (("<", audit_filter.before), (">", audit_filter.after)):
        if number is not None:
            conditions.append(f"number {comparison} ?")
            values.append(number)
    if audit_filter.patterns is not None:
        conditions.append(_build_pattern_condition("subject"))
        values.extend(_list_pattern_values(audit_filter.patterns))
    return f"WHERE {' AND '.join(conditions)}" if conditions else "", values


def _build_pattern_condition(expression: str) -> str:
    """The condition that a text matches patterns, with the values of `_list_pattern_values`."""
    names = "SELECT value FROM json_each(?)"
    return f"({expression} IN ({names}) OR {MATCHES_PATTERN}({expression}, ?))"


def _list_pattern_values(patterns: Sequence[str]) -> list[str]:
    """Patterns that are names, which SQLite finds at once, and the others, as JSON lists."""
    names = [pattern for pattern in patterns if _WILDCARDS.isdisjoint(pattern)]
    others = [pattern for pattern in patterns if not _WILDCARDS.isdisjoint(pattern)]
    return [json.dumps(names), json.dumps(others)]


def _escape_like(text: str) -> str:
    return text.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
