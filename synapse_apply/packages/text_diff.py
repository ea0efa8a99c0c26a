"""Which lines of a text diff are shown: a bounded number, and none that looks like a secret."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from synapse_apply.model.frozen import frozen
from synapse_apply.model.secrets.credentials import list_one_unallowed_credential_per_line

MAX_DIFF_SIZE = 32 * 1024
MAX_DIFF_LINES = 800
_CONTEXT_LINES = 2
_MAX_LINE_WIDTH = 200
HIDDEN_LINE = "(looks like a secret: not shown)"
# Files that are secret by their name, whatever they contain.
_SECRET_FILE = re.compile(r"(?:^|/)(?:\.env[^/]*|id_[a-z0-9]+|[^/]*\.(?:pem|key|p12|pfx|jks))$")
_SECRET_NAME = re.compile(
    r"(?:passw(?:or)?d|passphrase|secret|credential|api_?key|access_?key|private_?key|"
    r"(?:auth|access|bearer|refresh)_?token)[\w.-]{0,40}[\"']?\s{0,8}[:=]",
    re.IGNORECASE,
)
# Ends of a line whose value follows on the next lines, as in YAML, TOML, JSON and Python.
_BLOCK_OPENERS = ("|", ">", "|-", ">-", ":", "=", "(", "[", "{", "\\", '"""', "'''")


@frozen
class TextDiff:
    """The lines of a diff; `note` tells what is left out, or why there are none."""

    lines: tuple[str, ...] = ()
    note: str = ""


def diff_texts(path: str, old: bytes, new: bytes, max_lines: int) -> TextDiff:
    """The difference of two contents of the file at `path`, as `diff -u` shows it.

    At most `max_lines` lines. Lines that look like a secret are replaced by HIDDEN_LINE.
    """
    if _SECRET_FILE.search(path):
        return TextDiff(note="the content of such a file is not shown")
    # SequenceMatcher takes quadratic time in the worst case.
    if max(len(old), len(new)) > MAX_DIFF_SIZE:
        return TextDiff(note="too large to compare line by line")
    try:
        texts = [old.decode(), new.decode()]
    except UnicodeDecodeError:
        return TextDiff(note="not a text")
    if any("\0" in text for text in texts):
        return TextDiff(note="not a text")
    before, after = (text.splitlines() for text in texts)
    if max(len(before), len(after)) > MAX_DIFF_LINES:
        return TextDiff(note="too long to compare line by line")
    shown_lines = []
    for text, lines in zip(texts, (before, after), strict=True):
        secret_lines = find_secret_lines(text)
        if secret_lines is None:
            return TextDiff(note="contains a private key: not shown")
        shown_lines.append(
            [
                HIDDEN_LINE if number in secret_lines else line
                for number, line in enumerate(lines, start=1)
            ]
        )
    diff_lines = list(_diff_lines(before, after, *shown_lines))
    if not diff_lines:
        return TextDiff(note="only line ends differ")
    note = f"{len(diff_lines) - max_lines} more lines" if len(diff_lines) > max_lines else ""
    return TextDiff(tuple(line[:_MAX_LINE_WIDTH] for line in diff_lines[:max_lines]), note)


def find_secret_lines(text: str) -> set[int] | None:
    """The numbers (from 1) of lines that look like a secret; None if no line may be shown.

    The latter is for a private key, any part of which helps an attacker.
    """
    matches = list_one_unallowed_credential_per_line(text)
    if any("private key" in match.kind for match in matches):
        return None
    numbers = {match.line for match in matches}
    lines = text.splitlines()
    for line_number, line in enumerate(lines, start=1):
        if _SECRET_NAME.search(line):
            numbers.add(line_number)
        if line_number in numbers and line.rstrip().endswith(_BLOCK_OPENERS):
            indent = len(line) - len(line.lstrip())
            # The lines after it that are blank or indented more than it.
            for number, value in enumerate(lines[line_number:], start=line_number + 1):
                if value.strip() and len(value) - len(value.lstrip()) <= indent:
                    break
                numbers.add(number)
    return numbers


def _diff_lines(
    before: Sequence[str], after: Sequence[str], old_shown: Sequence[str], new_shown: Sequence[str]
) -> Iterator[str]:
    """The diff lines between `before` and `after`, printed with `old_shown` and `new_shown`.

    Compared are the real lines: two different secrets would else look unchanged.
    """
    for group in SequenceMatcher(None, before, after).get_grouped_opcodes(_CONTEXT_LINES):
        first, last = group[0], group[-1]
        ranges = (
            f"{start + (end > start)},{end - start}"
            for start, end in ((first[1], last[2]), (first[3], last[4]))
        )
        yield f"@@ -{next(ranges)} +{next(ranges)} @@"
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                yield from (f" {line}" for line in old_shown[i1:i2])
                continue
            yield from (f"-{line}" for line in old_shown[i1:i2])
            yield from (f"+{line}" for line in new_shown[j1:j2])
