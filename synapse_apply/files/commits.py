"""Which commit a Git ref means, how its files are read, and which of a checkout are others.

Files come from the object database alone. Only plumbing commands are used (`rev-parse`, `ls-tree`,
`cat-file`): work tree and index are not touched, and no hook, filter, replacement or network fetch
runs. `repository.py` decides which repository is used. Last: who wrote a line of a file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from synapse_apply.files.checkout import MAX_FILE_BYTES
from synapse_apply.files.commit_memory import (
    MOST_BLOB_BYTES,
    MOST_ENTRIES,
    Listing,
    commit_memory,
    pinned_commit,
)
from synapse_apply.files.programs import PipedProgram
from synapse_apply.files.repository import (
    NO_REPOSITORY_TEXT,
    Repository,
    find_outer_checkout,
    find_trusted_repository,
    require_listing_size,
    run_git,
    start_git,
)
from synapse_apply.files.tree import (
    BLOCK,
    MOST_LINKS,
    Entry,
    EntryKind,
    Tree,
    UnreadableError,
    escape_misleading_path,
    join_link,
)
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.lazy_patterns import lazy_pattern
from synapse_apply.model.resource import shorten_git_ref

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
        return shorten_git_ref(self.ref)

    def __str__(self) -> str:
        return self.ref if self.id.startswith(self.ref) else f"{self.ref} ({self.short_id})"

    def read(self, path: str, max_bytes: int = MAX_FILE_BYTES) -> bytes | None:
        """The content of a file, None if there is none; `path` is relative to `root`.

        InputError if it is not a regular file, or has more than `max_bytes`.
        """
        entry = self._find(path)
        if entry is None:
            return None
        if entry.kind is not EntryKind.FILE:
            raise InputError.from_summary(
                "Not a file at that Git ref",
                f"{path} at {self.ref} is a {entry.kind.value}.",
                "Replace the link with the file.",
            )
        blobs = _Blobs(require_repository(self.root))
        blocks, size = [], 0
        try:
            for block in blobs.blocks(entry):
                blocks.append(block)
                if (size := size + len(block)) > max_bytes:
                    raise InputError.from_summary(
                        "A file is too large",
                        f"{path} at {self.ref} is larger than {max_bytes // 1024**2} MiB.",
                        "Check that this is the right file.",
                    )
            return b"".join(blocks)
        except UnreadableError as problem:
            raise InputError(problem.finding) from None
        finally:
            blobs.close()

    def require_chosen_repository(self) -> None:
        """InputError for a ref of a submodule: commits of the outer checkout choose what answers.

        A full id means one commit alone, and HEAD the one that is checked out.
        """
        if FULL_ID.fullmatch(self.ref) or self.ref in _HEAD_NAMES:
            return
        if outer := find_outer_checkout(require_repository(self.root)):
            raise InputError.from_summary(
                "The project is in a Git submodule",
                f"Commits of {outer} choose the repository that would resolve {self.ref}.",
                "Run the command in a separate clone of the submodule, or use the full commit id.",
            )

    def require_same_way(self) -> None:
        """InputError where a link of the checkout leads to `root`, and is not in the commit.

        There its path may be another project's. Links on the way to such a link count as well, and
        those of submodules, which are in no commit.
        """
        repository, root = require_repository(self.root), Path(os.path.realpath(self.root))
        top, keys = repository.top, dict[str, str]()
        code, out, said = run_git(top, repository, "ls-files", "-s", "-z", is_listing=True)
        if code:
            raise InputError.from_summary(
                "Git cannot list the checkout", f"{top}: {said.strip()}", _FETCH_HINT
            )
        for facts, _, name in (os.fsdecode(line).partition("\t") for line in out.split(b"\0")):
            kind = _KINDS.get(facts[:6])
            if kind is EntryKind.LINK:
                keys[name] = facts.split()[1]
            elif kind is EntryKind.SUBMODULE:
                for folder, names, _ in os.walk(top / name):
                    keys |= {os.path.relpath(Path(folder, one), top): "" for one in names}
        # By inode and device: a disk may take several spellings of a name for one.
        folders = (path for path in keys if os.path.isdir(top / path))  # noqa: PTH112 - no error
        places = {path: (top / path).stat()[1:3] for path in folders}
        ways = {folder.stat()[1:3] for folder in (root, *root.parents)}
        while leading := [path for path, place in places.items() if place in ways]:
            for path in leading:
                entry = self._find(os.path.relpath(top / path, root))
                if entry is None or entry.kind is not EntryKind.LINK or entry.key != keys[path]:
                    raise InputError.from_summary(
                        "A link points to the project",
                        f"{escape_misleading_path(path)} is a link to the project in this "
                        f"checkout, but not at {self.ref}, where the path may be another "
                        "project.",
                        "Remove the link from this change, or merge the link first.",
                    )
                ways |= {folder.stat()[1:3] for folder in (top / path).parents}
                del places[path]

    def _find(self, path: str) -> Entry | None:
        repository = require_repository(self.root)
        full_path = _path_from_top(repository, self.root, path)
        # `:(literal)`: a path must not be taken for a pattern.
        arguments = ("-l", "-z", "--full-tree", self.id, "--", f":(literal){full_path}")
        code, out, error_text = repository.git("ls-tree", *arguments)
        if code:
            detail = f"{path} at {self.ref}: {error_text.strip()}"
            raise InputError.from_summary("Git cannot read the file", detail, _FETCH_HINT)
        for line in out.split(b"\0"):
            facts, _, name = line.partition(b"\t")
            if os.fsdecode(name) == full_path:
                return _parse_entry(facts, path)
        return None


def find_commit(root: Path, ref: str) -> GitCommit:
    """The commit that a ref means in the repository that contains `root`; InputError for none."""
    repository, commit_id = _find(root, ref)
    # Shown beside other refs alone; a controller asks for full ids, a thousand times.
    if commit_id.startswith(ref):
        return GitCommit(root, ref, commit_id, commit_id)
    key, known = (repository.git_dir, commit_id), commit_memory().short_ids
    short_id = known.find(key)
    if short_id is None:
        short_id = repository.git("rev-parse", "--short=7", commit_id).output.decode().strip()
        known.keep(key, short_id)
    return GitCommit(root, ref, commit_id, short_id)


def is_unborn_branch(root: Path, ref: str) -> bool:
    """Whether a ref means the checked-out branch and that branch has no commit yet."""
    repository = find_trusted_repository(root)
    return repository is not None and _is_unborn(repository, ref)


def _is_unborn(repository: Repository, ref: str) -> bool:
    code, out, _ = repository.git("symbolic-ref", "--quiet", "HEAD")
    branch = out.decode(errors="surrogateescape").strip()
    if code or ref not in {"HEAD", "@", branch, branch.removeprefix("refs/heads/")}:
        return False
    return repository.git("show-ref", "--verify", "--quiet", branch).exit_code != 0


class Location(NamedTuple):
    """The top folder of a repository, and a folder's path below it, "" for the top itself."""

    top: Path
    relative_path: str


