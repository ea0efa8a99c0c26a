"""How the last commit that an earlier process has read of a state is remembered."""

from __future__ import annotations

import re
from typing import NamedTuple

_PATTERN = re.compile(r"([1-9][0-9]{0,15}):([0-9a-f]{40}|[0-9a-f]{64})")


class GitBookmark(NamedTuple):
    """The number of a batch, and the id of its commit."""

    number: int
    commit_id: str

    def __str__(self) -> str:
        return f"{self.number}:{self.commit_id}"


def parse_bookmark_or_none(text: str) -> GitBookmark | None:
    """The bookmark in a text; None for any other text, which may be of a file."""
    match = _PATTERN.fullmatch(text)
    return GitBookmark(int(match[1]), match[2]) if match else None
