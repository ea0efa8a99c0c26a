"""The files of a revision, or of the working tree, as texts by path."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

WORKING_TREE = "."


@dataclass(frozen=True)
class Revision:
    """What a commit, or the working tree, has: a blob id (or a text) for each path."""

    root: Path
    name: str
    blobs: dict[str, str]

    def read_files(self, paths: list[str]) -> dict[str, str]:
        """The texts of files, in one call of Git."""
        if self.name == WORKING_TREE:
            return {path: (self.root / path).read_text("utf-8") for path in paths}
        request = "".join(f"{self.blobs[path]}\n" for path in paths).encode()
        answer = run_git(self.root, "cat-file", "--batch", stdin=request)
        texts, start = {}, 0
        for path in paths:
            end = answer.index(b"\n", start)
            size = int(answer[start:end].split()[2])
            texts[path] = answer[end + 1 : end + 1 + size].decode()
            start = end + size + 2
        return texts


def read_revision(root: Path, name: str) -> Revision:
    """The tree of a commit; `.` is the working tree with what Git does not ignore."""
    if name != WORKING_TREE:
        rows = run_git(root, "ls-tree", "-r", "-z", name).decode().split("\0")
        entries = (row.partition("\t") for row in rows if row)
        return Revision(root, name, {path: facts.split()[2] for facts, _, path in entries})
    listed = run_git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    paths = [path for path in listed.decode().split("\0") if path and (root / path).is_file()]
    ids = run_git(root, "hash-object", "--stdin-paths", stdin="\n".join(paths).encode())
    return Revision(root, name, dict(zip(paths, ids.decode().split(), strict=True)))


def run_git(root: Path, *words: str, stdin: bytes = b"") -> bytes:
    """Standard output of a Git command; it ends the program where Git refuses."""
    done = subprocess.run(["git", *words], cwd=root, input=stdin, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"git {' '.join(words)}: {done.stderr.decode().strip()}")
    return done.stdout
