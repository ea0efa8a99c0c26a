"""The command line: parses options, calls the library or an operation, prints the result.

What commands need only when they run is imported here at its first use, so that help is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synapse_apply.cli import observer
    from synapse_apply.cli.texts import controller, files, jobs, mcp, objects, plan, state
    from synapse_apply.controller import audit_report, checking, run, verbs
    from synapse_apply.controller.page import api
    from synapse_apply.controller.remote import answers
    from synapse_apply.views import graph
    from synapse_apply.views.json import documents
    from synapse_apply.views.text import checkup, drift, record, terminal

__all__ = ["answers", "api", "audit_report", "checking", "checkup", "controller", "documents",
           "drift", "files", "graph", "jobs", "mcp", "objects", "observer", "plan", "record", "run",
           "state", "terminal", "verbs"]  # fmt: skip
_FOLDERS = {
    "cli": ("observer",),
    "cli.texts": ("controller", "files", "jobs", "mcp", "objects", "plan", "state"),
    "controller": ("audit_report", "checking", "run", "verbs"),
    "controller.page": ("api",),
    "controller.remote": ("answers",),
    "views": ("graph",),
    "views.json": ("documents",),
    "views.text": ("checkup", "drift", "record", "terminal"),
}
_PLACES = {name: folder for folder, names in _FOLDERS.items() for name in names}


def __getattr__(name: str) -> Any:
    """The module of that name."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"synapse_apply.{_PLACES[name]}.{name}")
