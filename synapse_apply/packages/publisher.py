"""Which files the platform's own publisher leaves out of a package (synapse-api.md, section d).

Its patterns are the lines of `.gitignore`, then of `.synapseignore`, and built-in ones. Each is
matched against the whole path and each part of it; there is neither `!` nor an anchor.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import translate
from functools import lru_cache

from synapse_apply.packages.ignore import BUILT_IN_PATTERNS

# Each pattern with a wildcard is tried on every part of every path.
_MAX_WILDCARD_PATTERNS = 200


class PublisherRules:
    """The publisher's patterns for one package; `texts` are the texts of its two ignore files."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        lines = [line.strip() for text in texts for line in text.split("\n")]
        own_patterns = [line for line in lines if line and not line.startswith("#")]
        self._patterns = (*own_patterns, *BUILT_IN_PATTERNS, ".git")
        self._plain_patterns = frozenset(
            pattern for pattern in self._patterns if not re.search(r"[*?\[]", pattern)
        )
        wildcards = (pattern for pattern in self._patterns if pattern not in self._plain_patterns)
        # The last ones, since the built-in patterns come last.
        self._wildcard_patterns = list(dict.fromkeys(wildcards))[-_MAX_WILDCARD_PATTERNS:]

    def find_pattern_excluding_path_or_part(self, path: str) -> str | None:
        """The pattern by which the publisher leaves a file out, None if it publishes it."""
        parts = path.split("/")
        for part in (path, *parts):
            if part in self._plain_patterns:
                return part
        for pattern in self._wildcard_patterns:
            matches = _compile_matcher(pattern)
            if any(matches(part) for part in (path, *parts)):
                return pattern
        return None


@lru_cache(maxsize=256)
def _compile_matcher(pattern: str) -> Callable[[str], object]:
    return re.compile(translate(pattern)).match
