"""How the demo runs Git and this program: with variables of its own, and its folder as home."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from synapse_apply.files.programs import build_child_environment, require_executable, run_program
from synapse_apply.model.errors import InputError

_SECONDS = 120.0
_AUTHOR = {
    "GIT_AUTHOR_NAME": "Demo",
    "GIT_AUTHOR_EMAIL": "demo@example.com",
    "GIT_COMMITTER_NAME": "Demo",
    "GIT_COMMITTER_EMAIL": "demo@example.com",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
}


class DemoRepository:
    """The repository that the demo's controller follows, with a checkout that people can edit."""

    def __init__(self, folder: Path) -> None:
        """Make it; InputError where there is no Git."""
        self.folder = folder
        try:
            self._program = require_executable("git", ())
        except FileNotFoundError:
            raise InputError.from_summary(
                "The demo needs Git", "There is no git on PATH.", "Install Git."
            ) from None
        folder.mkdir()
        self._run_git("init", "--quiet", "--initial-branch=main")

    def write_and_commit_all(self, texts: Mapping[str, str], subject: str) -> None:
        """Write files and commit them, with all else that was changed there."""
        for path, text in texts.items():
            file = self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        self._run_git("add", "--all")
        self._run_git("commit", "--quiet", "--message", subject)

    def _run_git(self, *arguments: str) -> None:
        _run((self._program, "-C", str(self.folder), *arguments), _AUTHOR)


def run_synapse_apply(folder: Path, variables: Mapping[str, str], *arguments: str) -> None:
    """Run this program in a folder of the demo; InputError with what it says where it fails."""
    command = (sys.executable, "-I", "-m", "synapse_apply", *arguments, "-C", str(folder))
    _run(command, {**variables, "HOME": str(folder.parent)})


def _run(command: tuple[str, ...], variables: Mapping[str, str]) -> None:
    environment = build_child_environment((), variables)
    exit_code, output, error_text = run_program(command, environment, timeout=_SECONDS)
    if exit_code:
        text = f"{output.decode(errors='replace')}\n{error_text}".strip()
        raise InputError.from_summary("A step of the demo failed", text[-2000:])
