"""How a pattern of an ignore file (gitignore(5), Git's wildmatch.c) becomes a regular expression.

Patterns of a checkout are not trusted: matching must take linear time. A `*` matches up to the
earliest position where the piece after it matches, and is not tried again (an atomic group). That
loses no match: the piece has a fixed length, so that an earlier position leaves more text for the
rest. The same holds for `**` and whole segments. Characters are matched where Git matches bytes.
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
    """Git finds no match for the pattern, for example one with an unclosed bracket."""


@frozen
class IgnorePattern:
    """The pattern of one line. `excludes`: a match is left out; else (`!`) it is included again.

    `matches_name_only`: compared with the last part of a path. `expression` is None for a `text`
    without wildcards, which is compared as it is.
    """

    excludes: bool
    matches_folders_only: bool
    matches_name_only: bool
    text: str
    expression: re.Pattern[str] | None

    def matches_path_itself(self, path: str, *, is_folder: bool) -> bool:
        """Whether the pattern matches this path itself; folders above it are not considered."""
        if self.matches_folders_only and not is_folder:
            return False
        candidate = path.rpartition("/")[2] if self.matches_name_only else path
        if self.expression is None:
            return candidate == self.text
        return self.expression.fullmatch(candidate) is not None


def parse_pattern_or_none_if_blank_or_comment(line: str) -> IgnorePattern | None:
    """The pattern in a line, None for a blank line or comment; ValueError if it is too long."""
    if line.startswith("#"):
        return None
    text = _strip_spaces(line.removesuffix("\r"))
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
        re.compile(_expression(text, matches_name_only), re.DOTALL)
        if _WILDCARD.search(text)
        else None
    )
    return IgnorePattern(excludes, matches_folders_only, matches_name_only, text, expression)


def _expression(text: str, matches_name_only: bool) -> str:
    try:
        tokens = list(_tokens(text))
        return _segment_expression(tokens, "") if matches_name_only else _path_expression(tokens)
    except _NeverMatches:
        return _NEVER_EXPRESSION


def _strip_spaces(line: str) -> str:
    """The line without the spaces at its end, except one that a backslash precedes."""
    end = position = 0
    while position < len(line):
        position += 2 if line[position] == "\\" else 1
        if line[position - 1 : position] != " " or line[position - 2 : position - 1] == "\\":
            end = position
    return line[:end]


def _tokens(text: str) -> Iterator[str]:
    """The tokens of a pattern: `*` for a run of stars, `**` for any folders, `/`, else expressions.

    Each expression matches one character. _NeverMatches for an invalid pattern.
    """
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
            # Only a `**` that is a complete segment stands for folders; elsewhere it is one star.
            if position > first and is_alone and (after[:1] in ("", "/") or after == "\\/"):
                if after == "\\/":  # Git skips no folder here
                    yield from (_STAR, _SLASH)
                yield _ALL_FOLDERS
            else:
                yield _STAR
        elif char == "?":
            yield "[^/]"
        elif char == "[":
            expression, position = _bracket(text, position + 1)
            yield expression
        else:
            yield _SLASH if char == "/" else re.escape(char)
        position += 1


def _bracket(text: str, position: int) -> tuple[str, int]:
    """The expression of a bracket set whose content begins at `position`, and where its `]` is."""
    is_negated = text[position : position + 1] in ("!", "^") and position < len(text)
    position += is_negated
    parts: list[str] = []
    previous_char, is_first = "", True
    # A `]` right after the opening bracket is a member of the set.
    while is_first or text[position : position + 1] != "]":
        is_first = False
        char = _char_at(text, position)
        if char == "\\":
            position += 1
            previous_char = _char_at(text, position)
            parts.append(re.escape(previous_char))
        elif char == "-" and previous_char and text[position + 1 : position + 2] not in ("", "]"):
            position += 1
            if text[position] == "\\":
                position += 1
            last_char = _char_at(text, position)
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
    # No set matches a slash, not even a negated one (WM_PATHNAME).
    return f"(?!/)[{'^' if is_negated else ''}{''.join(parts)}]", position


def _char_at(text: str, position: int) -> str:
    if position >= len(text):
        raise _NeverMatches
    return text[position]


def _segment_expression(tokens: list[str], lookahead_after_last_piece: str) -> str:
    """The expression of one segment; it does not match what follows, which the caller appends.

    `lookahead_after_last_piece` is what may follow a text behind the last star, "" for the end.
    """
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
    # The last piece has a fixed length, so that it can only match at the end of the segment.
    return expression + (
        f"(?>[^/]*{last}(?={lookahead_after_last_piece or _END}))" if last else "[^/]*+"
    )


def _path_expression(tokens: list[str]) -> str:
    """The expression of a path: runs of segments, with any number of folders between them."""
    runs: list[list[str]] = [[]]
    segment: list[str] = []
    for token in [*tokens, _SLASH]:
        if token != _SLASH:
            segment.append(token)
        elif not segment:
            raise _NeverMatches  # no path has two slashes in a row
        elif segment == [_ALL_FOLDERS]:
            if runs[-1] or len(runs) == 1:
                runs.append([])
            segment = []
        else:
            runs[-1].append(_segment_expression(segment, f"/|{_END}"))
            segment = []
    first, *next_runs = map("/".join, runs)
    if not next_runs:
        return first
    *middle, last = next_runs
    expression = f"{first}/" if first else ""
    expression += "".join(f"(?>(?:[^/]++/)*?{run}/)" for run in middle)
    return expression + (f"(?:[^/]++/)*?{last}{_END}" if last else ".+")
