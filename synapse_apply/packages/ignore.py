"""Which file names a package may have, and which paths are left out of it by which rule.

A name is an error if it is dangerous on any system or misleads a reader: in a review, a name with
invisible characters, or ones that reorder a line, looks like another one. A name that only Windows
does not allow is a warning, since few agents run on Windows.
"""

from __future__ import annotations

import re
import string
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import field
from fnmatch import translate
from functools import cache, lru_cache

from synapse_apply.files.tree import INVISIBLE, UnreadableError, escape_misleading_path
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.frozen import frozen, mutable
from synapse_apply.model.secrets.secret_rules import is_in_forbidden_folder

_DRIVE = re.compile(r"[A-Za-z]:")
_MAX_BYTES, _MAX_PART_BYTES = 4096, 255
# Cf contains bidi controls, zero-width characters, byte order marks and tags; Zl and Zp are line
# and paragraph separators.
_INVISIBLE_CATEGORIES = frozenset(("Cf", "Zl", "Zp"))
# A selector of a form behind ASCII, which has but one.
_CHANGED_NOTHING = re.compile(
    "[\x00-\x7f]([\u180b-\u180d\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef])"
)
_NOT_ON_WINDOWS = frozenset('<>:"|?*')
# Windows takes superscript digits for those of a device as well.
_NUMBERED_DEVICES = (
    f"{name}{number}" for name in ("COM", "LPT") for number in "0123456789\u00b9\u00b2\u00b3"
)
_DEVICES = frozenset(("CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", *_NUMBERED_DEVICES))


def to_nfc(path: str) -> str:
    """The path in NFC, since systems store accents and Hangul in different forms."""
    return unicodedata.normalize("NFC", path)


def unsafe_name_errors(path: str) -> Iterator[Diagnostic]:
    """An error for each reason why a path is dangerous to unpack, or misleading."""
    for fault in _unsafe_name_phrases(path):
        yield error_finding(
            "Unsafe name in the package",
            f"{escape_misleading_path(path)} {fault}.",
            "Rename the file, or exclude it with a line in .synapseignore.",
        )


# By these names in one folder Git's data is recognised.
GIT_DATA = ("HEAD", "objects", "refs", "packed-refs")


def git_data_errors(names: Iterable[str], folder: str = "") -> Iterator[Diagnostic]:
    """An error where these names in a folder are those of Git's data, whatever it is called."""
    found = set(names)
    # Where all refs are packed, `refs` is empty: Git and many zips leave it out.
    if {"HEAD", "objects"} <= found and found & {"refs", "packed-refs"}:
        yield error_finding(
            "Git's data in the package",
            f"{escape_misleading_path(folder or '.')} belongs to Git and may contain credentials.",
            "Exclude it with a line in .synapseignore.",
        )


def windows_name_fault(path: str) -> str:
    """Why Windows does not allow this path, as a phrase; "" if it does."""
    for part in path.split("/"):
        if part.partition(".")[0].rstrip(" ").upper() in _DEVICES:
            return "is the name of a device"
        if part.endswith((".", " ")):
            return "ends in a dot or a space"
        if characters := "".join(sorted(_NOT_ON_WINDOWS.intersection(part))):
            return f"has {' '.join(characters)}"
    return ""


def _unsafe_name_phrases(path: str) -> Iterator[str]:
    parts = path.split("/")
    # Bytes that are not UTF-8 appear as lone surrogates (PEP 383); such a name cannot be encoded
    # for the checks below.
    if any("\ud800" <= char <= "\udfff" for char in path):
        yield "is not UTF-8"
        return
    if any(unicodedata.category(char) == "Cc" for char in path):
        yield "has control characters"
    if invisible := sorted(
        char
        for char in {*path}
        if unicodedata.category(char) in _INVISIBLE_CATEGORIES
        or char in INVISIBLE
        or any(char in pair for pair in _CHANGED_NOTHING.findall(path))
    ):
        code_points = ", ".join(f"U+{ord(char):04X}" for char in invisible)
        yield f"has characters that are invisible or reorder the text ({code_points})"
    if "\\" in path:
        yield "has a backslash, which some systems read as a slash"
    if path.startswith("/") or _DRIVE.match(path):
        yield "is absolute"
    elif any(part in ("", ".", "..") for part in parts):
        yield "has '.', '..' or an empty part"
    if is_in_forbidden_folder(path):
        yield "may have credentials and is never part of a package"
    if len(path.encode()) > _MAX_BYTES:
        yield f"is longer than {_MAX_BYTES} bytes"
    elif max(len(part.encode()) for part in parts) > _MAX_PART_BYTES:
        yield f"has a part that is longer than {_MAX_PART_BYTES} bytes"


