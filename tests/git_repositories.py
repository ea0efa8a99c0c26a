"""Git repositories of tests: made without a process, and used by somebody who has no settings."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

# `maintenance.auto`: no process more that looks whether to clean up.
_SETTINGS = {"maintenance.auto": "false", "receive.autogc": "false", "safe.directory": "*"}
ENVIRON = {
    "PATH": os.environ["PATH"],
    "HOME": "/dev/null/nobody",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_COUNT": str(len(_SETTINGS)),
    **{f"GIT_CONFIG_KEY_{number}": key for number, key in enumerate(_SETTINGS)},
    **{f"GIT_CONFIG_VALUE_{number}": value for number, value in enumerate(_SETTINGS.values())},
    **{f"GIT_{role}_{part}": "x" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")},
}


def git(folder: Path, *words: str, input: bytes = b"") -> str:  # noqa: A002 - as subprocess has it
    """What a Git command prints, without blanks around it; CalledProcessError if it fails."""
    command = ("git", "-C", str(folder), *words)
    done = subprocess.run(command, env=ENVIRON, input=input, capture_output=True, check=True)
    return os.fsdecode(done.stdout).strip()


def make_repository(folder: Path, settings: str = "") -> None:
    """What `git init -b main` makes in a folder, without samples of hooks.

    `settings` are further sections of its configuration.
    """
    _write_git_folder(folder / ".git", f"[core]\n\tbare = false\n{settings}")


def make_bare_repository(folder: Path) -> Path:
    """A bare repository without commits, which is the folder itself."""
    # Git reads none of ENVIRON where another one pushes to a path.
    _write_git_folder(folder, "[core]\n\tbare = true\n[receive]\n\tautogc = false\n")
    return folder


def _write_git_folder(git_dir: Path, settings: str) -> None:
    for name in ("objects", "refs/heads", "refs/tags", "info"):
        (git_dir / name).mkdir(parents=True)
    (git_dir / "HEAD").write_text("ref: refs/heads/main\n")
    (git_dir / "config").write_text(settings)


def commit(folder: Path, message: str = "work", *, with_ignored: bool = True) -> str:
    """Commit all of a folder in its own repository, which is made if it is missing.

    Gives the commit's id.
    """
    if not (folder / ".git").exists():
        make_repository(folder)
    git(folder, "add", "-A", *(["-f"] if with_ignored else []))
    git(folder, "commit", "-q", "--allow-empty", "-m", message)
    return read_head(folder)


def read_head(folder: Path) -> str:
    """The id of the commit that is checked out."""
    try:
        head = (folder / ".git" / "HEAD").read_text().strip()
        branch = head.removeprefix("ref: ")
        return head if branch == head else (folder / ".git" / branch).read_text().strip()
    except OSError:  # in a linked work tree, or a branch among packed refs
        return git(folder, "rev-parse", "HEAD")


def start_branch(folder: Path, name: str) -> None:
    """Do what `git checkout -b` does: a new branch with what is checked out."""
    branch = folder / ".git" / "refs" / "heads" / name
    branch.parent.mkdir(parents=True, exist_ok=True)
    branch.write_text(f"{read_head(folder)}\n")
    (folder / ".git" / "HEAD").write_text(f"ref: refs/heads/{name}\n")
