"""How files at a Git ref are read: from the object database alone.

Only plumbing commands are used (`rev-parse`, `ls-tree`, `cat-file`): work tree and index are not
touched, and no hook, filter, replacement or network fetch runs. `files/repository.py` decides which
repository is used, `git_ref.py` which commit a ref means.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, NoReturn, Self

from synapse_apply.files.checkout import MAX_FILE_BYTES
from synapse_apply.files.repository import (
    NO_REPOSITORY_TEXT,
    GitResult,
    Repository,
    find_repository_or_raise_if_untrusted,
    require_listing_within_limits,
    run_git,
    start_git_with_pipes,
)
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.resource import shorten_git_ref_if_commit_id
from synapse_apply.packages.content import BLOCK, UnreadableError
from synapse_apply.packages.entry_names import escape_misleading_path
from synapse_apply.packages.source.commit_memory import get_commit_memory_or_new_empty
from synapse_apply.packages.source.git_ref import resolve_unambiguous_ref_or_empty
from synapse_apply.packages.source.ref_memory import get_pinned_or_find_commit
from synapse_apply.packages.source.tree import EntryKind, TreeEntry

if TYPE_CHECKING:
    import subprocess

# The summary of an error about an object that this clone lacks: the commit itself is intact.
OBJECT_MISSING = "Git object cannot be read"
_FETCH_HINT = (
    "A shallow or partial clone may lack it: git fetch --unshallow --tags "
    "(on GitHub Actions: fetch-depth: 0)."
)


@frozen
class GitCommit:
    """A commit of the repository that contains the folder `root`.

    `ref` is the ref it was resolved from; `short_id` is an abbreviation that is unique here, or the
    whole id where the ref is its beginning.
    """

    root: Path
    ref: str
    id: str
    short_id: str

    @property
    def label(self) -> str:
        """The ref for messages; a full id is shortened."""
        return shorten_git_ref_if_commit_id(self.ref)

    def __str__(self) -> str:
        return self.ref if self.id.startswith(self.ref) else f"{self.ref} ({self.short_id})"


def resolve_ref_to_commit_or_raise(root: Path, ref: str) -> GitCommit:
    """The commit that a ref means in the repository that contains `root`; InputError for none."""
    commit_id = _resolve_commit_id_or_raise(root, ref)
    # Shown beside other refs alone; a controller asks for full ids, a thousand times.
    short_id = commit_id if commit_id.startswith(ref) else _shorten_commit_id(root, commit_id)
    return GitCommit(root, ref, commit_id, short_id)


def _shorten_commit_id(root: Path, commit_id: str) -> str:
    """The id's beginning that is unique in the repository, of seven characters or more."""
    repository = _require_trusted_repository(root)
    arguments = ("rev-parse", "--short=7", commit_id)
    return get_commit_memory_or_new_empty().get_or_shorten_commit_id(
        repository.git_dir,
        commit_id,
        lambda: run_git(root, repository, *arguments).output.decode().strip(),
    )


def is_checked_out_branch_without_commits(root: Path, ref: str) -> bool:
    """Whether a ref means the checked-out branch and that branch has no commit yet."""
    code, out, _ = run_git_plumbing_in_trusted_repository(root, "symbolic-ref", "--quiet", "HEAD")
    branch = out.decode(errors="surrogateescape").strip()
    if code or ref not in {"HEAD", "@", branch, branch.removeprefix("refs/heads/")}:
        return False
    return (
        run_git_plumbing_in_trusted_repository(root, "show-ref", "--verify", "--quiet", branch)[0]
        != 0
    )


class RepositoryLocation(NamedTuple):
    """The top folder of a repository, and a folder's path below it, "" for the top itself."""

    top: Path
    relative_path: str


def locate_in_repository_or_raise(root: Path) -> RepositoryLocation:
    """Where a folder is in its repository; InputError if it is in none."""
    repository = _require_trusted_repository(root)
    return RepositoryLocation(
        repository.top, repository.compute_relative_path_or_empty_for_top(root)
    )


def read_trusted_head_commit_id_or_empty(root: Path, timeout: float | None = None) -> str:
    """The checked-out commit's id; InputError for an untrusted repository or without Git.

    "" outside of a repository, without a commit, or if Git takes longer than `timeout` seconds.
    """
    repository = find_repository_or_raise_if_untrusted(root)
    if repository is None:
        return ""
    arguments = ("show-ref", "--verify", "--hash", "HEAD")
    return run_git(root, repository, *arguments, timeout=timeout)[1].decode().strip()


