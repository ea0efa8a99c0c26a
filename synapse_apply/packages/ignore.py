"""Which paths are left out of a package, and by which rule.

The rules are Git's: the last matching pattern of a file decides, `!` includes again, a slash
anchors, and nothing below a left-out folder can be included again. `.synapseignore` takes
precedence over `.gitignore`, and a file in a nearer folder over those above it. The built-in
patterns come last, so that a line such as `!dist/` includes what they leave out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import field
from fnmatch import translate
from functools import cache, lru_cache

from synapse_apply.files.tree import UnreadableError, escape_misleading_path
from synapse_apply.model.frozen import frozen, mutable
from synapse_apply.model.secrets.secret_rules import is_in_forbidden_folder
from synapse_apply.packages.entry_names import to_nfc
from synapse_apply.packages.wildmatch import (
    IgnorePattern,
    parse_pattern_or_none_if_blank_or_comment,
)

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
        hint = "Leave out folders as a whole, with fewer patterns."
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
                f"Its patterns and files would be compared more than {_MAX_COMPARISONS} times."
            )


@frozen
class _IgnoreFile:
    """A parsed ignore file; `base` is its folder with a slash at the end, "" at the root.

    `patterns` has (index of the line, pattern). The built-in patterns have no `name`.
    """

    name: str
    base: str
    lines: tuple[str, ...]
    patterns: tuple[tuple[int, IgnorePattern], ...]

    def decide(self, path: str) -> tuple[bool, str] | None:
        """Whether the last matching pattern leaves a path out, and the rule `FILE:LINE: PATTERN`.

        None without one; a folder ends in a slash.
        """
        if not path.startswith(self.base):
            return None
        is_folder = path.endswith("/")
        name = path[len(self.base) :].removesuffix("/")
        for index, pattern in reversed(self.patterns):
            if pattern.matches_path_itself(name, is_folder=is_folder):
                line = self.lines[index].strip()
                rule_source = f"{self.base}{self.name}:{index + 1}" if self.name else "built in"
                return pattern.excludes, f"{rule_source}: {line}"
        return None


def _parse(name: str, base: str, text: str, cost: _RuleCost | None = None) -> _IgnoreFile:
    """Parse the text of an ignore file; ValueError for a pattern that is too long."""
    # Paths are matched in NFC, and so must be the patterns.
    lines = tuple(to_nfc(text).split("\n"))
    patterns: list[tuple[int, IgnorePattern]] = []
    for index, line in enumerate(lines):
        if pattern := parse_pattern_or_none_if_blank_or_comment(line):
            patterns.append((index, pattern))
            if cost is not None and pattern.expression is not None:
                cost.add(wildcard_chars=len(line))
    return _IgnoreFile(name, base, lines, tuple(patterns))


@cache
def _built_in() -> _IgnoreFile:
    return _parse("", "", "\n".join(BUILT_IN_PATTERNS))


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
                ignore_file = _parse(name, base, text, self.cost)
            except ValueError as problem:
                raise UnreadableError(
                    "Ignore file cannot be read",
                    f"{escape_misleading_path(base + name)}: {problem}.",
                ) from None
            # After all files of higher precedence, before those of the same name in folders above.
            ranks = [IGNORE_FILES.index(other.name) for other in ignore_files]
            ignore_files.insert(
                sum(other < IGNORE_FILES.index(name) for other in ranks), ignore_file
            )
        return IgnoreRules(tuple(ignore_files), self.cost)

    def excluding_rule(self, path: str, *, is_folder: bool = False) -> str | None:
        """The rule that leaves a path out, None if it stays.

        The folders above it are not checked: the caller does not descend into one that is left out.
        """
        if is_in_forbidden_folder(path):
            return "never part of a package"
        name = path + "/" if is_folder else path
        # Counted before the matching, which is what takes the time.
        self.cost.add(comparisons=sum(len(file.patterns) for file in self.files))
        for ignore_file in (*self.files, _built_in()):
            if decision := ignore_file.decide(name):
                excludes, rule = decision
                return rule if excludes else None
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
