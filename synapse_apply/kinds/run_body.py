"""What a run sends: its digest, its context, and the mark by which its job is found."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from synapse_apply.kinds.compare import format_comparable_json

# In the context of a run: the id of the intent that announced it.
RUN_MARK_KEY = "x-synapse-apply-run"
_CONTEXT_KEY, _VERSION_KEY = "context", "version"


def compute_body_digest(body: Mapping[str, Any]) -> str:
    """The digest of a run's body, which tells whether a run with other parameters is due."""
    return "sha256:" + hashlib.sha256(format_comparable_json(body).encode()).hexdigest()


def extract_context(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The context that a body sends, empty where its form has none."""
    context = body.get(_CONTEXT_KEY)
    return context if isinstance(context, Mapping) else {}


def extract_version(body: Mapping[str, Any]) -> str:
    """The version that a body asks for; "" where the server is to choose."""
    return str(body.get(_VERSION_KEY, ""))


# The platform's form of a run, which has no context, is used where actions are listed, because only
# a plugin with actions can be run there. The digest of what was sent changes with the form: such a
# release is verified once more.
def add_run_mark(body: Mapping[str, Any], run: str) -> dict[str, Any]:
    """The body with our mark in its context, where its form has one."""
    if _CONTEXT_KEY not in body:
        return dict(body)
    return {**body, _CONTEXT_KEY: {**extract_context(body), RUN_MARK_KEY: run}}