def read_committed_file_or_none_if_absent(
    commit: GitCommit, path: str, max_bytes: int = MAX_FILE_BYTES
) -> bytes | None:
    """The content of a file in a commit, None if there is none.

    `path` is relative to the commit's `root`. InputError if it is not a regular file, or has more
    than `max_bytes`.
    """
    node = _find_committed_entry_or_none(commit, path)
    if node is None:
        return None
    if node.kind is not EntryKind.FILE:
        _raise_input_error(
            "Not a file at that Git ref",
            f"{path} at {commit.ref} is a {node.kind.value}.",
            "Put the file itself there.",
        )
    reader = _BlobReader(commit.root)
    blocks, size = [], 0
    try:
        for block in reader.iter_blob_blocks(node):
            blocks.append(block)
            if (size := size + len(block)) > max_bytes:
                _raise_input_error(
                    "A file is too large",
                    f"{path} at {commit.ref} is larger than {max_bytes // 1024**2} MiB.",
                    "Is this the file that was meant?",
                )
        return b"".join(blocks)
    except UnreadableError as problem:
        raise InputError(problem.finding) from None
    finally:
        reader.close()


class GitTree:
    """A SourceTree (tree.py) of a folder in a commit; a context manager that ends its process."""

    def __init__(self, root: Path, path: str, ref: str) -> None:
        """`path` is relative to `root`; InputError if there is no such folder at the ref."""
        self._root = root
        self._git_dir = _require_trusted_repository(root).git_dir
        self._memory = get_commit_memory_or_new_empty()
        commit = _resolve_commit_id_or_raise(root, ref)
        full_path = _build_path_from_repository_top(root, path)
        # The complete listing is read at once: one process in place of one for each folder.
        self._listing = self._memory.get_or_list_folder_of_commit(
            self._git_dir,
            commit,
            full_path,
            lambda: list(
                _iter_entries_below_folder(
                    root, commit, full_path, shorten_git_ref_if_commit_id(ref)
                )
            ),
        )
        self._reader = _BlobReader(root)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_problem: object) -> None:
        self._reader.close()

    def list_children(self, folder: str) -> list[TreeEntry]:
        return self._listing.entries_by_folder.get(folder, [])

    def find_entry_without_following_links(self, path: str) -> TreeEntry | None:
        return self._listing.entries_by_path.get(path)

    def read_link_target(self, link: TreeEntry) -> str:
        return os.fsdecode(b"".join(self.iter_blocks(link)))

    def iter_blocks(self, file: TreeEntry) -> Iterator[bytes]:
        """The file's content in blocks; one file must be read to its end before the next."""
        if not self._memory.is_small_enough_to_keep(file.size):
            yield from self._reader.iter_blob_blocks(file)
            return
        content = self._memory.find_kept_blob_or_none(self._git_dir, file.key)
        if content is None:
            content = b"".join(self._reader.iter_blob_blocks(file))
            self._memory.keep_blob_if_small(self._git_dir, file.key, content)
        yield content


class _BlobReader:
    """Reads blobs by one `git cat-file --batch` process, which is started at the first read."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._process: subprocess.Popen[bytes] | None = None

    def iter_blob_blocks(self, file: TreeEntry) -> Iterator[bytes]:
        request_pipe, answer_pipe = self._start_if_needed_and_get_pipes()
        request_pipe.write(file.key.encode("ascii") + b"\n")
        request_pipe.flush()
        header = answer_pipe.readline().split()
        if len(header) != 3 or header[1] != b"blob":
            raise UnreadableError(
                OBJECT_MISSING,
                f"{escape_misleading_path(file.path)} ({file.key[:12]}) is not in this clone.",
                _FETCH_HINT,
            )
        remaining = int(header[2])
        try:
            while remaining:
                block = answer_pipe.read(min(BLOCK, remaining))
                if not block:
                    raise UnreadableError(
                        "Git object cannot be read",
                        f"{escape_misleading_path(file.path)} ends too early.",
                    )
                remaining -= len(block)
                yield block
            answer_pipe.read(1)  # the line break after each object
        finally:
            # After an incomplete read the rest would be taken for the next answer.
            if remaining:
                self.close()

    def close(self) -> None:
        """Kill the process, if it was started."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        process.wait()

    def _start_if_needed_and_get_pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        if self._process is None:
            repository = _require_trusted_repository(self._root)
            self._process = start_git_with_pipes(self._root, repository, "cat-file", "--batch")
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("git was started without pipes")
        return self._process.stdin, self._process.stdout


def _resolve_commit_id_or_raise(root: Path, ref: str) -> str:
    """The id of the commit that a ref means; InputError for none."""
    # A ref that begins with a dash would be an option of Git.
    if not ref or ref.startswith("-") or not ref.isprintable():
        _raise_input_error(
            "Git ref not allowed", f"{ref!r} is no ref.", "Name a tag, a branch or a commit."
        )
    repository = _require_trusted_repository(root)
    git_dir = repository.git_dir
    commit = get_pinned_or_find_commit(
        git_dir,
        ref,
        lambda: get_commit_memory_or_new_empty().get_known_or_find_commit(
            git_dir, ref, lambda: resolve_unambiguous_ref_or_empty(repository, ref)
        ),
    )
    if not commit and is_checked_out_branch_without_commits(root, ref):
        _raise_input_error(
            "No commit yet", f"The branch that {ref!r} means has none.", "Commit first."
        )
    if not commit:
        _raise_input_error(
            "Unknown Git ref",
            f"{ref!r} names no commit here.",
            f"Check its spelling. {_FETCH_HINT}",
        )
    return commit


