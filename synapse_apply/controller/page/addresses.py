"""Under which paths the page shows targets, runs, revisions and sources."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode

from synapse_apply.controller.rows import TargetName


def build_target_path(name: TargetName) -> str:
    return f"/targets/{_quote_path_segment(name.source)}/{_quote_path_segment(name.target)}"


def build_source_path(source: str) -> str:
    return f"/sources/{_quote_path_segment(source)}"


def build_run_path(run_id: str) -> str:
    return f"/runs/{_quote_path_segment(run_id)}"


def build_revision_path(source: str, commit: str) -> str:
    return f"/revisions/{_quote_path_segment(source)}/{_quote_path_segment(commit)}"


def build_rollout_path(rollout: str, parameters: Mapping[str, str] | None = None) -> str:
    """The page of a rollout, with these filters of its targets; empty ones are left out."""
    query = urlencode({name: value for name, value in (parameters or {}).items() if value})
    return f"/rollouts/{_quote_path_segment(rollout)}{f'?{query}' if query else ''}"


def build_badge_path(name: TargetName) -> str:
    return f"/badge/{_quote_path_segment(name.source)}/{_quote_path_segment(name.target)}.svg"


def build_audit_path(parameters: Mapping[str, str]) -> str:
    """The audit with these filters; empty ones are left out."""
    query = urlencode({name: value for name, value in parameters.items() if value})
    return f"/audit?{query}" if query else "/audit"


def build_overview_path(parameters: Mapping[str, str]) -> str:
    """The overview with these filters; empty ones are left out."""
    query = urlencode({name: value for name, value in parameters.items() if value})
    return f"/?{query}" if query else "/"


def _quote_path_segment(text: str) -> str:
    # Lone surrogates come from file systems; they cannot be UTF-8.
    return quote(text.encode("utf-8", "replace"), safe="")
