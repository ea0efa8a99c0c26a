"""Which words the API page and the platform have for job statuses, and which may follow which."""

from __future__ import annotations

from typing import Literal

Status = Literal["queued", "running", "completed", "failed", "stopped"]

PLATFORM: dict[Status, str] = {
    "queued": "PENDING",
    "running": "RUNNING",
    "completed": "SUCCEEDED",
    "failed": "FAILED",
    "stopped": "STOPPED",
}
# The API page has no word for a stopped job; here it is "stopped".
_STATUS_BY_WORD: dict[str, Status] = {
    **{status: status for status in PLATFORM},
    **{word.lower(): status for status, word in PLATFORM.items()},
}
ENDED_STATUSES: frozenset[Status] = frozenset({"completed", "failed", "stopped"})
_ORDER: dict[Status, int] = {"queued": 0, "running": 1, "completed": 2, "failed": 2, "stopped": 2}


def parse_status_word(word: object) -> Status | None:
    """The status that a word of either vocabulary means, in any case; None for another word."""
    return _STATUS_BY_WORD.get(word.lower()) if isinstance(word, str) else None


def format_status_word(status: Status, vocabulary: str) -> str:
    return PLATFORM[status] if vocabulary == "platform" else status


def may_become(old: Status, new: Status) -> bool:
    """Whether a status may change: an ended job keeps its status, others only go forward."""
    return old == new or (old not in ENDED_STATUSES and _ORDER[new] > _ORDER[old])