def locate(root: Path) -> Location:
    """Where a folder is in its repository; InputError if it is in none."""
    repository = require_repository(root)
    return Location(repository.top, repository.relative_path_of(root))


def read_head_id(root: Path, timeout: float | None = None) -> str:
    """The checked-out commit's id; InputError for an untrusted repository or without Git.

    "" outside of a repository, without a commit, or if Git takes longer than `timeout` seconds.
    """
    repository = find_trusted_repository(root)
    if repository is None:
        return ""
    arguments = ("show-ref", "--verify", "--hash", "HEAD")
    return run_git(root, repository, *arguments, timeout=timeout)[1].decode().strip()


class CommitTree(Tree):
    """A folder in a commit; a context manager that ends its process."""

    def __init__(self, root: Path, path: str, ref: str) -> None:
        """`path` is relative to `root`; InputError if there is no such folder at the ref."""
        repository, commit_id = _find(root, ref)
        self._git_dir, self._memory = repository.git_dir, commit_memory()
        full_path = _path_from_top(repository, root, path)
        key = self._git_dir, commit_id, full_path
        listing = self._memory.listings.find(key)
        if listing is None:
            # The complete listing is read at once: one process in place of one for each folder.
            listing = Listing(_entries(repository, commit_id, full_path, shorten_git_ref(ref)))
            if len(listing.by_path) <= MOST_ENTRIES:
                self._memory.listings.keep(key, listing)
        self._listing = listing
        self._blobs = _Blobs(repository)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_problem: object) -> None:
        self._blobs.close()

    def entries(self, folder: str) -> list[Entry]:
        """The entries of a folder, "" for the top."""
        return self._listing.by_folder.get(folder, [])

    def entry(self, path: str) -> Entry | None:
        """The entry at a path, a link as a link; None if there is nothing."""
        return self._listing.by_path.get(path)

    def link_text(self, link: Entry) -> str:
        """The target of a link as it is written."""
        return os.fsdecode(b"".join(self.blocks(link)))

    def blocks(self, file: Entry) -> Iterator[bytes]:
        """The file's content in blocks; one file must be read to its end before the next."""
        if file.size > MOST_BLOB_BYTES:
            yield from self._blobs.blocks(file)
            return
        key, known = (self._git_dir, file.key), self._memory.blobs
        content = known.find(key)
        if content is None:
            content = b"".join(self._blobs.blocks(file))
            # Of a link no size is known.
            if len(content) <= MOST_BLOB_BYTES:
                known.keep(key, content)
        yield content

    def leads_to_folder(self, link: Entry) -> bool:
        """Whether a link finally leads to a folder of the tree."""
        entry: Entry | None = link
        for _ in range(MOST_LINKS):
            if entry is None or entry.kind is not EntryKind.LINK:
                break
            entry = self.behind_no_link(join_link(entry, self.link_text(entry)))
        return entry is not None and entry.kind is EntryKind.FOLDER


