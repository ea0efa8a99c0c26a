"""What is left out of a package, and the rule that left it out.

The rules are Git's: the last pattern of a file that matches decides, `!` takes back, a slash
anchors, and nothing below a folder that is left out comes back. Of the files, `.synapseignore`
goes before `.gitignore`, and the one in the nearest folder before those above it; the built-in
patterns come last, so that a line such as `!dist/` brings back what they leave out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from synapse_apply.model.frozen import frozen
from synapse_apply.packages.names import canonical

if TYPE_CHECKING:
    from pathspec import Pattern

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


# The group of pathspec's expressions for the slash behind which everything matches as well.
_BELOW = "ps_d"


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
        name = path[len(self.base) :]
        for index, pattern in reversed(self.patterns):
            line = self.lines[index].strip()
            if not _matches(pattern, line, name):
                continue
            where = f"{self.base}{self.name}:{index + 1}" if self.name else "built in"
            return bool(pattern.include), f"{where}: {line}"
        return None


def _matches(pattern: Pattern, line: str, name: str) -> bool:
    """Whether a pattern matches this very path, not merely a folder above it.

    The walk goes from folder to folder and has asked about those above. Only a pattern for
    folders may see a folder's last slash: `a/**` is what is below `a`, not `a`.
    """
    asked = name if line.endswith("/") else name.removesuffix("/")
    result = pattern.match_file(asked)
    if result is None:
        return False
    found: re.Match[str] = result.match
    if _BELOW not in found.re.groupindex or found.start(_BELOW) < 0:
        return True
    last = len(asked) - 1
    return found.start(_BELOW) == last or found.re.search(asked, last) is not None


def _patterns(name: str, base: str, text: str) -> _Patterns:
    from pathspec import GitIgnoreSpec  # noqa: PLC0415 - only who reads a folder pays

    lines = tuple(canonical(text).splitlines())
    spec = GitIgnoreSpec.from_lines(lines)
    kept = tuple((i, one) for i, one in enumerate(spec.patterns) if one.include is not None)
    return _Patterns(name, base, lines, kept)


@cache
def _always() -> _Patterns:
    return _patterns("", "", "\n".join(BUILT_IN))


@frozen
class Rules:
    """The rules that hold in one folder, the strongest first."""

    files: tuple[_Patterns, ...] = ()

    def entering(self, folder: str, read: Callable[[str], str | None]) -> Rules:
        """The rules inside a folder; `read` gives the text of an ignore file there, or None.

        ValueError names a file with a pattern that cannot be read.
        """
        base = f"{folder}/" if folder else ""
        made = list(self.files)
        for name in reversed(IGNORE_FILES):
            text = read(base + name)
            if text is None:
                continue
            try:
                new = _patterns(name, base, text)
            except ValueError:
                raise ValueError(base + name) from None
            rank = [IGNORE_FILES.index(other.name) for other in made]
            made.insert(sum(other < IGNORE_FILES.index(name) for other in rank), new)
        return Rules(tuple(made))

    def why(self, path: str, *, folder: bool = False) -> str | None:
        """The rule that leaves a path out, None when it stays. Parents are the caller's part."""
        if path.rpartition("/")[2] in NEVER:
            return "never part of a package"
        name = path + "/" if folder else path
        for patterns in (*self.files, _always()):
            decision = patterns.decide(name)
            if decision is not None:
                return decision[1] if decision[0] else None
        return None
