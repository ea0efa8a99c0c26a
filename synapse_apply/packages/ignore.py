"""Which paths are left out of a package, and by which rule.

The rules are Git's: the last matching pattern of a file decides, `!` includes again, a slash
anchors, and nothing below a left-out folder can be included again. `.synapseignore` takes
precedence over `.gitignore`, and a file in a nearer folder over those above it. The built-in
patterns come last, so that a line such as `!dist/` includes what they leave out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from functools import cache
from typing import NamedTuple

from synapse_apply.model.frozen import frozen, mutable
from synapse_apply.packages.content import UnreadableError
from synapse_apply.packages.entry_names import escape_misleading_path, normalize_path_to_nfc
from synapse_apply.packages.wildmatch import (
    IgnorePattern,
    parse_pattern_or_none_if_blank_or_comment,
)

IGNORE_FILES = (".synapseignore", ".gitignore")

# No pattern includes these: they contain credentials, and our state with its key.
NEVER_PACKAGED = (".git", ".synapse-apply")

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


class TooManyPatternsError(UnreadableError):
    """The ignore files of one package exceed the limits on matching."""


@mutable
class _RuleCost:
    """Counts the work that the rules of one package have caused."""

    wildcard_chars: int = 0
    comparisons: int = 0

    def add_or_raise_above_limits(self, *, wildcard_chars: int = 0, comparisons: int = 0) -> None:
        """Add to the counts; TooManyPatternsError above a limit."""
        self.wildcard_chars += wildcard_chars
        self.comparisons += comparisons
        if self.wildcard_chars > _MAX_WILDCARD_CHARS:
            raise _build_too_many_patterns_error(
                f"The patterns of its ignore files have more than {_MAX_WILDCARD_CHARS} characters."
            )
        if self.comparisons > _MAX_COMPARISONS:
            raise _build_too_many_patterns_error(
                f"Its patterns and files would be compared more than {_MAX_COMPARISONS} times."
            )


def _build_too_many_patterns_error(detail: str) -> TooManyPatternsError:
    hint = "Leave out folders as a whole, with fewer patterns."
    return TooManyPatternsError("Too many ignore patterns in the package", detail, hint)


class IgnoreDecision(NamedTuple):
    """Whether a path is left out, and the rule that decided: `FILE:LINE: PATTERN`."""

    excludes: bool
    rule: str


@frozen
class _IgnoreFile:
    """A parsed ignore file; `base` is its folder with a slash at the end, "" at the root.

    `patterns` has (index of the line, pattern). The built-in patterns have no `name`.
    """

    name: str
    base: str
    lines: tuple[str, ...]
    patterns: tuple[tuple[int, IgnorePattern], ...]

    def find_last_matching_decision(self, path: str) -> IgnoreDecision | None:
        """The decision of the last matching pattern, None without one; a folder ends in a slash."""
        if not path.startswith(self.base):
            return None
        is_folder = path.endswith("/")
        name = path[len(self.base) :].removesuffix("/")
        for index, pattern in reversed(self.patterns):
            if pattern.matches_path_itself(name, is_folder=is_folder):
                line = self.lines[index].strip()
                rule_source = f"{self.base}{self.name}:{index + 1}" if self.name else "built in"
                return IgnoreDecision(pattern.excludes, f"{rule_source}: {line}")
        return None


def _parse_ignore_file(
    name: str, base: str, text: str, cost: _RuleCost | None = None
) -> _IgnoreFile:
    """Parse the text of an ignore file; ValueError for a pattern that is too long."""
    # Paths are matched in NFC, and so must be the patterns.
    lines = tuple(normalize_path_to_nfc(text).split("\n"))
    patterns: list[tuple[int, IgnorePattern]] = []
    for index, line in enumerate(lines):
        if pattern := parse_pattern_or_none_if_blank_or_comment(line):
            patterns.append((index, pattern))
            if cost is not None and pattern.expression is not None:
                cost.add_or_raise_above_limits(wildcard_chars=len(line))
    return _IgnoreFile(name, base, lines, tuple(patterns))


@cache
def _parse_built_in_patterns() -> _IgnoreFile:
    return _parse_ignore_file("", "", "\n".join(BUILT_IN_PATTERNS))


@frozen
class IgnoreRules:
    """The rules that apply in one folder, in order of precedence.

    `cost` is shared by the rules of all folders of one package.
    """

    files: tuple[_IgnoreFile, ...] = ()
    cost: _RuleCost = field(default_factory=_RuleCost, compare=False, repr=False)

    def with_ignore_files_of_folder(
        self, folder: str, read: Callable[[str], str | None]
    ) -> IgnoreRules:
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
                ignore_file = _parse_ignore_file(name, base, text, self.cost)
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

    def find_rule_excluding_path_itself(self, path: str, *, is_folder: bool = False) -> str | None:
        """The rule that leaves a path out, None if it stays.

        The folders above it are not checked: the caller does not descend into one that is left out.
        """
        if path.rpartition("/")[2] in NEVER_PACKAGED:
            return "never part of a package"
        name = path + "/" if is_folder else path
        # Counted before the matching, which is what takes the time.
        self.cost.add_or_raise_above_limits(
            comparisons=sum(len(file.patterns) for file in self.files)
        )
        for ignore_file in (*self.files, _parse_built_in_patterns()):
            decision = ignore_file.find_last_matching_decision(name)
            if decision is not None:
                return decision.rule if decision.excludes else None
        return None
