"""What `explain` prints of a kind, a field, a provider or a rule of packages."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from synapse_apply.cli.console import Console
from synapse_apply.model.json_types import JsonDocument

_TYPES = {"object": "map", "array": "list", "string": "text", "boolean": "true or false"}
_WIDEST = 100


def print_explained(console: Console, explained: JsonDocument, *, is_required: bool) -> int:
    """Print what the library's `explain` returned; returns the exit code."""
    lines = [_format_heading(explained["name"], explained, is_required=is_required)]
    if "level" in explained:  # a rule of packages
        texts = [f"Level: {explained['level']}", explained["text"]]
    else:
        texts = [explained.get("description", ""), *_format_values(explained)]
    width = min(console.terminal_width or _WIDEST, _WIDEST)
    lines += _wrap(texts, width, "  ")
    if fields := explained.get("fields"):
        lines += ["", "Fields:"]
    for name, facts in (fields or {}).items():
        needed = name in explained.get("required", ())
        lines.append(f"  {_format_heading(name, facts, is_required=needed)}")
        lines += _wrap([facts.get("description", ""), *_format_values(facts)], width, "      ")
    console.write_output("\n".join(lines) + "\n")
    return 0


def _format_heading(name: str, facts: Mapping[str, Any], *, is_required: bool) -> str:
    kinds = facts.get("type", [])
    words = [_TYPES.get(kind, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)]
    if facts.get("required") == ["valueFrom"]:
        words = ["secret: {valueFrom: ...}"]
    if "title" in facts:
        words = [facts["title"]]
    notes = [" or ".join(words), *(["required"] if is_required else [])]
    notes_text = ", ".join(filter(None, notes))
    return f"{name} ({notes_text})" if notes_text else name


def _format_values(facts: Mapping[str, Any]) -> list[str]:
    texts = [f"Must be: {facts['const']}"] if "const" in facts else []
    for key, title in (("enum", "One of"), ("examples", "For example")):
        if values := facts.get(key):
            texts.append(f"{title}: {', '.join(map(_format_value, values))}")
    return [*texts, f"Default: {_format_value(facts['default'])}"] if "default" in facts else texts


def _format_value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _wrap(texts: list[str], width: int, indent: str) -> list[str]:
    return [
        line
        for text in texts
        for line in textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent,
                                  break_long_words=False, break_on_hyphens=False)
    ]  # fmt: skip
