"""What `explain` prints of a kind, a field, a provider or a rule of packages."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from synapse_apply.cli.console import Console
from synapse_apply.model.json_types import JsonDocument

_TYPES = {"object": "map", "array": "list", "boolean": "true or false"}


def print_explained(console: Console, explained: JsonDocument, *, is_required: bool) -> int:
    """Print what the library's `explain` returned; returns the exit code."""
    lines = [_format_heading(explained["name"], explained, is_required=is_required)]
    texts = [explained.get("description", ""), *_format_values(explained)]
    if "level" in explained:  # a rule of packages
        texts = [f"Level: {explained['level']}", explained["text"]]
    width = min(console.terminal_width or 100, 100)
    lines += _wrap(texts, width, "  ")
    fields, required = explained.get("fields", {}), explained.get("required", ())
    lines += ["", "Fields:"] if fields else []
    for name, facts in fields.items():
        lines.append(f"  {_format_heading(name, facts, is_required=name in required)}")
        lines += _wrap([facts.get("description", ""), *_format_values(facts)], width, "      ")
    console.write_output("\n".join(lines) + "\n")
    return 0


def _format_heading(name: str, facts: Mapping[str, Any], *, is_required: bool) -> str:
    kinds = facts.get("type", [])
    words = [_TYPES.get(kind, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)]
    if facts.get("required") == ["valueFrom"]:
        words = ["secret: {valueFrom: ...}"]
    takes = facts.get("title") or " or ".join(words)
    notes = ", ".join(filter(None, [takes, "required" if is_required else ""]))
    return f"{name} ({notes})" if notes else name


def _format_values(facts: Mapping[str, Any]) -> list[str]:
    values = {
        "Must be": [facts[key] for key in ("const",) if key in facts],
        "One of": facts.get("enum", ()),
        "For example": facts.get("examples", ()),
        "Default": [facts[key] for key in ("default",) if key in facts],
    }
    return [f"{title}: {', '.join(map(str, found))}" for title, found in values.items() if found]


def _wrap(texts: list[str], width: int, indent: str) -> list[str]:
    return [
        line
        for text in texts
        for line in textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent,
                                  break_long_words=False, break_on_hyphens=False)
    ]  # fmt: skip