def _require_trusted_repository(root: Path) -> Repository:
    """The repository that contains a folder; InputError for none."""
    repository = find_repository_or_raise_if_untrusted(root)
    if repository is None:
        _raise_input_error(
            "Not a Git repository",
            f"{root}: {NO_REPOSITORY_TEXT}",
            "What has a Git ref is read from the repository that the project lies in. "
            "A source without ref is taken as it is.",
        )
    return repository


def _iter_entries_below_folder(
    root: Path, commit: str, full_path: str, ref: str
) -> Iterator[TreeEntry]:
    tree_name = f"{commit}:" if full_path == "." else f"{commit}:{full_path}"
    repository, arguments = (
        _require_trusted_repository(root),
        ("-r", "-t", "-l", "-z", "--full-tree"),
    )
    code, out, error_text = run_git(
        root, repository, "ls-tree", *arguments, tree_name, is_listing=True
    )
    require_listing_within_limits(code, out, f"{full_path} at {ref}")
    if code:
        _raise_folder_not_readable(root, commit, full_path, ref, error_text)
    for line in out.split(b"\0"):
        if line:
            entry_facts, _, name = line.partition(b"\t")
            yield _parse_tree_entry(
                entry_facts.decode("ascii").split(), name.decode(errors="surrogateescape")
            )


def _parse_tree_entry(entry_facts: list[str], path: str) -> TreeEntry:
    mode, _, key, size = entry_facts
    if mode == "120000":
        return TreeEntry(path, EntryKind.LINK, key=key)
    if mode == "160000":
        return TreeEntry(path, EntryKind.SUBMODULE, key=key)
    if mode == "040000":
        return TreeEntry(path, EntryKind.FOLDER, key=key)
    return TreeEntry(
        path, EntryKind.FILE, int(size) if size.isdigit() else 0, mode == "100755", key
    )


def _find_committed_entry_or_none(commit: GitCommit, path: str) -> TreeEntry | None:
    full_path = _build_path_from_repository_top(commit.root, path)
    # `:(literal)`: a path must not be taken for a pattern.
    arguments = ("-l", "-z", "--full-tree", commit.id, "--", f":(literal){full_path}")
    code, out, error_text = run_git_plumbing_in_trusted_repository(
        commit.root, "ls-tree", *arguments
    )
    if code:
        _raise_input_error(
            "Git cannot read the file", f"{path} at {commit.ref}: {error_text.strip()}", _FETCH_HINT
        )
    for line in out.split(b"\0"):
        entry_facts, _, name = line.partition(b"\t")
        if os.fsdecode(name) == full_path:
            return _parse_tree_entry(entry_facts.decode("ascii").split(), path)
    return None


def _build_path_from_repository_top(root: Path, path: str) -> str:
    """The path, given relative to `root`, relative to the top of the repository."""
    prefix = _require_trusted_repository(root).compute_relative_path_or_empty_for_top(root)
    return os.path.normpath(f"{prefix}/{path}" if prefix else path).replace(os.sep, "/")


def _raise_folder_not_readable(
    root: Path, commit: str, full_path: str, ref: str, error_text: str
) -> NoReturn:
    """InputError that says why: in a submodule, a file, not there, or Git's own message."""
    parts = full_path.split("/")
    for depth in range(1, len(parts) + 1):
        parent = "/".join(parts[:depth])
        listing = run_git_plumbing_in_trusted_repository(
            root, "ls-tree", "-z", "--full-tree", commit, "--", f":(literal){parent}"
        )[1]
        if listing.startswith(b"160000"):
            _raise_input_error(
                "Package lies in a Git submodule",
                f"{parent} at {ref} is a submodule; its files are in another repository.",
                "Leave out ref to take the checked-out folder, or build a zip (file:).",
            )
        if listing and depth == len(parts) and not listing.startswith(b"040000"):
            _raise_input_error(
                "Not a folder at that Git ref",
                f"{full_path} at {ref} is a file.",
                "Name the plugin's folder.",
            )
    if "not a tree object" in error_text or "Not a valid object name" in error_text:
        _raise_input_error(
            "Folder not in that Git ref",
            f"{full_path} is not in {ref}.",
            "Was the folder added or renamed later? The path is relative to the project's folder.",
        )
    _raise_input_error(
        "Git cannot read the folder", f"{full_path} at {ref}: {error_text.strip()}", _FETCH_HINT
    )


def run_git_plumbing_in_trusted_repository(
    root: Path, *arguments: str, input_bytes: bytes = b""
) -> GitResult:
    """Run one plumbing command in the repository that contains `root`.

    `input_bytes` is its standard input. Exit code 128 outside of a repository, as Git has it.
    InputError for a repository that cannot be trusted, or without Git.
    """
    repository = find_repository_or_raise_if_untrusted(root)
    if repository is None:
        return GitResult(128, b"", f"fatal: {NO_REPOSITORY_TEXT}")
    return run_git(root, repository, *arguments, input_bytes=input_bytes)


def _raise_input_error(summary: str, detail: str, hint: str) -> NoReturn:
    raise InputError.from_summary(summary, detail, hint)
