"""What `get` prints of live objects, as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from synapse_apply.cli.console import Console
from synapse_apply.cli.texts.jobs import format_server_time
from synapse_apply.library import LiveObject
from synapse_apply.model.coding.json_types import JsonDocument
from synapse_apply.views.text.record import live_object_document, render_live_object
from synapse_apply.views.text.tables import render_table
from synapse_apply.views.text.values import SECRET_TYPES, SENSITIVE_TEXT

_COLUMNS = {
    "plugin": ("name", "code", "version"),
    "release": ("version", "is_stable", "changelog"),
    "storage": ("name", "provider", "category"),
}


def print_live_object(
    console: Console,
    kind: str,
    live_object: LiveObject,
    expanded_objects: Mapping[str, LiveObject] | None = None,
) -> int:
    """Print one object with its fields, secrets as `(sensitive)`; returns the exit code.

    Then the `expanded_objects`, which are keyed by kind.
    """
    other_objects = expanded_objects or {}
    if console.as_json:
        expanded_documents = {
            name: _build_live_document(name, shown_object)
            for name, shown_object in other_objects.items()
        }
        console.write_or_keep_document(
            {
                **_build_live_document(kind, live_object),
                **({"expanded": expanded_documents} if expanded_documents else {}),
            }
        )
        return 0
    for name, shown_object in {kind: live_object, **other_objects}.items():
        spec = shown_object.observed.spec
        title = str(spec.get("name") or spec.get("version") or shown_object.observed.remote_id)
        console.write_output(
            render_live_object(
                name,
                title,
                shown_object.observed,
                color=console.is_output_colored,
                width=console.terminal_width,
            )
        )
    return 0


def print_live_objects_table(
    console: Console, kind: str, live_objects: Sequence[LiveObject], absent_text: str = ""
) -> int:
    """Print one row per object; `absent_text` goes to stderr without any. Returns the exit code."""
    fields = _COLUMNS[kind]
    if not live_objects:
        console.write_stderr(f"{absent_text or f'There is no {kind}.'}\n")
    if console.as_json:
        console.write_or_keep_document(
            {f"{kind}s": [_build_live_document(kind, live_object) for live_object in live_objects]}
        )
    elif live_objects:
        rows = [
            (
                live_object.observed.remote_id,
                *(_format_cell(live_object.observed.spec.get(name)) for name in fields),
                format_server_time(live_object.created),
            )
            for live_object in live_objects
        ]
        console.write_output(
            render_table(("id", *fields, "created"), rows, color=console.is_output_colored)
        )
    return 0


def _build_live_document(kind: str, live_object: LiveObject) -> JsonDocument:
    return {**live_object_document(kind, live_object.observed), "created": live_object.created}


def _format_cell(value: Any) -> str:
    if isinstance(value, SECRET_TYPES):
        return SENSITIVE_TEXT
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
