"""Which reasons of people are taken: one line that is not too long."""

from __future__ import annotations

from synapse_apply.controller.ports import ActionRefused

_MAX_REASON_LENGTH = 1000


def normalize_reason(reason: str) -> str:
    """A reason in one line; refused for one that is too long."""
    if len(reason) > _MAX_REASON_LENGTH:
        raise ActionRefused.from_summary(
            "The reason is too long",
            f"It has {len(reason)} characters; {_MAX_REASON_LENGTH} are kept.",
            "Say it shorter, or name the page that says it.",
        )
    return " ".join("".join(c if c.isprintable() else " " for c in reason).split())
