"""How a line of a job's log is written, as text and as JSON."""

from __future__ import annotations

from synapse_apply.model.remote import LogLine
from synapse_apply.views.json.documents import format_redacted_json_line
from synapse_apply.views.sanitize import escape_ci_commands, sanitize
from synapse_apply.views.text.style import Style

_LEVEL_STYLES = {
    "error": "error",
    "critical": "error",
    "danger": "error",
    "warning": "warning",
    "debug": "dim",
}


def format_log_line(line: LogLine, *, color: bool) -> str:
    """`[time] level: message`, as on the API page, without what the server left out."""
    level = Style(color)(sanitize(line.level), _LEVEL_STYLES.get(line.level, ""))
    head = f"[{sanitize(line.timestamp)}] " if line.timestamp else ""
    # A tab indents tracebacks, and would be shown as an escape by sanitize.
    message = sanitize(line.message.expandtabs(4))
    return escape_ci_commands(f"{head}{level}{': ' if line.level else ''}{message}\n")


def format_log_line_as_json(line: LogLine) -> str:
    """A log line as one JSON object on one line."""
    fields = {"timestamp": line.timestamp, "level": line.level, "message": line.message}
    present_fields = {name: value for name, value in fields.items() if value or name == "message"}
    return format_redacted_json_line(present_fields)
