"""A folder at a Git ref as a tree, read from the object database alone.

Plumbing only (`rev-parse`, `ls-tree`, `cat-file`): the work tree and the index are not touched,
and no hook, filter, replacement or network fetch runs. `repository.py` says which repository
answers, `revision.py` what a ref means in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn, Self

from synapse_apply.model.desired import shown_ref
from synapse_apply.model.diagnostic import error
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.packages.content import BLOCK, UnreadableError
from synapse_apply.packages.names import printable
from synapse_apply.packages.ref_memory import remember_commit
from synapse_apply.packages.repository import (
    NO_REPOSITORY,
    Repository,
    repository_of,
    run_git,
    start_git,
)
from synapse_apply.packages.revision import commit_meant
from synapse_apply.packages.tree import Kind, Node

if TYPE_CHECKING:
    import subprocess

# The summary of what a clone lacks: no fault of the commit.
NOT_HERE = "Git object cannot be read"
_FETCH = (
    "A shallow or partial clone may lack it: git fetch --unshallow --tags "
    "(on GitHub Actions: fetch-depth: 0)."
)


@frozen
class Commit:
    """A commit of the repository that a folder lies in.

    `ref` is what it was asked for by, `short` names it for people, and no other object here.
    """

    root: Path
    ref: str
    id: str
    short: str

    def __str__(self) -> str:
        return self.ref if self.id.startswith(self.ref) else f"{self.ref} ({self.short})"


def commit_at(root: Path, ref: str) -> Commit:
    """The commit that a ref names, for a folder of its repository; InputError."""
    found = _commit(root, ref)
    short = plumbing(root, "rev-parse", "--short=7", found)[1].decode().strip()
    return Commit(root, ref, found, short)


def is_unborn(root: Path, ref: str) -> bool:
    """Whether a ref is the branch that is checked out, and that has no commit yet."""
    code, out, _ = plumbing(root, "symbolic-ref", "--quiet", "HEAD")
    branch = out.decode(errors="surrogateescape").strip()
    if code or ref not in {"HEAD", "@", branch, branch.removeprefix("refs/heads/")}:
        return False
    return plumbing(root, "show-ref", "--verify", "--quiet", branch)[0] != 0


def place_in_repository(root: Path) -> tuple[Path, str]:
    """The top of a folder's repository, and where below it the folder lies ("" at the top)."""
    repository = _repository(root)
    return repository.top, repository.prefix_of(root)


def head_of(root: Path, timeout: float | None = None) -> str:
    """The commit that is checked out, "" where there is none; InputError.

    "" also where Git takes longer than `timeout` seconds.
    """
    repository = repository_of(root)
    if repository is None:
        return ""
    words = ("show-ref", "--verify", "--hash", "HEAD")
    return run_git(root, repository, *words, timeout=timeout)[1].decode().strip()


def file_at(commit: Commit, path: str) -> bytes | None:
    """The content of a file of a commit, None where there is none.

    `path` is relative to the commit's `root`. InputError for what is no plain file.
    """
    node = _node_at(commit, path)
    if node is None:
        return None
    if node.kind is not Kind.FILE:
        _stop(
            "Not a file at that Git ref",
            f"{path} at {commit.ref} is a {node.kind.value}.",
            "Put the file itself there.",
        )
    reader = _Reader(commit.root)
    try:
        return b"".join(reader.blocks(node))
    except UnreadableError as problem:
        raise InputError(problem.finding) from None
    finally:
        reader.close()


class GitTree:
    """The tree of one folder in one commit; a context manager, for it keeps a process open."""

    def __init__(self, root: Path, path: str, ref: str) -> None:
        """`path` is relative to `root`; InputError when there is no such folder to read."""
        self._root = root
        commit = _commit(root, ref)
        self._nodes: dict[str, Node] = {}
        self._below: dict[str, list[Node]] = {"": []}
        for node in _nodes(root, commit, path, shown_ref(ref)):
            self._nodes[node.path] = node
            self._below.setdefault(node.path.rpartition("/")[0], []).append(node)
        self._reader = _Reader(root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_problem: object) -> None:
        self._reader.close()

    def children(self, folder: str) -> list[Node]:
        return self._below.get(folder, [])

    def node(self, path: str) -> Node | None:
        return self._nodes.get(path)

    def target(self, link: Node) -> str:
        return os.fsdecode(b"".join(self.blocks(link)))

    def blocks(self, file: Node) -> Iterator[bytes]:
        """The blob's content; read one to its end before the next."""
        return self._reader.blocks(file)