def find_collisions(paths: Iterable[str]) -> list[Diagnostic]:
    """An error for each two paths that are the same file on some system.

    That is by case or Unicode form, or since one is a file where the other needs a folder.
    """
    findings: list[Diagnostic] = []
    files: dict[str, str] = {}
    for path in paths:
        folded_path = _fold(path)
        if folded_path in files:
            findings.append(_collision(files[folded_path], path))
        files.setdefault(folded_path, path)
    # A file where another path needs a folder of the same name.
    ordered = sorted(files)
    for folded_path, path in files.items():
        if below := find_first_below(ordered, f"{folded_path}/"):
            findings.append(_collision(path, files[below]))
    return findings


def find_first_below(ordered_paths: Sequence[str], start: str) -> str:
    """The first of sorted paths that begins with a text, "" for none."""
    at = bisect_left(ordered_paths, start)
    return next((path for path in ordered_paths[at : at + 1] if path.startswith(start)), "")


def _fold(path: str) -> str:
    """The path in the form in which case-insensitive systems compare it."""
    # Windows drops dots and spaces at the end of a part.
    trimmed_path = "/".join(part.rstrip(". ") or part for part in path.split("/"))
    # Case folding may undo the normal form, so that it is applied again (Unicode, D145).
    return to_nfc(to_nfc(trimmed_path).casefold())


def _collision(first: str, second: str) -> Diagnostic:
    relation = "the same name" if first == second else "one name on some systems"
    return error_finding(
        "Names collide in the package",
        f"{escape_misleading_path(first)} and {escape_misleading_path(second)} are {relation}.",
        "Rename one of them.",
    )


# How a pattern of an ignore file (gitignore(5), Git's wildmatch.c) becomes a regular expression.
#
# Patterns of a checkout are not trusted: matching must take linear time. A `*` matches up to the
# earliest position where the piece after it matches, and is not tried again (an atomic group). That
# loses no match: the piece has a fixed length, so that an earlier position leaves more text for the
# rest. The same holds for `**` and whole segments. Characters are matched where Git matches bytes.

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
    expression = None
    if _WILDCARD.search(text):
        source = _NEVER_EXPRESSION
        with suppress(_NeverMatches):
            tokens = list(_tokens(text))
            source = (
                _segment_expression(tokens, "") if matches_name_only else _path_expression(tokens)
            )
        expression = re.compile(source, re.DOTALL)
    return IgnorePattern(excludes, matches_folders_only, matches_name_only, text, expression)


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


# Which paths are left out of a package, and by which rule.
#
# The rules are Git's: the last matching pattern of a file decides, `!` includes again, a slash
# anchors, and nothing below a left-out folder can be included again. `.synapseignore` takes
# precedence over `.gitignore`, and a file in a nearer folder over those above it. The built-in
# patterns come last, so that a line such as `!dist/` includes what they leave out.

IGNORE_FILES = (".synapseignore", ".gitignore")

# The platform's own publisher leaves these out (synapse-api.md, section d).
BUILT_IN_PATTERNS = """
__pycache__ *.pyc *.pyo *.pyd .python-version *.egg-info *.egg .venv venv .env env
.gitignore .gitattributes .gitmodules .synapseignore .svn .hg .idea .vscode *.swp *.swo
.DS_Store Thumbs.db dist build node_modules .mypy_cache .pytest_cache .ruff_cache .cache
.tox .coverage htmlcov *.log
""".split()  # noqa: SIM905 - one a line would hide the comparison


# Limits for a checkout that is not trusted: no usual project exceeds them, and matching more would
# take minutes.
_MAX_WILDCARD_CHARS = 128 * 1024  # characters of patterns that are more than a name
_MAX_COMPARISONS = 50_000_000  # pairs of a pattern and a path
# Each pattern with a wildcard is tried on every part of every path.
_MAX_WILDCARD_PATTERNS = 200


class TooManyPatternsError(UnreadableError):
    """The ignore files of one package exceed the limits on matching."""

    def __init__(self, detail: str) -> None:
        hint = "Exclude whole folders, with fewer patterns."
        super().__init__("Too many ignore patterns in the package", detail, hint)