class _Blobs:
    """Reads blobs by one `git cat-file --batch` process, which is started at the first read."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._program: PipedProgram | None = None

    def blocks(self, file: Entry) -> Iterator[bytes]:
        if self._program is None:
            self._program = start_git(self._repository, "cat-file", "--batch")
        request_pipe, answer_pipe = self._program.input, self._program.output
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
                    name = escape_misleading_path(file.path)
                    raise UnreadableError(OBJECT_MISSING, f"{name} ends too early.")
                remaining -= len(block)
                yield block
            answer_pipe.read(1)  # the line break after each object
        finally:
            # After an incomplete read the rest would be taken for the next answer.
            if remaining:
                self.close()

    def close(self) -> None:
        """Kill the process, if it was started."""
        program, self._program = self._program, None
        if program is not None:
            program.kill()


def _find(root: Path, ref: str) -> tuple[Repository, str]:
    """The repository that contains `root`, and the id of the commit that a ref means in it.

    InputError for none.
    """
    # A ref that begins with a dash would be an option of Git.
    if not ref or ref.startswith("-") or not ref.isprintable():
        raise InputError.from_summary(
            "Git ref not allowed", f"{ref!r} is not a ref.", "Specify a tag, a branch or a commit."
        )
    repository, known = require_repository(root), commit_memory().commits

    def find() -> str:
        if known.find((repository.git_dir, ref)):
            return ref
        commit = Refs(repository).commit(ref)
        # Whatever else is called like it, a full id means itself.
        if FULL_ID.fullmatch(commit):
            known.keep((repository.git_dir, commit), commit)
        return commit

    commit = pinned_commit(repository.git_dir, ref, find)
    if not commit and _is_unborn(repository, ref):
        raise InputError.from_summary(
            "No commit yet", f"The branch {ref!r} has no commit.", "Commit first."
        )
    if not commit:
        raise InputError.from_summary(
            "Unknown Git ref",
            f"{ref!r} names no commit here.",
            f"Check the spelling. {_FETCH_HINT}",
        )
    return repository, commit


def require_repository(root: Path) -> Repository:
    """The repository that contains a folder; InputError for none, or one that is not trusted."""
    repository = find_trusted_repository(root)
    if repository is None:
        raise InputError.from_summary(
            "Not a Git repository",
            f"{root}: {NO_REPOSITORY_TEXT}",
            "A source with a Git ref is read from the repository of the project. A source "
            "without ref is read from the folder.",
        )
    return repository


def _entries(repository: Repository, commit: str, full_path: str, ref: str) -> list[Entry]:
    """All entries below a folder of a commit; InputError for none."""
    tree_name = f"{commit}:" if full_path == "." else f"{commit}:{full_path}"
    arguments = ("ls-tree", "-r", "-t", "-l", "-z", "--full-tree", tree_name)
    code, out, error_text = run_git(repository.top, repository, *arguments, is_listing=True)
    require_listing_size(code, out, f"{full_path} at {ref}")
    if code:
        raise _no_folder_error(repository, commit, full_path, ref, error_text)
    lines = (line.partition(b"\t") for line in out.split(b"\0") if line)
    return [_parse_entry(facts, name.decode(errors="surrogateescape")) for facts, _, name in lines]


_KINDS = {"120000": EntryKind.LINK, "160000": EntryKind.SUBMODULE, "040000": EntryKind.FOLDER}


def _parse_entry(facts: bytes, path: str) -> Entry:
    mode, _, key, size = facts.decode("ascii").split()
    if mode in _KINDS:
        return Entry(path, _KINDS[mode], key=key)
    return Entry(path, EntryKind.FILE, int(size) if size.isdigit() else 0, mode == "100755", key)


def _path_from_top(repository: Repository, root: Path, path: str) -> str:
    """The path, given relative to `root`, relative to the top of the repository."""
    prefix = repository.relative_path_of(root)
    return os.path.normpath(f"{prefix}/{path}" if prefix else path).replace(os.sep, "/")


def _no_folder_error(
    repository: Repository, commit: str, full_path: str, ref: str, error_text: str
) -> InputError:
    """The error that says why: in a submodule, a file, not there, or Git's own message."""
    parts = full_path.split("/")
    for depth in range(1, len(parts) + 1):
        parent = "/".join(parts[:depth])
        arguments = ("-z", "--full-tree", commit, "--", f":(literal){parent}")
        listing = repository.git("ls-tree", *arguments).output
        if listing.startswith(b"160000"):
            return InputError.from_summary(
                "The package is in a Git submodule",
                f"{parent} at {ref} is a submodule; its files are in another repository.",
                "Remove ref to use the checked-out folder, or build a zip (file:).",
            )
        if listing and depth == len(parts) and not listing.startswith(b"040000"):
            return InputError.from_summary(
                "Not a folder at that Git ref",
                f"{full_path} at {ref} is a file.",
                "Specify the plugin's folder.",
            )
    if "not a tree object" in error_text or "Not a valid object name" in error_text:
        return InputError.from_summary(
            "Folder not in that Git ref",
            f"{full_path} is not in {ref}.",
            "The folder may have been added or renamed later. The path is relative to the "
            "project's folder.",
        )
    detail = f"{full_path} at {ref}: {error_text.strip()}"
    return InputError.from_summary("Git cannot read the folder", detail, _FETCH_HINT)


