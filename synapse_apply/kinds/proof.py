"""What a run sends: its digest, its context, and the mark by which its job is found."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from synapse_apply.kinds.compare import canonical

# In the context of a run: the id of the intent that announced it.
MARK = "x-synapse-apply-run"
_CONTEXT, _VERSION = "context", "version"


def digest_of(body: Mapping[str, Any]) -> str:
    """The digest of a run's body, which tells whether a run with other parameters is due."""
    return "sha256:" + hashlib.sha256(canonical(body).encode()).hexdigest()


def context_of(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The context that a body sends, empty where its form has none."""
    found = body.get(_CONTEXT)
    return found if isinstance(found, Mapping) else {}


def version_of(body: Mapping[str, Any]) -> str:
    """The version that a body asks for; "" where the server is to choose."""
    return str(body.get(_VERSION, ""))


def marked(body: Mapping[str, Any], run: str) -> dict[str, Any]:
    """The body with our mark in its context, where its form has one."""
    if _CONTEXT not in body:
        return dict(body)
    return {**body, _CONTEXT: {**context_of(body), MARK: run}}