@mutable
class _RuleCost:
    """Counts the work that the rules of one package have caused."""

    wildcard_chars: int = 0
    comparisons: int = 0

    def add(self, *, wildcard_chars: int = 0, comparisons: int = 0) -> None:
        """Add to the counts; TooManyPatternsError above a limit."""
        self.wildcard_chars += wildcard_chars
        self.comparisons += comparisons
        if self.wildcard_chars > _MAX_WILDCARD_CHARS:
            raise TooManyPatternsError(
                f"The patterns of its ignore files have more than {_MAX_WILDCARD_CHARS} characters."
            )
        if self.comparisons > _MAX_COMPARISONS:
            raise TooManyPatternsError(
                f"Its patterns and files would need more than {_MAX_COMPARISONS} comparisons."
            )


@frozen
class _IgnoreFile:
    """A parsed ignore file; `base` is its folder with a slash at the end, "" at the root.

    `rules` are its patterns, the last one first, each with its words: `FILE:LINE: PATTERN`. The
    built-in patterns have no `name`.
    """

    name: str
    base: str
    rules: tuple[tuple[IgnorePattern, str], ...]

    @classmethod
    def parse(cls, name: str, base: str, text: str, cost: _RuleCost) -> _IgnoreFile:
        """Parse the text of an ignore file; ValueError for a pattern that is too long."""
        rules: list[tuple[IgnorePattern, str]] = []
        # Paths are matched in NFC, and so must be the patterns.
        for number, line in enumerate(to_nfc(text).split("\n"), 1):
            if pattern := parse_pattern_or_none_if_blank_or_comment(line):
                place = f"{base}{name}:{number}" if name else "built in"
                rules.append((pattern, f"{place}: {line.strip()}"))
                if pattern.expression is not None:
                    cost.add(wildcard_chars=len(line))
        return cls(name, base, tuple(reversed(rules)))

    def decide(self, path: str, *, is_folder: bool) -> tuple[IgnorePattern, str] | None:
        """The last pattern that matches a path, with its words; None without one."""
        if not path.startswith(self.base):
            return None
        name = path[len(self.base) :]
        matching = (
            rule for rule in self.rules if rule[0].matches_path_itself(name, is_folder=is_folder)
        )
        return next(matching, None)


@cache
def _built_in() -> _IgnoreFile:
    return _IgnoreFile.parse("", "", "\n".join(BUILT_IN_PATTERNS), _RuleCost())


@frozen
class IgnoreRules:
    """The rules that apply in one folder, in order of precedence.

    `cost` is shared by the rules of all folders of one package.
    """

    files: tuple[_IgnoreFile, ...] = ()
    cost: _RuleCost = field(default_factory=_RuleCost, compare=False, repr=False)

    def entering(self, folder: str, read: Callable[[str], str | None]) -> IgnoreRules:
        """The rules inside a folder: these and its own ignore files.

        `read` gives the text of the ignore file at a path, None without one. UnreadableError for a
        pattern that is too long, TooManyPatternsError for too many.
        """
        base = f"{folder}/" if folder else ""
        ignore_files = list(self.files)
        for name in reversed(IGNORE_FILES):
            text = read(base + name)
            if text is None:
                continue
            try:
                ignore_file = _IgnoreFile.parse(name, base, text, self.cost)
            except ValueError as problem:
                raise UnreadableError(
                    "Ignore file cannot be read",
                    f"{escape_misleading_path(base + name)}: {problem}.",
                ) from None
            # After all files of higher precedence, before those of the same name in folders above.
            rank = IGNORE_FILES.index(name)
            place = sum(IGNORE_FILES.index(other.name) < rank for other in ignore_files)
            ignore_files.insert(place, ignore_file)
        return IgnoreRules(tuple(ignore_files), self.cost)

    def excluding_rule(self, path: str, *, is_folder: bool = False) -> str | None:
        """The rule that leaves a path out, None if it stays.

        The folders above it are not checked: the caller does not descend into one that is left out.
        """
        if is_in_forbidden_folder(path):
            return "never part of a package"
        # Counted before the matching, which is what takes the time.
        self.cost.add(comparisons=sum(len(file.rules) for file in self.files))
        for ignore_file in (*self.files, _built_in()):
            if decision := ignore_file.decide(path, is_folder=is_folder):
                pattern, rule = decision
                return rule if pattern.excludes else None
        return None


class PublisherRules:
    """By which patterns the platform's own publisher leaves files out (synapse-api.md, section d).

    They are the lines of `.gitignore`, then of `.synapseignore` (`texts`), and built-in ones. Each
    is matched against the whole path and each part of it; there is neither `!` nor an anchor.
    """

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
