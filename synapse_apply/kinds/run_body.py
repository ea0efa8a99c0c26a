"""What the body of a run has: its digest, its context, and the mark by which its job is found."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from synapse_apply.kinds.compare import format_comparable_json
from synapse_apply.model.json_types import JsonObject, RequestBody

# The key in a run's context whose value is the id of its intent.
RUN_MARK_KEY = "x-synapse-apply-run"
_CONTEXT_KEY = "context"


def compute_run_body_digest(body: RequestBody) -> str:
    """`sha256:HEX` over the canonical JSON of a run's body, to detect changed parameters."""
    return "sha256:" + hashlib.sha256(format_comparable_json(body).encode()).hexdigest()


def extract_context_or_empty(body: RequestBody) -> Mapping[str, Any]:
    """The `context` of a run's body, {} if it has none."""
    context = body.get(_CONTEXT_KEY)
    return context if isinstance(context, Mapping) else {}


# The platform's form of a run, which has no context, is used where actions are listed, because only
# a plugin with actions can be run there. The digest of what was sent changes with the form: such a
# release is verified once more.
def with_run_mark_if_body_has_context(body: RequestBody, run: str) -> JsonObject:
    """The body with the id `run` in its context; an unchanged copy if it has no context."""
    if _CONTEXT_KEY not in body:
        return dict(body)
    return {**body, _CONTEXT_KEY: {**extract_context_or_empty(body), RUN_MARK_KEY: run}}
