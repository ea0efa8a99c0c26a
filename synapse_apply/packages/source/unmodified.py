"""Which files of a checkout Git takes for unmodified, even if their bytes differ from the commit.

On checkout Git converts line ends (`.gitattributes`, core.autocrlf), `$Id$` and encodings, so that
the bytes of an unmodified file may differ from its blob.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.frozen import frozen
from synapse_apply.model.resource import PackageSource
from synapse_apply.packages.content import UnreadableError
from synapse_apply.packages.source.git import (
    GitTree,
    locate_in_repository_or_raise,
    resolve_ref_to_commit_or_raise,
    run_git_plumbing_in_trusted_repository,
)
from synapse_apply.packages.source.tree import resolve_link_or_same_entry_or_finding_if_unusable

_CONVERTING_ATTRIBUTES = ("text", "crlf", "eol", "ident", "working-tree-encoding")
_FILTER = "filter"


@frozen
class UnmodifiedFiles:
    """`unchanged` have the content of the commit; for `filtered` only a filter could tell."""

    unchanged: frozenset[str] = frozenset()
    filtered: frozenset[str] = frozenset()


# Where the bytes of a checkout are not those of a commit, Git is asked for the blob that it would
# make of them: converting a blob instead would need Git's rules for line ends, and filters might
# run.
def select_files_with_same_content_as_ref(
    ref_source: PackageSource, root: Path, folder: str, names: Collection[str]
) -> UnmodifiedFiles:
    """Which `names` in a folder of the checkout have the content of `ref_source`, for Git.

    `ref_source` is a source at a Git ref, `folder` is relative to `root`. Nothing is written, and
    no filter runs. A file whose conversion has changed since that ref is not among them.
    InputError as `resolve_ref_to_commit_or_raise` and GitTree.
    """
    top, _ = locate_in_repository_or_raise(root)
    paths_by_name = dict(_iter_names_with_paths_in_repository(top.resolve(), root / folder, names))
    blob_ids = _read_blob_ids_by_name(ref_source, root, paths_by_name)
    current_attributes = _read_attributes_by_path_or_empty(top, paths_by_name.values())
    commit = resolve_ref_to_commit_or_raise(root, ref_source.ref).id
    ref_attributes = (
        _read_attributes_by_path_or_empty(top, paths_by_name.values(), "--source", commit)
        or current_attributes
    )  # Git before 2.40
    filters = read_git_filter_names(top)
    filtered = frozenset(
        name
        for name, path in paths_by_name.items()
        if current_attributes.get(path, {}).get(_FILTER) in filters
    )
    candidates = [
        name
        for name, path in paths_by_name.items()
        if name in blob_ids
        and name not in filtered
        and current_attributes.get(path) == ref_attributes.get(path)
    ]
    input_text = "".join(f"{paths_by_name[name]}\n" for name in candidates)
    _, out, _ = run_git_plumbing_in_trusted_repository(
        top, "hash-object", "--stdin-paths", input_bytes=os.fsencode(input_text)
    )
    ids = out.decode("ascii").split()
    # Git stops at a file that was removed meanwhile: then none counts as unchanged.
    if len(ids) != len(candidates):
        ids = [""] * len(candidates)
    unchanged_names = (
        name for name, file_id in zip(candidates, ids, strict=True) if file_id == blob_ids[name]
    )
    return UnmodifiedFiles(frozenset(unchanged_names), filtered)


def _iter_names_with_paths_in_repository(
    top: Path, folder: Path, names: Collection[str]
) -> Iterator[tuple[str, str]]:
    """(name, path from the top of the repository) of each file inside of it, links resolved."""
    for name in names:
        path = os.path.relpath(os.path.realpath(folder / name), top).replace(os.sep, "/")
        # `hash-object --stdin-paths` reads one path a line, and a leading quote as quoting.
        if not path.startswith(("../", '"')) and "\n" not in path:
            yield name, path


def _read_blob_ids_by_name(
    ref_source: PackageSource, root: Path, names: Collection[str]
) -> dict[str, str]:
    blob_ids = {}
    with GitTree(root, ref_source.path or ".", ref_source.ref) as tree:
        for name in names:
            node = tree.find_entry_without_following_links(name)
            try:
                file = (
                    None
                    if node is None
                    else resolve_link_or_same_entry_or_finding_if_unusable(tree, node)
                )
            except UnreadableError:
                continue
            if file is not None and not isinstance(file, Diagnostic):
                blob_ids[name] = file.key
    return blob_ids


def read_git_filter_names(top: Path) -> set[str]:
    """The names of all filters in the Git configuration."""
    arguments = ("config", "--null", "--name-only", "--get-regexp", "^filter\\.")
    names = os.fsdecode(run_git_plumbing_in_trusted_repository(top, *arguments)[1]).split("\0")
    return {name.removeprefix("filter.").rpartition(".")[0] for name in names if name}


def _read_attributes_by_path_or_empty(
    top: Path, paths: Iterable[str], *source: str
) -> dict[str, dict[str, str]]:
    input_bytes = os.fsencode("".join(f"{path}\0" for path in paths))
    arguments = ("check-attr", *source, "-z", "--stdin", *_CONVERTING_ATTRIBUTES, _FILTER)
    code, out, _ = run_git_plumbing_in_trusted_repository(top, *arguments, input_bytes=input_bytes)
    if code:
        return {}
    fields = [os.fsdecode(field) for field in out.split(b"\0")[:-1]]
    attributes: dict[str, dict[str, str]] = {}
    for path, name, value in zip(fields[::3], fields[1::3], fields[2::3], strict=True):
        attributes.setdefault(path, {})[name] = value
    return attributes
