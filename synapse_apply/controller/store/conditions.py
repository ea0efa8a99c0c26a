"""Which rows a filter of the page matches, as a WHERE with its values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from synapse_apply.controller.store.dialect import SqlDialect
from synapse_apply.controller.store.store_schema import STATE_RANKS
from synapse_apply.controller.store_ports import AuditFilter, TargetFilter

_WILDCARDS = frozenset("*?[")
_NAME = "source || '/' || target"


def targets_where(target_filter: TargetFilter, dialect: SqlDialect) -> tuple[str, list[Any]]:
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
        conditions.append(_contains(_NAME))
        values.append(_like_pattern(target_filter.text))
    if target_filter.patterns is not None:
        conditions.append(_pattern_condition(_NAME, dialect))
        values.extend(_encode_patterns(target_filter.patterns, dialect))
    return f"WHERE {' AND '.join(conditions)}", values


def audit_where(audit_filter: AuditFilter, dialect: SqlDialect) -> tuple[str, list[Any]]:
    """WHERE and its values for the audit rows that a filter matches; "" for all."""
    conditions, values = list[str](), list[Any]()
    if audit_filter.who:
        conditions.append("who = ?")
        values.append(audit_filter.who)
    if audit_filter.text:
        conditions.append(_contains("subject || ' ' || action || ' ' || detail"))
        values.append(_like_pattern(audit_filter.text))
    for comparison, number in (("<", audit_filter.before), (">", audit_filter.after)):
        if number is not None:
            conditions.append(f"number {comparison} ?")
            values.append(number)
    if audit_filter.patterns is not None:
        conditions.append(_pattern_condition("subject", dialect))
        values.extend(_encode_patterns(audit_filter.patterns, dialect))
    return f"WHERE {' AND '.join(conditions)}" if conditions else "", values


def _pattern_condition(expression: str, dialect: SqlDialect) -> str:
    """The condition that a text matches patterns.

    Its values are those of `_encode_patterns`.
    """
    matches = dialect.pattern_condition.format(expression)
    return f"({expression} IN ({dialect.text_list}) OR {matches})"


def _encode_patterns(patterns: Sequence[str], dialect: SqlDialect) -> list[str]:
    """Two values: patterns that are names, which an index may find, as JSON; and the others."""
    names = [pattern for pattern in patterns if _WILDCARDS.isdisjoint(pattern)]
    others = [pattern for pattern in patterns if not _WILDCARDS.isdisjoint(pattern)]
    return [json.dumps(names), dialect.encode_patterns(others)]


def _contains(expression: str) -> str:
    """The condition that a text contains another one, whatever the case of ASCII letters is."""
    return rf"LOWER({expression}) LIKE ? ESCAPE '\'"


def _like_pattern(text: str) -> str:
    # As LOWER has it, in SQLite and of a column with COLLATE "C": ASCII letters alone.
    lower = text.encode("utf-8", "replace").lower().decode()
    escaped = lower.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    return f"%{escaped}%"
