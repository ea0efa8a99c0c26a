"""The difference of two texts of a package, bounded, without lines that look like a secret."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from synapse_apply.model.credentials import credentials
from synapse_apply.model.frozen import frozen

LARGEST = 32 * 1024
MOST_LINES = 800
_CONTEXT = 2
_WIDEST = 200
HIDDEN = "(looks like a secret: not shown)"
# Names of files whose content is a secret, whatever it looks like.
_SECRET_FILE = re.compile(r"(?:^|/)(?:\.env[^/]*|id_[a-z0-9]+|[^/]*\.(?:pem|key|p12|pfx|jks))$")
_SECRET_NAME = re.compile(
    r"(?:passw(?:or)?d|passphrase|secret|credential|api_?key|access_?key|private_?key|"
    r"(?:auth|access|bearer|refresh)_?token)[\w.-]{0,40}[\"']?\s{0,8}[:=]",
    re.IGNORECASE,
)
_OPENS = ("|", ">", "|-", ">-", ":", "=", "(", "[", "{", "\\", '"""', "'''")


@frozen
class TextDiff:
    """The lines of a difference; `note` says what is left out, or why there are none."""

    lines: tuple[str, ...] = ()
    note: str = ""


def diff_of(path: str, old: bytes, new: bytes, most: int) -> TextDiff:
    """What became of a file, in at most so many lines, as `diff -u` has them."""
    if _SECRET_FILE.search(path):
        return TextDiff(note="what is in such a file is not shown")
    if max(len(old), len(new)) > LARGEST:
        return TextDiff(note="too large to be compared line by line")
    texts = [_text_of(old), _text_of(new)]
    if None in texts:
        return TextDiff(note="not a text")
    before, after = (text.splitlines() for text in texts if text is not None)
    if max(len(before), len(after)) > MOST_LINES:
        return TextDiff(note="too long to be compared line by line")
    hidden = [secret_lines(text) for text in texts if text is not None]
    if None in hidden:
        return TextDiff(note="it holds a private key: not shown")
    shown = [
        [HIDDEN if at in numbers else line for at, line in enumerate(lines, start=1)]
        for lines, numbers in zip((before, after), hidden, strict=True)
        if numbers is not None
    ]
    found = list(_lines(before, after, *shown))
    if not found:
        return TextDiff(note="only line ends differ")
    note = f"{len(found) - most} more lines" if len(found) > most else ""
    return TextDiff(tuple(line[:_WIDEST] for line in found[:most]), note)


def secret_lines(text: str) -> set[int] | None:
    """The numbers of the lines that look like a secret; None where no part may be shown."""
    found = credentials(text)
    if any("private key" in one.kind for one in found):
        return None
    numbers = {one.line for one in found}
    lines = text.splitlines()
    for at, line in enumerate(lines, start=1):
        if _SECRET_NAME.search(line):
            numbers.add(at)
        if at in numbers and line.rstrip().endswith(_OPENS):
            numbers.update(_below(lines, at))
    return numbers


def _below(lines: Sequence[str], at: int) -> Iterator[int]:
    """The numbers of the lines that belong to what line `at` begins: blank or indented more."""
    indent = _indent(lines[at - 1])
    for number in range(at + 1, len(lines) + 1):
        line = lines[number - 1]
        if line.strip() and _indent(line) <= indent:
            return
        yield number


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _text_of(data: bytes) -> str | None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return None if "\0" in text else text


def _lines(
    before: Sequence[str], after: Sequence[str], old: Sequence[str], new: Sequence[str]
) -> Iterator[str]:
    """The differences of `before` and `after`, shown by the lines of `old` and `new`."""
    for group in SequenceMatcher(None, before, after).get_grouped_opcodes(_CONTEXT):
        first, last = group[0], group[-1]
        yield f"@@ -{_span(first[1], last[2])} +{_span(first[3], last[4])} @@"
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                yield from (f" {line}" for line in old[i1:i2])
                continue
            yield from (f"-{line}" for line in old[i1:i2])
            yield from (f"+{line}" for line in new[j1:j2])


def _span(start: int, end: int) -> str:
    count = end - start
    return f"{start + 1 if count else start},{count}"
