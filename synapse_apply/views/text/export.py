"""How an export lists what it left out: fields, whole objects, and values of secrets."""

from __future__ import annotations

from collections.abc import Iterable

from synapse_apply.views.sanitize import escape_ci_commands, sanitize

ReasonRows = Iterable[tuple[str, str]]


def render_unexported(left_out_fields: ReasonRows, missed_objects: ReasonRows) -> str:
    """Left out fields and objects with their reasons, under two headings; "" for none."""
    text = _reason_list("Left out, and so not managed:", left_out_fields)
    return escape_ci_commands(text + _reason_list("Not exported:", missed_objects))


def format_variables_to_set(secrets_with_reasons: ReasonRows) -> str:
    """The list of secrets whose variables have to be set; "" for none."""
    return escape_ci_commands(
        _reason_list("Not written; set these where plans and applies run:", secrets_with_reasons)
    )


def _reason_list(heading: str, rows: ReasonRows) -> str:
    lines = [f"  {sanitize(subject)}: {sanitize(reason)}\n" for subject, reason in rows]
    return f"\n{heading}\n" + "".join(lines) if lines else ""
