"""How differences that `state accept` has accepted are counted, named and shown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from synapse_apply.model.coding.json_types import JsonDocument
from synapse_apply.model.diagnostic import format_json_pointer
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.model.plan import Change, FieldChange
from synapse_apply.views.json.redaction import plain_json
from synapse_apply.views.sanitize import escape_ci_commands, sanitize
from synapse_apply.views.text.field_rows import RowLayout, build_field_tree
from synapse_apply.views.text.findings import format_quoted_path
from synapse_apply.views.text.style import Style

_DEFAULT_WIDTH = 110
_INDENT = 4
_MAX_LISTED = 5


def count_accepted_fields(changes: Iterable[Change]) -> int:
    """How many fields of these resources have an accepted difference."""
    return sum(len(change.accepted) for change in changes)


def name_accepted(changes: Sequence[Change]) -> str:
    """The line that counts and names the accepted differences; "" for none."""
    fields = [
        f"{sanitize(change.address)}: {sanitize(format_quoted_path(field.path))}"
        for change in changes
        for field in change.accepted
    ]
    return name_accepted_fields(fields)


def name_accepted_fields(address_field_texts: Sequence[str]) -> str:
    """The line that counts and names fields given as `ADDRESS: FIELD`; "" for none."""
    if not address_field_texts:
        return ""
    remainder = (
        f" and {len(address_field_texts) - _MAX_LISTED} more"
        if len(address_field_texts) > _MAX_LISTED
        else ""
    )
    return (
        f"{format_count_and_noun(len(address_field_texts), 'accepted difference')} "
        f"({', '.join(address_field_texts[:_MAX_LISTED])}{remainder})."
    )


def accepted_json(changes: Iterable[Change]) -> list[JsonDocument]:
    """The accepted differences as JSON, one for each field; secret values are null."""
    return [
        {
            "address": str(change.address),
            "path": format_json_pointer(field.path),
            "sensitive": field.sensitive,
            "live": None if field.sensitive else plain_json(field.before),
            "declared": None if field.sensitive else plain_json(field.after),
        }
        for change in changes
        for field in change.accepted
    ]


def render_accepted(
    address: object,
    differing_fields: Sequence[FieldChange],
    accepted_fields: Sequence[FieldChange],
    notes: Sequence[str],
    *,
    color: bool,
    width: int | None = None,
) -> str:
    """The differences of a resource as text, from live to declared, new and accepted ones apart."""
    style = Style(color)
    lines: list[str] = []
    for title, fields in (
        ("differs", differing_fields),
        ("differs, accepted before", accepted_fields),
    ):
        if fields:
            heading = f"{sanitize(address)} {title} (live -> declared):"
            rows = RowLayout(style, width or _DEFAULT_WIDTH).visible_rows(
                build_field_tree(fields), _INDENT
            )
            lines += [style(heading, "bold"), *rows]
    lines += [f"  . {sanitize(note)}" for note in notes]
    return escape_ci_commands("".join(f"{line}\n" for line in lines))
