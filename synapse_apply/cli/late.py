"""Modules that commands need only when they run, each imported at its first use: by no help."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synapse_apply.cli import observer, reports
    from synapse_apply.cli.texts import controller, files, jobs, mcp, objects, plan, state
    from synapse_apply.controller import audit_report, checking, run, verbs
    from synapse_apply.controller.page import api
    from synapse_apply.views import graph
    from synapse_apply.views.json import documents
    from synapse_apply.views.text import checkup, findings, record, terminal

__all__ = ["api", "audit_report", "checking", "checkup", "controller", "documents", "files",
           "findings", "graph", "jobs", "mcp", "objects", "observer", "plan", "record", "reports",
           "run", "state", "terminal", "verbs"]  # fmt: skip
_FOLDERS = {
    "cli": ("observer", "reports"),
    "cli.texts": ("controller", "files", "jobs", "mcp", "objects", "plan", "state"),
    "controller": ("audit_report", "checking", "run", "verbs"),
    "controller.page": ("api",),
    "views": ("graph",),
    "views.json": ("documents",),
    "views.text": ("checkup", "findings", "record", "terminal"),
}
_PLACES = {name: folder for folder, names in _FOLDERS.items() for name in names}


def __getattr__(name: str) -> Any:
    """The module of that name."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"synapse_apply.{_PLACES[name]}.{name}")
