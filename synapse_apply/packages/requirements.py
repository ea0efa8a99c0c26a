"""Lines of requirements.txt: what they name, and whether they pin it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from synapse_apply.model.frozen import frozen

FILE = "requirements.txt"
_NAME = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?)[ \t]*(?:\[[^\]]{0,200}\])?")
_PINNED = re.compile(r"[ \t]*\(?[ \t]*={2,3}[ \t]*[^\s*,;]+[ \t]*\)?[ \t]*(?:;|$|--hash)")
_COMMIT = re.compile(r"@[0-9a-f]{40}(?:#|$)|#sha256=|\.whl(?:#|$)|\.tar\.gz(?:#|$)")


@frozen
class Requirement:
    """One requirement; `line` starts at 1."""

    name: str
    line: int
    is_pinned: bool


def requirements(text: str) -> Iterator[Requirement]:
    """Those of a requirements.txt; options (`-r`, `--index-url`) and what has no name are none."""
    for number, line in enumerate(text.split("\n"), 1):
        written = re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip().rstrip("\\").strip()
        match = _NAME.match(written)
        if match is None:
            continue
        rest = written[match.end() :]
        if rest.lstrip().startswith("@"):
            pinned = _COMMIT.search(rest.split(";")[0].strip()) is not None
        elif rest[:1] in {":", "/", "+", "\\"}:
            continue  # a URL, or a path
        else:
            pinned = _PINNED.match(rest) is not None
        yield Requirement(match[1], number, pinned)
