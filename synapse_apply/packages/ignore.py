"""What is left out of a package, and the rule that left it out.

The rules are Git's: the last pattern of a file that matches decides, `!` takes back, a slash
anchors, and nothing below a folder that is left out comes back. Of the files, `.synapseignore`
goes before `.gitignore`, and the one in the nearest folder before those above it; the built-in
patterns come last, so that a line such as `!dist/` brings back what they leave out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pathspec import GitIgnoreSpec

from synapse_apply.packages.names import canonical

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


@dataclass(frozen=True, slots=True)
class _Patterns:
    """One ignore file; `base` is its folder with a slash at the end, or empty."""

    name: str
    base: str
    lines: tuple[str, ...]
    spec: GitIgnoreSpec

    def decide(self, path: str) -> tuple[bool, str] | None:
        """(left out?, rule) or None when no pattern matches; a folder's path ends in a slash."""
        if not path.startswith(self.base):
            return None
        result = self.spec.check_file(path[len(self.base) :])
        if result.include is None or result.index is None:
            return None
        line = self.lines[result.index].strip()
        if self.name:
            return result.include, f"{self.base}{self.name}:{result.index + 1}: {line}"
        return result.include, f"built in: {line}"


def _patterns(name: str, base: str, text: str) -> _Patterns:
    lines = tuple(canonical(text).splitlines())
    return _Patterns(name, base, lines, GitIgnoreSpec.from_lines(lines))


_ALWAYS = _patterns("", "", "\n".join(BUILT_IN))


@dataclass(frozen=True, slots=True)
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
        for patterns in (*self.files, _ALWAYS):
            decision = patterns.decide(name)
            if decision is not None:
                return decision[1] if decision[0] else None
        return None
