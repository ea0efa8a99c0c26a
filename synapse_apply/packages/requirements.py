"""Which requirements a requirements.txt has, and which of them are pinned to one version."""

from __future__ import annotations

import re
from collections.abc import Iterator

from synapse_apply.model.frozen import frozen

REQUIREMENTS_FILE = "requirements.txt"
_NAME = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?)[ \t]*(?:\[[^\]]{0,200}\])?")
_PINNED = re.compile(r"[ \t]*\(?[ \t]*={2,3}[ \t]*[^\s*,;]+[ \t]*\)?[ \t]*(?:;|$|--hash)")
# What pins a requirement by URL: a commit id, a hash, or an archive of one version.
_COMMIT = re.compile(r"@[0-9a-f]{40}(?:#|$)|#sha256=|\.whl(?:#|$)|\.tar\.gz(?:#|$)")


@frozen
class Requirement:
    """One requirement; `line` counts from 1."""

    name: str
    line: int
    is_pinned: bool


def iter_named_requirements(text: str) -> Iterator[Requirement]:
    """The named requirements in a text; options (`-r`, ...), URLs and paths are skipped."""
    for line_number, line in enumerate(text.split("\n"), 1):
        requirement_text = re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip().rstrip("\\").strip()
        match = _NAME.match(requirement_text)
        if match is None:
            continue
        specifier = requirement_text[match.end() :]
        if specifier.lstrip().startswith("@"):
            is_pinned = _COMMIT.search(specifier.split(";")[0].strip()) is not None
        elif specifier[:1] in {":", "/", "+", "\\"}:
            continue  # a URL, or a path
        else:
            is_pinned = _PINNED.match(specifier) is not None
        yield Requirement(match[1], line_number, is_pinned)
