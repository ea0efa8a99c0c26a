"""Which commit last changed a line of a file, and who wrote that commit."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from synapse_apply.files.repository import Repository, run_git

_SECONDS = 30.0
_HEADER = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64}) \d+ \d+")


class Line(NamedTuple):
    """A line of a file, the commit that last changed it, and when (seconds since 1970).

    The commit is "" where a shallow clone lacks the older ones that may have changed it.
    """

    text: str
    commit: str
    committed_at: int


def read_lines(repository: Repository, file: Path, commit: str) -> list[Line]:
    """The lines of a file in a commit; none where Git cannot tell, or takes too long.

    No configuration of a file type, and no list of commits to skip, has a say in it.
    """
    path = os.path.relpath(os.path.realpath(file), repository.top)
    arguments = ("blame", "--porcelain", "--no-textconv", "--ignore-revs-file=", commit, "--", path)
    code, out, _ = run_git(repository.top, repository, *arguments, timeout=_SECONDS)
    lines, current, times = list[Line](), "", dict[str, int]()
    ends, is_shallow = set[str](), repository.is_shallow
    for row in out.decode(errors="replace").split("\n") if code == 0 else ():
        if row.startswith("\t"):
            is_end = is_shallow and current in ends
            lines.append(Line(row[1:], "" if is_end else current, times[current]))
        elif header := _HEADER.match(row):
            current = header[1]
        elif row == "boundary":
            ends.add(current)
        elif row.startswith("committer-time "):
            times[current] = int(row.split()[1])
    return lines


def read_author(repository: Repository, commit: str) -> str:
    """The author that a commit names; "" where Git cannot read it."""
    # Not by `git log` or `blame`, which ask .mailmap of the checkout for names.
    arguments = ("cat-file", "commit", commit)
    _, out, _ = run_git(repository.top, repository, *arguments, timeout=_SECONDS)
    head = out.partition(b"\n\n")[0].decode(errors="replace")
    name = re.search(r"^author (.*?) ?<", head, re.MULTILINE)
    return name[1] if name else ""
