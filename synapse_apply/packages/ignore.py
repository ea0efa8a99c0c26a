"""What is left out of a package, and the rule that left it out.

The rules are Git's: the last pattern of a file that matches decides, `!` takes back, a slash
anchors, and nothing below a folder that is left out comes back. Of the files, `.synapseignore`
goes before `.gitignore`, and the one in the nearest folder before those above it; the built-in
patterns come last, so that a line such as `!dist/` brings back what they leave out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from synapse_apply.model.frozen import frozen
from synapse_apply.packages.content import UnreadableError
from synapse_apply.packages.names import canonical, printable
from synapse_apply.packages.wildmatch import Pattern, read_pattern

IGNORE_FILES = (".synapseignore", ".gitignore")

# No pattern brings these back: they hold credentials, and our state with its key.
NEVER = (".git", ".synapse-apply")

# The platform's own publishing leaves these out (synapse-api.md, section d), and ours.
BUILT_IN = """
__pycache__ *.pyc *.pyo *.pyd .python-version *.egg-info *.egg .venv venv .env env
.gitignore .gitattributes .gitmodules .synapseignore .svn .hg .idea .vscode *.swp *.swo
.DS_Store Thumbs.db dist build node_modules .mypy_cache .pytest_cache .ruff_cache .cache
.tox .coverage htmlcov *.log
""".split()  # noqa: SIM905 - one a line would hide the comparison


# What a checkout may ask for: more is no honest project's, and would take minutes.
_MOST_WILD = 128 * 1024  # characters of patterns that are more than a name
_MOST_COMPARED = 50_000_000  # pairs of a pattern and a path


class TooManyPatternsError(UnreadableError):
    """The ignore files of one package ask for more than is done for them."""


@dataclass(slots=True)
class _Spent:
    """What reading and asking the rules of one package has taken."""

    wild: int = 0
    compared: int = 0

    def count(self, *, wild: int = 0, compared: int = 0) -> None:
        self.wild += wild
        self.compared += compared
        if self.wild > _MOST_WILD:
            raise _too_many(
                f"The patterns of its ignore files have more than {_MOST_WILD} characters."
            )
        if self.compared > _MOST_COMPARED:
            raise _too_many(
                f"Its patterns and files would be compared more than {_MOST_COMPARED} times."
            )


def _too_many(why: str) -> TooManyPatternsError:
    hint = "Leave out folders as a whole, with fewer patterns."
    return TooManyPatternsError("Too many ignore patterns in the package", why, hint)


@frozen
class _Patterns:
    """One ignore file; `base` is its folder with a slash at the end, or empty.

    `patterns` holds (index of its line, pattern).
    """

    name: str
    base: str
    lines: tuple[str, ...]
    patterns: tuple[tuple[int, Pattern], ...]

    def decide(self, path: str) -> tuple[bool, str] | None:
        """(left out?, rule) or None when no pattern matches; a folder's path ends in a slash."""
        if not path.startswith(self.base):
            return None
        folder = path.endswith("/")
        name = path[len(self.base) :].removesuffix("/")
        for index, pattern in reversed(self.patterns):
            if pattern.matches(name, folder=folder):
                line = self.lines[index].strip()
                where = f"{self.base}{self.name}:{index + 1}" if self.name else "built in"
                return pattern.excludes, f"{where}: {line}"
        return None


def _patterns(name: str, base: str, text: str, spent: _Spent | None = None) -> _Patterns:
    lines = tuple(canonical(text).split("\n"))
    patterns: list[tuple[int, Pattern]] = []
    for index, line in enumerate(lines):
        if pattern := read_pattern(line):
            patterns.append((index, pattern))
            if spent is not None and pattern.expression is not None:
                spent.count(wild=len(line))
    return _Patterns(name, base, lines, tuple(patterns))


@cache
def _always() -> _Patterns:
    return _patterns("", "", "\n".join(BUILT_IN))


@frozen
class Rules:
    """The rules that hold in one folder, the strongest first."""

    files: tuple[_Patterns, ...] = ()
    spent: _Spent = field(default_factory=_Spent, compare=False, repr=False)

    def entering(self, folder: str, read: Callable[[str], str | None]) -> Rules:
        """The rules inside a folder; `read` gives the text of an ignore file there, or None.

        UnreadableError for a pattern that is too long, TooManyPatternsError for too many.
        """
        base = f"{folder}/" if folder else ""
        made = list(self.files)
        for name in reversed(IGNORE_FILES):
            text = read(base + name)
            if text is None:
                continue
            try:
                new = _patterns(name, base, text, self.spent)
            except ValueError as problem:
                raise UnreadableError(
                    "Ignore file cannot be read", f"{printable(base + name)}: {problem}."
                ) from None
            rank = [IGNORE_FILES.index(other.name) for other in made]
            made.insert(sum(other < IGNORE_FILES.index(name) for other in rank), new)
        return Rules(tuple(made), self.spent)

    def why(self, path: str, *, folder: bool = False) -> str | None:
        """The rule that leaves a path out, None when it stays. Parents are the caller's part."""
        if path.rpartition("/")[2] in NEVER:
            return "never part of a package"
        name = path + "/" if folder else path
        self.spent.count(compared=sum(len(one.patterns) for one in self.files))
        for patterns in (*self.files, _always()):
            decision = patterns.decide(name)
            if decision is not None:
                return decision[1] if decision[0] else None
        return None
