"""What `show ADDRESS` prints: a resource as declared, as recorded, and as live."""

from __future__ import annotations

from typing import Any

from synapse_apply.cli.console import Console
from synapse_apply.library import ResourceSides
from synapse_apply.model.coding.json_types import JsonDocument
from synapse_apply.model.diagnostic import format_json_pointer
from synapse_apply.model.values import ABSENT
from synapse_apply.views.json.redaction import tree_of_paths, unflatten_redacted
from synapse_apply.views.sanitize import sanitize
from synapse_apply.views.text.cells import measure_width
from synapse_apply.views.text.findings import format_quoted_path
from synapse_apply.views.text.record import object_document, record_document
from synapse_apply.views.text.tables import render_table
from synapse_apply.views.text.values import SECRET_TYPES, format_value_inline
from synapse_apply.views.text.verification import format_last_run_or_empty

_MIN_CELL_WIDTH = 36


def render_resource_sides(sides: ResourceSides, console: Console) -> str:
    """A heading, and a table with one row per field."""
    declared, recorded, live = (
        sides.declared_fields_with_defaults(),
        sides.recorded_fields(),
        sides.shown_fields(),
    )
    paths = sorted({*declared, *recorded, *live}, key=lambda path: [str(p) for p in path])
    cell_width = max(_MIN_CELL_WIDTH, ((console.terminal_width or 0) - 30) // 3)
    secret_cells = {
        path: {
            name: f"(sensitive, {word})"
            for name, word in (("recorded", compared.recorded), ("live", compared.live))
            if word
        }
        for path, compared in sides.compare_secrets().items()
    }
    rows = [
        (
            format_quoted_path(path),
            *(
                secret_cells.get(path, {}).get(name)
                or _format_value(side.get(path, ABSENT), cell_width)
                for name, side in (("declared", declared), ("recorded", recorded), ("live", live))
            ),
        )
        for path in paths
    ]
    table = render_table(
        ("field", "declared", "recorded", "live"), rows, color=console.is_output_colored
    )
    record, observed = sides.resource.record, sides.resource.lookup_result.observed
    verified_text = format_last_run_or_empty(record.verification) if record else ""
    accepted_text = ", ".join(
        sanitize(format_quoted_path(field.path)) for field in sides.accepted_changes
    )
    missing_live_text = "live side not known" if sides.is_live_unread else "not seen live"
    parts = [
        "declared" if sides.resource.desired else "not declared",
        f"recorded as id {record.remote_id}" if record else "not recorded",
        f"live as id {observed.remote_id}" if observed else missing_live_text,
        *([f"verified: {sanitize(verified_text)}"] if verified_text else []),
        *([f"accepted as they differ: {accepted_text}"] if accepted_text else []),
    ]
    return f"# {sides.resource.address} ({', '.join(parts)})\n{table}"


def build_sides_document(sides: ResourceSides) -> JsonDocument:
    """The three sides as JSON, null for a side that does not exist or could not be read."""
    resource, observed = sides.resource, sides.resource.lookup_result.observed
    declared = sides.declared_fields_with_defaults()
    secret_paths = [path for path, value in declared.items() if isinstance(value, SECRET_TYPES)]
    return {
        "address": str(resource.address),
        "declared": None
        if resource.desired is None
        else {
            "values": unflatten_redacted(declared.items()),
            "sensitive_values": tree_of_paths(secret_paths),
        },
        "recorded": record_document(resource.record) if resource.record else None,
        "live": object_document(resource.address, observed) if observed else None,
        "accepted_differences": [
            format_json_pointer(field.path) for field in sides.accepted_changes
        ],
        "secrets": [
            {
                "path": format_json_pointer(path),
                "recorded": compared.recorded,
                "live": compared.live,
            }
            for path, compared in sides.compare_secrets().items()
        ],
        "diagnostics": [finding.to_json() for finding in sides.findings],
    }


def _format_value(value: Any, cell_width: int) -> str:
    """A value cut to the width of a column; JSON has all of it."""
    if value is ABSENT:
        return "-"
    text = format_value_inline(value)
    if measure_width(text) <= cell_width:
        return text
    text = text[:cell_width]
    while measure_width(text) >= cell_width:
        text = text[:-1]
    return f"{text}…"
