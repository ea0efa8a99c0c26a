"""Under which paths the page shows targets, runs, revisions and sources, and what filters them."""

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


def build_rollout_path(rollout: str, parameters: Mapping[str, object] | None = None) -> str:
    return with_query(f"/rollouts/{_quote_path_segment(rollout)}", parameters or {})


def build_badge_path(name: TargetName) -> str:
    return f"/badge/{_quote_path_segment(name.source)}/{_quote_path_segment(name.target)}.svg"


def with_query(path: str, parameters: Mapping[str, object]) -> str:
    """A path with these filters; empty ones, and 0, are left out."""
    query = urlencode({name: value for name, value in parameters.items() if value})
    return f"{path}?{query}" if query else path


def read_number(parameters: Mapping[str, str], name: str, most_digits: int) -> int | None:
    """A whole number of an address; None for what makes no sense, as if it were left out."""
    text = parameters.get(name, "")
    is_number = text.isascii() and text.isdigit() and len(text) <= most_digits
    return int(text) if is_number else None


def _quote_path_segment(text: str) -> str:
    # Lone surrogates come from file systems; they cannot be UTF-8.
    return quote(text.encode("utf-8", "replace"), safe="")
