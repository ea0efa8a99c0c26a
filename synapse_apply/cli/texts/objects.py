"""What is printed of single objects: by `get`, `show`, `blame` and `verify --bytes`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from synapse_apply.cli.console import Console
from synapse_apply.model.diagnostic import format_json_pointer
from synapse_apply.model.errors import Exit
from synapse_apply.model.json_types import JsonDocument
from synapse_apply.model.values import ABSENT, flatten
from synapse_apply.views.grammar import format_server_time
from synapse_apply.views.json.documents import (
    live_object_document,
    object_document,
    record_document,
)
from synapse_apply.views.redaction import plain_json, tree_of_paths, unflatten_redacted
from synapse_apply.views.sanitize import escape_ci_commands, sanitize
from synapse_apply.views.text.findings import format_quoted_path
from synapse_apply.views.text.record import format_last_run_or_empty, render_live_object
from synapse_apply.views.text.terminal import measure_width, render_table
from synapse_apply.views.text.values import SECRET_TYPES, SENSITIVE_TEXT, format_value_inline

if TYPE_CHECKING:
    from synapse_apply.library import Blame, ComparedBytes, FieldBlame, LiveObject, ResourceSides

_COLUMNS = {
    "plugin": ("name", "code", "version"),
    "release": ("version", "is_stable", "changelog"),
    "storage": ("name", "provider", "category"),
}


def print_live_object(
    console: Console, kind: str, live_object: LiveObject, other_objects: Mapping[str, LiveObject]
) -> int:
    """Print one object with its fields, secrets as `(sensitive)`; returns the exit code.

    Then the `other_objects`, which are keyed by kind.
    """
    if console.as_yaml and console.section is None:
        shown_objects = {kind: live_object, **other_objects}
        console.write_yaml(*(_build_manifest(name, one) for name, one in shown_objects.items()))
        return 0
    if console.as_json:
        documents = {name: _build_live_document(name, one) for name, one in other_objects.items()}
        expanded = {"expanded": documents} if documents else {}
        console.write_or_keep_document({**_build_live_document(kind, live_object), **expanded})
        return 0
    for name, shown in {kind: live_object, **other_objects}.items():
        observed, spec = shown.observed, shown.observed.spec
        title = str(spec.get("name") or spec.get("version") or observed.remote_id)
        console.write_output(render_live_object(name, title, observed, **console.layout))
    return 0


def print_live_objects_table(
    console: Console, kind: str, live_objects: Sequence[LiveObject], absent_text: str = ""
) -> int:
    """Print one row per object; `absent_text` goes to stderr without any. Returns the exit code."""
    fields = _COLUMNS[kind]
    if not live_objects:
        console.write_stderr(f"{absent_text or f'The backend has no {kind}s.'}\n")
    if console.as_yaml and console.section is None:
        console.write_yaml(*(_build_manifest(kind, one) for one in live_objects))
    elif console.as_json:
        documents = [_build_live_document(kind, one) for one in live_objects]
        console.write_or_keep_document({f"{kind}s": documents})
    elif live_objects:
        rows = [
            (
                one.observed.remote_id,
                *(_format_cell(one.observed.spec.get(name)) for name in fields),
                format_server_time(one.created),
            )
            for one in live_objects
        ]
        headers = ("id", *fields, "created")
        console.write_output(render_table(headers, rows, color=console.is_output_colored))
    return 0


def _build_live_document(kind: str, live_object: LiveObject) -> JsonDocument:
    return {**live_object_document(kind, live_object.observed), "created": live_object.created}


def _build_manifest(kind: str, live_object: LiveObject) -> JsonDocument:
    """A live object in the form of a manifest, secrets as `(sensitive)`."""
    observed, spec = live_object.observed, live_object.observed.spec
    name = {"name": str(spec["code"])} if spec.get("code") else {}
    fields = (
        (path, SENSITIVE_TEXT if isinstance(value, SECRET_TYPES) else value)
        for path, value in flatten(spec).items()
    )
    return {
        "apiVersion": "synapse-apply/v1",
        "kind": kind.capitalize(),
        "metadata": {**name, "id": observed.remote_id},
        "spec": unflatten_redacted(fields),
    }


def _format_cell(value: Any) -> str:
    if isinstance(value, SECRET_TYPES):
        return SENSITIVE_TEXT
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


_MIN_CELL_WIDTH = 36


def render_resource_sides(sides: ResourceSides, console: Console) -> str:
    """A heading, and a table with one row per field."""
    shown = {
        "declared": sides.declared_fields_with_defaults(),
        "recorded": sides.recorded_fields(),
        "live": sides.shown_fields(),
    }
    paths = {path for side in shown.values() for path in side}
    cell_width = max(_MIN_CELL_WIDTH, ((console.terminal_width or 0) - 30) // 3)
    cells = {
        (path, name): _format_value(side.get(path, ABSENT), cell_width)
        for name, side in shown.items()
        for path in paths
    }
    for path, compared in sides.compare_secrets().items():
        for name, word in (("recorded", compared.recorded), ("live", compared.live)):
            if word:
                cells[path, name] = f"(sensitive, {word})"
    rows = [
        (format_quoted_path(path), *(cells[path, name] for name in shown))
        for path in sorted(paths, key=lambda path: [*map(str, path)])
    ]
    table = render_table(("field", *shown), rows, color=console.is_output_colored)
    record, observed = sides.resource.record, sides.resource.observed
    verified_text = format_last_run_or_empty(record.verification) if record else ""
    accepted = (sanitize(format_quoted_path(field.path)) for field in sides.accepted_changes)
    accepted_text = ", ".join(accepted)
    missing_live_text = (
        "live object not read" if sides.is_live_unread else ("not found on the backend")
    )
    parts = [
        "declared" if sides.resource.desired else "not declared",
        f"recorded as id {record.remote_id}" if record else "not recorded",
        f"live as id {observed.remote_id}" if observed else missing_live_text,
        *([f"verified: {sanitize(verified_text)}"] if verified_text else []),
        *([f"accepted differences: {accepted_text}"] if accepted_text else []),
    ]
    return f"# {sides.resource.address} ({', '.join(parts)})\n{table}"


def build_sides_document(sides: ResourceSides) -> JsonDocument:
    """The three sides as JSON, null for a side that does not exist or could not be read."""
    resource, observed = sides.resource, sides.resource.observed
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


def print_blame(console: Console, blame: Blame) -> int:
    """Print each field with its value, and where that comes from; returns the exit code."""
    if console.as_json:
        console.write_or_keep_document(build_blame_document(blame))
    else:
        lines = [f"# {sanitize(str(blame.address))} (live as id {sanitize(blame.remote_id)})"]
        for field in blame.fields:
            value = "(gone)" if field.live is ABSENT else format_value_inline(field.live)
            lines += [f"{sanitize(field.name)} = {value}", f"    {sanitize(field.sentence)}"]
        console.write_output(escape_ci_commands("\n".join(lines) + "\n"))
    console.write_findings(blame.findings)
    return Exit.OK


def build_blame_document(blame: Blame) -> JsonDocument:
    """The document of `blame --json` (blame.schema.json); null is not known, or a secret."""
    return {
        "format_version": "1.0",
        "address": str(blame.address),
        "id": blame.remote_id,
        "fields": [_build_blame_row(field) for field in blame.fields],
        "diagnostics": [finding.to_json() for finding in blame.findings],
    }


def _build_blame_row(field: FieldBlame) -> JsonDocument:
    who, approved_by = field.people
    of_call = ("call", "at", "verb", "plan_id", "request_id", "run")
    of_field = ("commit", "file", "line", "changed_by", "author")
    return {
        "path": format_json_pointer(field.path),
        "value": plain_json(field.live),
        "sensitive": isinstance(field.live, SECRET_TYPES),
        "origin": field.origin.value,
        "sentence": field.sentence,
        **{name: getattr(field.call, name, None) or None for name in of_call},
        "who": who or None,
        "approved_by": approved_by or None,
        **{name: getattr(field, name) or None for name in of_field},
        "changed_outside_after": field.after or None,
        "changed_outside_before": field.before or None,
        "put_back_this_week": field.times,
    }


_RESULT_TEXTS = {
    "same": "the published bytes match the record",
    "learned": "the published bytes are now recorded",
    "different": "the published bytes differ from the record",
    "unread": "the published bytes were not read",
}


def print_compared_bytes(console: Console, comparisons: Sequence[ComparedBytes]) -> int:
    """Print the result for each release; returns exit code 3 unless all are consistent."""
    findings = [entry for comparison in comparisons for entry in comparison.diagnostics]
    code = Exit.OK if all(entry.has_expected_digest for entry in comparisons) else Exit.INCOMPLETE
    if console.as_json:
        document = {
            "bytes": [
                {
                    "address": str(entry.address),
                    "result": entry.result.value,
                    "recorded": entry.recorded_digest or None,
                    "published": entry.published_digest or None,
                }
                for entry in comparisons
            ],
            "exit_code": int(code),
            "diagnostics": [entry.to_json() for entry in findings],
        }
        console.write_or_keep_document(document)
        return code
    console.write_findings(findings)
    for entry in comparisons:
        digest = f" ({sanitize(entry.published_digest)})" if entry.has_expected_digest else ""
        text = f"{_RESULT_TEXTS[entry.result.value]}{digest}"
        console.write_output(f"{sanitize(str(entry.address))}: {text}.\n")
    return code