class _Reader:
    """One `git cat-file --batch`, started when it is first needed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._process: subprocess.Popen[bytes] | None = None

    def blocks(self, file: Node) -> Iterator[bytes]:
        asked, answer = self._pipes()
        asked.write(file.key.encode("ascii") + b"\n")
        asked.flush()
        head = answer.readline().split()
        if len(head) != 3 or head[1] != b"blob":
            raise UnreadableError(
                NOT_HERE,
                f"{printable(file.path)} ({file.key[:12]}) is not in this clone.",
                _FETCH,
            )
        left = int(head[2])
        try:
            while left:
                block = answer.read(min(BLOCK, left))
                if not block:
                    raise UnreadableError(
                        "Git object cannot be read", f"{printable(file.path)} ends too early."
                    )
                left -= len(block)
                yield block
            answer.read(1)
        finally:
            if left:  # the rest would be taken for the answer to the next question
                self.close()

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        process.wait()

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        if self._process is None:
            repository = _repository(self._root)
            self._process = start_git(self._root, repository, "cat-file", "--batch")
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("git was started without pipes")
        return self._process.stdin, self._process.stdout


def _commit(root: Path, ref: str) -> str:
    """The commit that a ref names, or InputError."""
    if not ref or ref.startswith("-") or not ref.isprintable():
        _stop("Git ref not allowed", f"{ref!r} is no ref.", "Name a tag, a branch or a commit.")
    repository = _repository(root)
    commit = remember_commit(repository.git_dir, ref, lambda: commit_meant(repository, ref))
    if not commit and is_unborn(root, ref):
        _stop("No commit yet", f"The branch that {ref!r} means has none.", "Commit first.")
    if not commit:
        _stop("Unknown Git ref", f"{ref!r} names no commit here.", f"Check its spelling. {_FETCH}")
    return commit


def _repository(root: Path) -> Repository:
    """The one that a folder belongs to, or InputError."""
    repository = repository_of(root)
    if repository is None:
        _stop(
            "Not a Git repository",
            f"{root}: {NO_REPOSITORY}",
            "What has a Git ref is read from the repository that the project lies in. "
            "A source without ref is taken as it is.",
        )
    return repository


def _nodes(root: Path, commit: str, path: str, ref: str) -> Iterator[Node]:
    full = _from_top(root, path)
    place = f"{commit}:" if full == "." else f"{commit}:{full}"
    code, out, complaint = plumbing(root, "ls-tree", "-r", "-t", "-l", "-z", "--full-tree", place)
    if code:
        _no_folder(root, commit, full, ref, complaint)
    for line in out.split(b"\0"):
        if line:
            facts, _, name = line.partition(b"\t")
            yield _node(facts.decode("ascii").split(), name.decode(errors="surrogateescape"))


def _node(facts: list[str], path: str) -> Node:
    mode, _, key, size = facts
    if mode == "120000":
        return Node(path, Kind.LINK, key=key)
    if mode == "160000":
        return Node(path, Kind.SUBMODULE, key=key)
    if mode == "040000":
        return Node(path, Kind.FOLDER, key=key)
    return Node(path, Kind.FILE, int(size) if size.isdigit() else 0, mode == "100755", key)


def _node_at(commit: Commit, path: str) -> Node | None:
    full = _from_top(commit.root, path)
    place = ("-l", "-z", "--full-tree", commit.id, "--", f":(literal){full}")
    code, out, complaint = plumbing(commit.root, "ls-tree", *place)
    if code:
        _stop("Git cannot read the file", f"{path} at {commit.ref}: {complaint.strip()}", _FETCH)
    for line in out.split(b"\0"):
        facts, _, name = line.partition(b"\t")
        if os.fsdecode(name) == full:
            return _node(facts.decode("ascii").split(), path)
    return None


def _from_top(root: Path, path: str) -> str:
    """A path below a folder as seen from the top of its repository."""
    prefix = _repository(root).prefix_of(root)
    return os.path.normpath(f"{prefix}/{path}" if prefix else path).replace(os.sep, "/")


def _no_folder(root: Path, commit: str, full: str, ref: str, complaint: str) -> NoReturn:
    parts = full.split("/")
    for depth in range(1, len(parts) + 1):
        above = "/".join(parts[:depth])
        found = plumbing(root, "ls-tree", "-z", "--full-tree", commit, "--", f":(literal){above}")[
            1
        ]
        if found.startswith(b"160000"):
            _stop(
                "Package lies in a Git submodule",
                f"{above} at {ref} is a submodule; its files are in another repository.",
                "Leave out ref to take the checked-out folder, or build a zip (file:).",
            )
        if found and depth == len(parts) and not found.startswith(b"040000"):
            _stop(
                "Not a folder at that Git ref",
                f"{full} at {ref} is a file.",
                "Name the plugin's folder.",
            )
    if "not a tree object" in complaint or "Not a valid object name" in complaint:
        _stop(
            "Folder not in that Git ref",
            f"{full} is not in {ref}.",
            "Was the folder added or renamed later? The path is relative to the project's folder.",
        )
    _stop("Git cannot read the folder", f"{full} at {ref}: {complaint.strip()}", _FETCH)


def plumbing(root: Path, *words: str, given: bytes = b"") -> tuple[int, bytes, str]:
    """(exit code, output, complaint) of one plumbing command, which reads what is `given`.

    It is asked of the repository that the folder `root` belongs to: 128 where it belongs to none.
    InputError where that one may not be believed, and without Git.
    """
    repository = repository_of(root)
    if repository is None:
        return 128, b"", f"fatal: {NO_REPOSITORY}"
    return run_git(root, repository, *words, given=given)


def _stop(summary: str, detail: str, hint: str) -> NoReturn:
    raise InputError(error(summary, detail, hint))
