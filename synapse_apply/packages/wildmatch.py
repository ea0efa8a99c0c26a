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

MAX_PATTERN_LENGTH = 4096  # characters of one pattern: no path is longer
_WILDCARD = re.compile(r"[*?\[\\]")

_NEVER_EXPRESSION = "(?!)"
_END = r"\Z"
_STAR, _SLASH, _ALL_FOLDERS = "*", "/", "**"
_CHARACTER_CLASSES = {
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


class _NeverMatches(Exception):
    """The pattern is one that Git never finds a match for."""


@frozen
class IgnorePattern:
    """One line of an ignore file. `excludes`: what matches is left out; else it is taken back.

    `expression` is None for a `text` that matches only itself.
    """

    excludes: bool
    matches_folders_only: bool
    matches_name_only: bool
    text: str
    expression: re.Pattern[str] | None

    def matches(self, path: str, *, is_folder: bool) -> bool:
        """Whether it matches this very path; a folder above it is asked about by itself."""
        if self.matches_folders_only and not is_folder:
            return False
        candidate = path.rpartition("/")[2] if self.matches_name_only else path
        if self.expression is None:
            return candidate == self.text
        return self.expression.fullmatch(candidate) is not None


def parse_pattern(line: str) -> IgnorePattern | None:
    """The pattern of a line, None where it has none. ValueError for one that is too long."""
    if line.startswith("#"):
        return None
    text = _strip_trailing_spaces(line.removesuffix("\r"))
    excludes = not text.startswith("!")
    text = text.removeprefix("!")
    matches_folders_only = text.endswith("/")
    text = text.removesuffix("/")
    if not text:
        return None
    if len(text) > MAX_PATTERN_LENGTH:
        raise ValueError(f"a pattern has more than {MAX_PATTERN_LENGTH} characters")
    matches_name_only = "/" not in text
    text = text.removeprefix("/")
    expression = (
        re.compile(_build_pattern_expression(text, matches_name_only), re.DOTALL)
        if _WILDCARD.search(text)
        else None
    )
    return IgnorePattern(excludes, matches_folders_only, matches_name_only, text, expression)


def _build_pattern_expression(text: str, matches_name_only: bool) -> str:
    try:
        tokens = list(_iter_tokens(text))
        return (
            _build_segment_expression(tokens, "")
            if matches_name_only
            else _build_path_expression(tokens)
        )
    except _NeverMatches:
        return _NEVER_EXPRESSION


def _strip_trailing_spaces(line: str) -> str:
    """Spaces at the end do not count, unless a backslash stands before them."""
    end = position = 0
    while position < len(line):
        position += 2 if line[position] == "\\" else 1
        if line[position - 1 : position] != " " or line[position - 2 : position - 1] == "\\":
            end = position
    return line[:end]


def _iter_tokens(text: str) -> Iterator[str]:
    """Expressions of one character each; `*` for a run of stars, `/`, and `**` for all folders."""
    position = 0
    while position < len(text):
        char = text[position]
        if char == "\\":
            position += 1
            if position == len(text):
                raise _NeverMatches
            yield _SLASH if text[position] == "/" else re.escape(text[position])
        elif char == "*":
            first = position
            while text[position + 1 : position + 2] == "*":
                position += 1
            after = text[position + 1 : position + 3]
            is_alone = text[first - 1 : first] in ("", "/") if first else True
            if position > first and is_alone and (after[:1] in ("", "/") or after == "\\/"):
                if after == "\\/":  # Git skips no folder here
                    yield from (_STAR, _SLASH)
                yield _ALL_FOLDERS
            else:
                yield _STAR
        elif char == "?":
            yield "[^/]"
        elif char == "[":
            expression, position = _parse_bracket(text, position + 1)
            yield expression
        else:
            yield _SLASH if char == "/" else re.escape(char)
        position += 1


def _parse_bracket(text: str, position: int) -> tuple[str, int]:
    """The expression of a set, which begins after its bracket, and where its last one stands."""
    is_negated = text[position : position + 1] in ("!", "^") and position < len(text)
    position += is_negated
    parts: list[str] = []
    previous_char, is_first = "", True
    while is_first or text[position : position + 1] != "]":
        is_first = False
        char = _get_char_or_never_matches(text, position)
        if char == "\\":
            position += 1
            previous_char = _get_char_or_never_matches(text, position)
            parts.append(re.escape(previous_char))
        elif char == "-" and previous_char and text[position + 1 : position + 2] not in ("", "]"):
            position += 1
            if text[position] == "\\":
                position += 1
            last_char = _get_char_or_never_matches(text, position)
            if previous_char <= last_char:
                parts.append(f"{re.escape(previous_char)}-{re.escape(last_char)}")
            previous_char = ""
        elif char == "[" and text[position + 1 : position + 2] == ":":
            end = text.find("]", position + 2)
            if end < 0:
                raise _NeverMatches
            if end > position + 2 and text[end - 1] == ":":
                name = text[position + 2 : end - 1]
                if name not in _CHARACTER_CLASSES:
                    raise _NeverMatches
                parts.append(re.escape(_CHARACTER_CLASSES[name]))
                position, previous_char = end, ""
            else:
                parts.append(re.escape(char))
                previous_char = char
        else:
            parts.append(re.escape(char))
            previous_char = char
        position += 1
        if position >= len(text):
            raise _NeverMatches
    if not parts:
        return ("[^/]" if is_negated else _NEVER_EXPRESSION), position
    return f"(?!/)[{'^' if is_negated else ''}{''.join(parts)}]", position


def _get_char_or_never_matches(text: str, position: int) -> str:
    if position >= len(text):
        raise _NeverMatches
    return text[position]


def _build_segment_expression(tokens: list[str], end: str) -> str:
    """The expression of one segment, `end` being what may follow it."""
    pieces: list[list[str]] = [[]]
    for token in tokens:
        if token in (_STAR, _ALL_FOLDERS):
            if pieces[-1] or len(pieces) == 1:
                pieces.append([])
        else:
            pieces[-1].append(token)
    first, *next_pieces = map("".join, pieces)
    if not next_pieces:
        return first
    *middle, last = next_pieces
    expression = first + "".join(f"(?>[^/]*?{piece})" for piece in middle)
    # Its length is fixed, so that it fits at the segment's end alone.
    return expression + (f"(?>[^/]*{last}(?={end or _END}))" if last else "[^/]*+")


def _build_path_expression(tokens: list[str]) -> str:
    """The expression of a whole path: runs of segments, with any number of folders in between."""
    runs: list[list[str]] = [[]]
    segment: list[str] = []
    for token in [*tokens, _SLASH]:
        if token != _SLASH:
            segment.append(token)
        elif not segment:
            raise _NeverMatches  # two slashes in a row stand in no path
        elif segment == [_ALL_FOLDERS]:
            if runs[-1] or len(runs) == 1:
                runs.append([])
            segment = []
        else:
            runs[-1].append(_build_segment_expression(segment, f"/|{_END}"))
            segment = []
    first, *next_runs = map("/".join, runs)
    if not next_runs:
        return first
    *middle, last = next_runs
    expression = f"{first}/" if first else ""
    expression += "".join(f"(?>(?:[^/]++/)*?{run}/)" for run in middle)
    return expression + (f"(?:[^/]++/)*?{last}{_END}" if last else ".+")
