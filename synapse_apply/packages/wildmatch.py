"""Git's patterns of ignore files (gitignore(5), wildmatch.c) as expressions that take linear time.

A checkout's pattern must not be able to hang whoever looks at it. A `*` takes the earliest place
at which what follows it matches, and is never asked again (an atomic group): what follows has a
fixed length, so that an earlier place leaves more to choose from for the rest. The same holds of
`**` and whole segments. Characters are matched where Git matches bytes.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator

from synapse_apply.model.frozen import frozen

LONGEST = 4096  # characters of one pattern: no path is longer
_WILD = re.compile(r"[*?\[\\]")

_NEVER = "(?!)"
_END = r"\Z"
_STAR, _SLASH, _ALL_FOLDERS = "*", "/", "**"
_CLASSES = {
    "alnum": string.ascii_letters + string.digits,
    "alpha": string.ascii_letters,
    "blank": " \t",
    "cntrl": "".join(map(chr, (*range(32), 127))),
    "digit": string.digits,
    "graph": "".join(map(chr, range(33, 127))),
    "lower": string.ascii_lowercase,
    "print": "".join(map(chr, range(32, 127))),
    "punct": string.punctuation,
    "space": string.whitespace,
    "upper": string.ascii_uppercase,
    "xdigit": string.hexdigits,
}


class _NoMatch(Exception):
    """The pattern is one that Git never finds a match for."""


@frozen
class Pattern:
    """One line of an ignore file. `excludes`: what matches is left out; else it is taken back.

    `expression` is None for a `text` that matches only itself.
    """

    excludes: bool
    only_folders: bool
    by_name: bool
    text: str
    expression: re.Pattern[str] | None

    def matches(self, path: str, *, folder: bool) -> bool:
        """Whether it matches this very path; a folder above it is asked about by itself."""
        if self.only_folders and not folder:
            return False
        asked = path.rpartition("/")[2] if self.by_name else path
        if self.expression is None:
            return asked == self.text
        return self.expression.fullmatch(asked) is not None


def read_pattern(line: str) -> Pattern | None:
    """The pattern of a line, None where it has none. ValueError for one that is too long."""
    if line.startswith("#"):
        return None
    text = _without_trailing_spaces(line.removesuffix("\r"))
    excludes = not text.startswith("!")
    text = text.removeprefix("!")
    only_folders = text.endswith("/")
    text = text.removesuffix("/")
    if not text:
        return None
    if len(text) > LONGEST:
        raise ValueError(f"a pattern has more than {LONGEST} characters")
    by_name = "/" not in text
    text = text.removeprefix("/")
    expression = re.compile(_expression(text, by_name), re.DOTALL) if _WILD.search(text) else None
    return Pattern(excludes, only_folders, by_name, text, expression)


def _expression(text: str, by_name: bool) -> str:
    try:
        tokens = list(_tokens(text))
        return _segment(tokens, "") if by_name else _path(tokens)
    except _NoMatch:
        return _NEVER


def _without_trailing_spaces(line: str) -> str:
    """Spaces at the end do not count, unless a backslash stands before them."""
    end = at = 0
    while at < len(line):
        at += 2 if line[at] == "\\" else 1
        if line[at - 1 : at] != " " or line[at - 2 : at - 1] == "\\":
            end = at
    return line[:end]


def _tokens(text: str) -> Iterator[str]:
    """Expressions of one character each; `*` for a run of stars, `/`, and `**` for all folders."""
    at = 0
    while at < len(text):
        sign = text[at]
        if sign == "\\":
            at += 1
            if at == len(text):
                raise _NoMatch
            yield _SLASH if text[at] == "/" else re.escape(text[at])
        elif sign == "*":
            first = at
            while text[at + 1 : at + 2] == "*":
                at += 1
            after = text[at + 1 : at + 3]
            alone = text[first - 1 : first] in ("", "/") if first else True
            if at > first and alone and (after[:1] in ("", "/") or after == "\\/"):
                if after == "\\/":  # Git skips no folder here
                    yield from (_STAR, _SLASH)
                yield _ALL_FOLDERS
            else:
                yield _STAR
        elif sign == "?":
            yield "[^/]"
        elif sign == "[":
            found, at = _bracket(text, at + 1)
            yield found
        else:
            yield _SLASH if sign == "/" else re.escape(sign)
        at += 1


def _bracket(text: str, at: int) -> tuple[str, int]:
    """The expression of a set, which begins after its bracket, and where its last one stands."""
    is_negated = text[at : at + 1] in ("!", "^") and at < len(text)
    at += is_negated
    parts: list[str] = []
    before, is_first = "", True
    while is_first or text[at : at + 1] != "]":
        is_first = False
        sign = _at(text, at)
        if sign == "\\":
            at += 1
            before = _at(text, at)
            parts.append(re.escape(before))
        elif sign == "-" and before and text[at + 1 : at + 2] not in ("", "]"):
            at += 1
            if text[at] == "\\":
                at += 1
            last = _at(text, at)
            if before <= last:
                parts.append(f"{re.escape(before)}-{re.escape(last)}")
            before = ""
        elif sign == "[" and text[at + 1 : at + 2] == ":":
            end = text.find("]", at + 2)
            if end < 0:
                raise _NoMatch
            if end > at + 2 and text[end - 1] == ":":
                name = text[at + 2 : end - 1]
                if name not in _CLASSES:
                    raise _NoMatch
                parts.append(re.escape(_CLASSES[name]))
                at, before = end, ""
            else:
                parts.append(re.escape(sign))
                before = sign
        else:
            parts.append(re.escape(sign))
            before = sign
        at += 1
        if at >= len(text):
            raise _NoMatch
    if not parts:
        return ("[^/]" if is_negated else _NEVER), at
    return f"(?!/)[{'^' if is_negated else ''}{''.join(parts)}]", at


def _at(text: str, at: int) -> str:
    if at >= len(text):
        raise _NoMatch
    return text[at]


def _segment(tokens: list[str], end: str) -> str:
    """The expression of one segment, `end` being what may follow it."""
    pieces: list[list[str]] = [[]]
    for token in tokens:
        if token in (_STAR, _ALL_FOLDERS):
            if pieces[-1] or len(pieces) == 1:
                pieces.append([])
        else:
            pieces[-1].append(token)
    first, *others = map("".join, pieces)
    if not others:
        return first
    *middle, last = others
    found = first + "".join(f"(?>[^/]*?{piece})" for piece in middle)
    # Its length is fixed, so that it fits at the segment's end alone.
    return found + (f"(?>[^/]*{last}(?={end or _END}))" if last else "[^/]*+")


def _path(tokens: list[str]) -> str:
    """The expression of a whole path: runs of segments, with any number of folders in between."""
    runs: list[list[str]] = [[]]
    segment: list[str] = []
    for token in [*tokens, _SLASH]:
        if token != _SLASH:
            segment.append(token)
        elif not segment:
            raise _NoMatch  # two slashes in a row stand in no path
        elif segment == [_ALL_FOLDERS]:
            if runs[-1] or len(runs) == 1:
                runs.append([])
            segment = []
        else:
            runs[-1].append(_segment(segment, f"/|{_END}"))
            segment = []
    first, *others = map("/".join, runs)
    if not others:
        return first
    *middle, last = others
    found = f"{first}/" if first else ""
    found += "".join(f"(?>(?:[^/]++/)*?{run}/)" for run in middle)
    return found + (f"(?:[^/]++/)*?{last}{_END}" if last else ".+")
