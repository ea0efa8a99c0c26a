"""Who made a commit and what its first line says: foreign text, cut and escaped."""

from __future__ import annotations

import re

from synapse_apply.controller.ports import Head
from synapse_apply.views.sanitize import sanitize

MAX_COMMIT_BYTES = 64 * 1024
_MAX_AUTHOR, _MAX_SUBJECT = 200, 300
_DATE = re.compile(r" -?[0-9]+ [+-][0-9]{4}$")


def parse_commit_head(commit_id: str, content: bytes) -> Head:
    """The head of a commit's object, of which only the beginning is needed (git-cat-file(1))."""
    header, _, message = content.partition(b"\n\n")
    author = next(
        (
            line.removeprefix(b"author ")
            for line in header.split(b"\n")
            if line.startswith(b"author ")
        ),
        b"",
    )
    author_text = _DATE.sub("", author.decode(errors="replace"))
    subject = message.lstrip(b"\n").partition(b"\n")[0].decode(errors="replace")
    return Head(
        commit_id,
        _sanitize_and_shorten(author_text, _MAX_AUTHOR),
        _sanitize_and_shorten(subject.strip(), _MAX_SUBJECT),
    )


def _sanitize_and_shorten(text: str, max_length: int) -> str:
    text = sanitize(text[: max_length + 1])
    return text if len(text) <= max_length else text[: max_length - 3] + "..."
