"""Small repositories with two commits, for the tests of the proofs."""

from __future__ import annotations

from pathlib import Path

from git_repositories import commit

from house.revisions import Revision, read_revision

Files = dict[str, str]


def commit_files(root: Path, files: Files) -> Revision:
    """A commit that has these files and no other."""
    for path in root.rglob("*"):
        if path.is_file() and ".git" not in path.parts:
            path.unlink()
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return read_revision(root, commit(root, "a state", with_ignored=False))