# Git takes the first meaning, a tag before a remote branch. So a person who may push a tag called
# `origin/main` could substitute it for the base branch.

# What a name that does not begin with refs/ may mean (gitrevisions(7)), in Git's order.
_REF_PATTERNS = (
    "refs/{}",
    "refs/tags/{}",
    "refs/heads/{}",
    "refs/remotes/{}",
    "refs/remotes/{}/HEAD",
)
# These always mean the checked-out commit, whatever other refs have such a name.
_HEAD_NAMES = frozenset({"HEAD", "@"})
_PSEUDO_REF = lazy_pattern(r"[A-Z]+(?:_[A-Z]+)*_HEAD")
FULL_ID = lazy_pattern(r"[0-9a-f]{40}|[0-9a-f]{64}", re.IGNORECASE)
_SHORT_ID = lazy_pattern(r"(?:.+-g)?([0-9a-f]{4,63})", re.IGNORECASE)
# Where the name ends in `main~2`, `v1^{commit}` or `main@{1}`.
_STEPS_START = lazy_pattern(r"[~^]|@\{")
_AT_SELECTOR = lazy_pattern(r"@\{[^}]*\}")
_UPSTREAM_SELECTOR = lazy_pattern(r"@\{(?:u|upstream|push|-\d+)\}", re.IGNORECASE)


class Meaning(NamedTuple):
    """One meaning of a name: its unambiguous full name, and its commit, "" if it is none here."""

    name: str
    commit: str

    def __str__(self) -> str:
        return f"{self.name} ({self.commit[:12] or 'no commit of this clone'})"


# Every place of gitrevisions(7) is looked at, and two different meanings are refused; within the
# tool a commit goes by its full id.
class Refs:
    """What refs mean in one repository."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def commit(self, ref: str) -> str:
        """The id of the commit that a ref means, "" for none; InputError for an ambiguous ref."""
        start = _STEPS_START.search(ref)
        name, steps = (ref[: start.start()], ref[start.start() :]) if start else (ref, "")
        # `NAME@{...}` is resolved with its name; all other steps start from the commit.
        selector = _AT_SELECTOR.match(steps)
        if selector is not None:
            steps = steps[selector.end() :]
            commit = self._at_selector(ref, name, selector[0])
        else:
            commit = self._one_commit(ref, self._meanings(name))
        return self._id(f"{commit}{steps}^{{commit}}") if commit and steps else commit

    def _at_selector(self, ref: str, name: str, selector: str) -> str:
        """The commit of `NAME@{...}` (upstream, previous branch, reflog entry), "" for none."""
        if _UPSTREAM_SELECTOR.fullmatch(selector):
            full_name = self._git("rev-parse", "--verify", "--symbolic-full-name", name + selector)
            if not full_name.startswith("refs/"):
                return ""
            return self._one_commit(ref, self._meanings(full_name))
        if not name:
            return self._id(f"{selector}^{{commit}}")
        meanings = self._meanings(name)
        if len(meanings) > 1:
            raise _ambiguous_error(ref, meanings)
        return self._id(f"{meanings[0].name}{selector}^{{commit}}") if meanings else ""

    def _one_commit(self, ref: str, meanings: list[Meaning]) -> str:
        """The one commit of all meanings, "" without any."""
        commits = {meaning.commit for meaning in meanings}
        if len(commits) > 1:
            raise _ambiguous_error(ref, meanings)
        return commits.pop() if commits else ""

    def _meanings(self, name: str) -> list[Meaning]:
        """All meanings of a name, in the order in which Git would choose."""
        if FULL_ID.fullmatch(name):
            # A branch can be called like an id: Git takes one of full length for the object itself.
            object_id, commit = self._ids([name, f"{name}^{{commit}}"])
            if object_id in {name.lower(), ""}:
                return [Meaning(name, commit)]
        if name in _HEAD_NAMES:
            head_id = self._git("show-ref", "--verify", "--hash", "HEAD")
            return self._of_objects({"HEAD": head_id} if head_id else {})
        pseudo_refs = {}
        # FETCH_HEAD, ORIG_HEAD and the like.
        if _PSEUDO_REF.fullmatch(name) and (self._repository.git_dir / name).is_file():
            pseudo_refs[name] = self._id(name)
        return [*self._of_objects(pseudo_refs), *self._of_refs(name), *self._of_short_id(name)]

    def _of_objects(self, ids_by_ref: Mapping[str, str]) -> list[Meaning]:
        return list(map(Meaning, ids_by_ref, self._commits(list(ids_by_ref.values()))))

    def _of_refs(self, name: str) -> list[Meaning]:
        """The meanings of all refs that a name may mean, in Git's order.

        A name that begins with refs/ means only itself.
        """
        if not name:
            return []
        is_full = name.startswith("refs/")
        names = [name] if is_full else [pattern.format(name) for pattern in _REF_PATTERNS]
        refs = [ref for ref in self._list(names) if ref.name in names]
        commits = {ref.name: ref.object_id for ref in refs}
        others = self._of_objects({ref.name: ref.object_id for ref in refs if ref.kind != "commit"})
        commits.update(others)
        return [
            Meaning(full_name, commits[full_name]) for full_name in names if full_name in commits
        ]

    def _list(self, names: Sequence[str]) -> list[_Ref]:
        """The refs with these full names, and those below them."""
        listing = "--format=%(refname) %(objectname) "
        code, out, _ = self._repository.git("for-each-ref", f"{listing}%(objecttype)", *names)
        if code:
            # Git gives none of them a kind if it lacks the object of one.
            _, out, _ = self._repository.git("for-each-ref", listing, *names)
        return [_Ref(*line.split(" ")) for line in os.fsdecode(out).split("\n") if line]

    def _of_short_id(self, name: str) -> list[Meaning]:
        """The commits whose ids begin with the name, or what follows `-g` (`git describe`)."""
        match = _SHORT_ID.fullmatch(name)
        if match is None or name.startswith("refs/"):
            return []
        ids = self._git("rev-parse", f"--disambiguate={match[1]}").split()
        return [Meaning(id_, id_) for id_ in dict.fromkeys(filter(None, self._commits(ids)))]

    def _commits(self, ids: Sequence[str]) -> list[str]:
        """The commit that each object is or tags, "" for another object or a missing one."""
        return self._ids([f"{object_id}^{{commit}}" for object_id in ids])

    def _ids(self, revisions: Sequence[str]) -> list[str]:
        """The id of the object that each revision names, "" for a missing one."""
        if not revisions:
            return []
        text = "".join(f"{revision}\n" for revision in revisions)
        arguments = ("cat-file", "--batch-check=%(objectname) found")
        _, out, _ = self._repository.git(*arguments, input_bytes=text.encode())
        answers = (line.partition(" ") for line in os.fsdecode(out).splitlines())
        ids = [id_ if status == "found" else "" for id_, _, status in answers]
        # Git stops at a damaged object; the rest counts as missing.
        return ids + [""] * (len(revisions) - len(ids))

    def _id(self, revision: str) -> str:
        """The object id that Git gives for a revision, "" for none."""
        return self._git("rev-parse", "--verify", "--quiet", revision)

    def _git(self, *arguments: str) -> str:
        """The output of a Git command without blanks around it, "" if the command failed."""
        code, out, _ = self._repository.git(*arguments)
        return "" if code else os.fsdecode(out).strip()


class _Ref(NamedTuple):
    """A ref with what it names; `kind` is commit, tag, tree or blob, "" if Git cannot tell."""

    name: str
    object_id: str
    kind: str


def _ambiguous_error(ref: str, meanings: list[Meaning]) -> InputError:
    return InputError.from_summary(
        "Ambiguous Git ref",
        f"{ref!r} matches {len(meanings)} refs: {', '.join(map(str, meanings))}.",
        "Write the full name of the intended ref. If somebody created the other ref to imitate it, "
        "delete that ref.",
    )


# Which files of a checkout differ from a commit, as Git sees them.
#
# Nothing is written, and no filter runs. A file with a new timestamp counts as changed only if its
# content is. On checkout Git converts line ends (`.gitattributes`, core.autocrlf), `$Id$` and
# encodings, so that the bytes of an unmodified file may differ from its blob. A file that a filter
# converts (Git LFS) never counts, since only running the filter could show a difference.

MAX_MODIFIED_FILES = 1000
_MODIFIED_STATUS = b"M"
_CONVERTING_ATTRIBUTES = ("text", "crlf", "eol", "ident", "working-tree-encoding")
_FILTER = "filter"


# By plumbing commands: `git status` runs filters. A new file counts only where it was read, or each
# report beside the manifests would make a checkout dirty.
def list_modified_files(
    root: Path, commit: str, read_names: Collection[str], timeout: float
) -> tuple[str, ...]:
    """Files below `root` that differ from the commit, and those of `read_names` not in it.

    All names are relative to `root`. The result is sorted, safe to print, and has at most
    MAX_MODIFIED_FILES names. () outside of a repository, or if Git takes longer than `timeout`
    seconds. InputError from Git.
    """
    repository = find_trusted_repository(root)
    if repository is None:
        return ()
    filters = _read_filter_names(repository)
    # Such a filter cannot be switched off with `-c`, and must not run.
    if any("=" in name for name in filters):
        return ()
    # Git would run the others to compare content.
    options = [
        argument
        for name in filters
        for setting in ("clean=", "process=", "required=false")
        for argument in ("-c", f"filter.{name}.{setting}")
    ]
    arguments = ("diff-index", "-z", "--no-ext-diff", "--no-renames", "--ignore-submodules=all")
    code, out, _ = run_git(
        root, repository, *options, *arguments, commit, "--", ".", timeout=timeout
    )
    if code:
        return ()
    prefix = repository.relative_path_of(root)
    changed: set[str] = set()
    uncertain: list[str] = []
    fields = out.split(b"\0")  # metadata and name in turn
    for facts, name_bytes in zip(fields[::2], fields[1::2], strict=False):
        old_mode, new_mode, _, _, status = facts.split()
        name = os.fsdecode(name_bytes).removeprefix(f"{prefix}/" if prefix else "")
        if status == _MODIFIED_STATUS and old_mode.lstrip(b":") == new_mode:
            uncertain.append(name)
        else:
            changed.add(name)
    try:
        same = find_unmodified(root, ".", commit, ".", uncertain) if uncertain else Unmodified()
    except InputError:
        same = Unmodified()
    changed.update(set(uncertain) - same.unchanged - same.filtered)
    changed.update(_iter_untracked(root, repository, read_names, timeout))
    return tuple(map(escape_misleading_path, sorted(changed)[:MAX_MODIFIED_FILES]))


def _iter_untracked(
    root: Path, repository: Repository, read_names: Collection[str], timeout: float
) -> Iterator[str]:
    """Those of `read_names` that are neither tracked nor ignored."""
    top = Path(os.path.realpath(root))
    inside_names = {
        os.path.normpath(name).replace(os.sep, "/")
        for name in read_names
        if Path(os.path.realpath(top / name)).is_relative_to(top)
    }
    if not inside_names:
        return
    arguments = ("ls-files", "--others", "--exclude-standard", "-z", "--", ".")
    code, out, _ = run_git(root, repository, *arguments, timeout=timeout)
    if not code:
        yield from (n for line in out.split(b"\0") if (n := os.fsdecode(line)) in inside_names)


@frozen
class Unmodified:
    """`unchanged` have the content of the commit; for `filtered` only a filter could tell."""

    unchanged: frozenset[str] = frozenset()
    filtered: frozenset[str] = frozenset()


# Where the bytes of a checkout are not those of a commit, Git is asked for the blob that it would
# make of them: converting a blob instead would need Git's rules for line ends, and filters might
# run.
def find_unmodified(
    root: Path, old_folder: str, ref: str, folder: str, names: Collection[str]
) -> Unmodified:
    """Which `names` in a folder of the checkout have the content of `old_folder` at a ref, for Git.

    Both folders are relative to `root`. Nothing is written, and no filter runs. A file whose
    conversion has changed since that ref is not among them. InputError as `find_commit` and
    CommitTree.
    """
    repository = require_repository(root)
    paths = dict(_iter_paths(repository.top.resolve(), root / folder, names))
    blob_ids = {}
    with CommitTree(root, old_folder, ref) as tree:
        for name in paths:
            try:
                if entry := tree.entry(name):
                    blob_ids[name] = tree.file(entry).key
            except UnreadableError:
                continue
    now = _read_attributes(repository, paths.values())
    commit = find_commit(root, ref).id
    # Git before 2.40 has no `--source`.
    then = _read_attributes(repository, paths.values(), "--source", commit) or now
    filters = _read_filter_names(repository)
    filtered = frozenset(
        n for n, path in paths.items() if now.get(path, {}).get(_FILTER) in filters
    )
    candidates = [
        name
        for name, path in paths.items()
        if name in blob_ids and name not in filtered and now.get(path) == then.get(path)
    ]
    lines = os.fsencode("".join(f"{paths[name]}\n" for name in candidates))
    result = repository.git("hash-object", "--stdin-paths", input_bytes=lines)
    ids = result.output.decode().split()
    # Git stops at a file that was removed meanwhile: then none counts as unchanged.
    if len(ids) != len(candidates):
        return Unmodified(frozenset(), filtered)
    unchanged = (name for name, id_ in zip(candidates, ids, strict=True) if id_ == blob_ids[name])
    return Unmodified(frozenset(unchanged), filtered)


def _iter_paths(top: Path, folder: Path, names: Collection[str]) -> Iterator[tuple[str, str]]:
    """(name, path from the top of the repository) of each file inside of it, links resolved."""
    for name in names:
        path = os.path.relpath(os.path.realpath(folder / name), top).replace(os.sep, "/")
        # `hash-object --stdin-paths` reads one path a line, and a leading quote as quoting.
        if not path.startswith(("../", '"')) and "\n" not in path:
            yield name, path


def _read_filter_names(repository: Repository) -> set[str]:
    """The names of all filters in the Git configuration."""
    arguments = ("config", "--null", "--name-only", "--get-regexp", "^filter\\.")
    names = os.fsdecode(repository.git(*arguments).output).split("\0")
    return {name.removeprefix("filter.").rpartition(".")[0] for name in names if name}


def _read_attributes(
    repository: Repository, paths: Iterable[str], *source: str
) -> dict[str, dict[str, str]]:
    """The attributes that convert a file, by its path; {} where Git cannot tell."""
    input_bytes = os.fsencode("".join(f"{path}\0" for path in paths))
    arguments = ("check-attr", *source, "-z", "--stdin", *_CONVERTING_ATTRIBUTES, _FILTER)
    code, out, _ = repository.git(*arguments, input_bytes=input_bytes)
    if code:
        return {}
    fields = [os.fsdecode(field) for field in out.split(b"\0")[:-1]]
    attributes: dict[str, dict[str, str]] = {}
    for path, name, value in zip(fields[::3], fields[1::3], fields[2::3], strict=True):
        attributes.setdefault(path, {})[name] = value
    return attributes


_SECONDS = 30.0
_HEADER = re.compile(r"([0-9a-f]{40}|[0-9a-f]{64}) \d+ \d+")


class Line(NamedTuple):
    """A line of a file, the commit that last changed it, and when (seconds since 1970).

    The commit is "" where a shallow clone lacks the older ones that may have changed it.
    """

    text: str
    commit: str
    committed_at: int


def read_lines(repository: Repository, file: Path, commit: str) -> list[Line]:
    """The lines of a file in a commit; none where Git cannot tell, or takes too long.

    No configuration of a file type, and no list of commits to skip, has a say in it.
    """
    path = os.path.relpath(os.path.realpath(file), repository.top)
    arguments = ("blame", "--porcelain", "--no-textconv", "--ignore-revs-file=", commit, "--", path)
    code, out, _ = run_git(repository.top, repository, *arguments, timeout=_SECONDS)
    lines, current, times = list[Line](), "", dict[str, int]()
    ends, is_shallow = set[str](), repository.is_shallow
    for row in out.decode(errors="replace").split("\n") if code == 0 else ():
        if row.startswith("\t"):
            is_end = is_shallow and current in ends
            lines.append(Line(row[1:], "" if is_end else current, times[current]))
        elif header := _HEADER.match(row):
            current = header[1]
        elif row == "boundary":
            ends.add(current)
        elif row.startswith("committer-time "):
            times[current] = int(row.split()[1])
    return lines


def read_author(repository: Repository, commit: str) -> str:
    """The author that a commit names; "" where Git cannot read it."""
    # Not by `git log` or `blame`, which ask .mailmap of the checkout for names.
    arguments = ("cat-file", "commit", commit)
    _, out, _ = run_git(repository.top, repository, *arguments, timeout=_SECONDS)
    head = out.partition(b"\n\n")[0].decode(errors="replace")
    name = re.search(r"^author (.*?) ?<", head, re.MULTILINE)
    return name[1] if name else ""
