"""Lines of a job's log, as people read them and as programs do."""

from __future__ import annotations

from synapse_apply.model.logs import LogLine
from synapse_apply.views.json import json_line
from synapse_apply.views.pen import Pen
from synapse_apply.views.safety import clean, disarm

_STYLES = {
    "error": "error",
    "critical": "error",
    "danger": "error",
    "warning": "warning",
    "debug": "dim",
}


def log_text(line: LogLine, *, color: bool) -> str:
    """`[time] level: message`, as the API page prints it, without what the server did not give."""
    level = Pen(color)(clean(line.level), _STYLES.get(line.level, ""))
    head = f"[{clean(line.timestamp)}] " if line.timestamp else ""
    # A tab is what indents a traceback, not what steers a terminal.
    message = clean(line.message.expandtabs(4))
    return disarm(f"{head}{level}{': ' if line.level else ''}{message}\n")


def log_json(line: LogLine) -> str:
    """One JSON object on one line."""
    told = {"timestamp": line.timestamp, "level": line.level, "message": line.message}
    known = {name: value for name, value in told.items() if value or name == "message"}
    return json_line(known)
