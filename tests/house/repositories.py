"""Small repositories with two commits, for the tests of the proofs."""

from __future__ import annotations

import subprocess
from pathlib import Path

from house.revisions import Revision, read_revision

Files = dict[str, str]


def commit_files(root: Path, files: Files) -> Revision:
    """A commit that has these files and no other."""
    if not (root / ".git").exists():
        run_git(root, "init", "-q", "-b", "main")
    for path in root.rglob("*"):
        if path.is_file() and ".git" not in path.parts:
            path.unlink()
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    run_git(root, "add", "-A")
    run_git(root, "-c", "user.name=n", "-c", "user.email=e@x", "commit", "-q", "--allow-empty",
            "-m", "a state")  # fmt: skip
    return read_revision(root, run_git(root, "rev-parse", "HEAD").strip())


def run_git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout
