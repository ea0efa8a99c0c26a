"""Which files of a checkout differ from a commit, as Git sees them.

Only plumbing commands are used, as in `commits.py`: nothing is written, and no filter runs. A file
with a new timestamp counts as changed only if its content is. On checkout Git converts line ends
(`.gitattributes`, core.autocrlf), `$Id$` and encodings, so that the bytes of an unmodified file may
differ from its blob. A file that a filter converts (Git LFS) never counts, since only running the
filter could show a difference.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from synapse_apply.files.commits import CommitTree, find_commit, require_repository
from synapse_apply.files.repository import Repository, find_trusted_repository, run_git
from synapse_apply.files.tree import UnreadableError, escape_misleading_path
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen

MAX_FILES = 1000
_MODIFIED_STATUS = b"M"
_CONVERTING_ATTRIBUTES = ("text", "crlf", "eol", "ident", "working-tree-encoding")
_FILTER = "filter"


# By plumbing commands: `git status` runs filters. A new file counts only where it was read, or each
# report beside the manifests would make a checkout dirty.
def list_modified_files(
    root: Path, commit: str, read_names: Collection[str], timeout: float
) -> tuple[str, ...]:
    """Files below `root` that differ from the commit, and those of `read_names` not in it.

    All names are relative to `root`. The result is sorted, safe to print, and has at most MAX_FILES
    names. () outside of a repository, or if Git takes longer than `timeout` seconds. InputError
    from Git.
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
    return tuple(map(escape_misleading_path, sorted(changed)[:MAX_FILES]))


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
