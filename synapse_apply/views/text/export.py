"""What an export could not write: fields that manifests lack, and objects that have none."""

from __future__ import annotations

from collections.abc import Iterable

from synapse_apply.views.sanitize import escape_ci_commands, sanitize

ReasonRows = Iterable[tuple[str, str]]


def render_unexported(left_out_fields: ReasonRows, missed_objects: ReasonRows) -> str:
    """Pairs of a thing and a reason, under two headings; "" where nothing is amiss."""
    text = _format_reason_list("Left out, and so not managed:", left_out_fields)
    return escape_ci_commands(text + _format_reason_list("Not exported:", missed_objects))


def render_secret_variables(secrets: ReasonRows) -> str:
    """Secrets that take their values from variables; "" where there are none."""
    return escape_ci_commands(
        _format_reason_list("Not written, to be set where plans and applies run:", secrets)
    )


def _format_reason_list(heading: str, rows: ReasonRows) -> str:
    lines = [f"  {sanitize(subject)}: {sanitize(reason)}\n" for subject, reason in rows]
    return f"\n{heading}\n" + "".join(lines) if lines else ""
