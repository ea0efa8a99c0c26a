"""Which files of a checkout differ from a commit.

Only plumbing commands are used, as in `git.py`: nothing is written, and no filter runs. A file with
a new timestamp counts as changed only if its content is. A file that a filter converts (Git LFS)
never counts, since only running the filter could show a difference.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from synapse_apply.files.repository import find_repository_or_raise_if_untrusted, run_git
from synapse_apply.model.errors import InputError
from synapse_apply.model.resource import PackageSource
from synapse_apply.packages.entry_names import escape_misleading_path
from synapse_apply.packages.source.unmodified import (
    read_git_filter_names,
    select_files_with_same_content_as_ref,
)

MAX_FILES = 1000
_MODIFIED_STATUS = b"M"


# By plumbing commands: `git status` runs filters. A new file counts only where it was read, or each
# report beside the manifests would make a checkout dirty.
def list_changed_and_untracked_read_files_or_empty(
    root: Path, commit: str, read_names: Collection[str], timeout: float
) -> tuple[str, ...]:
    """Files below `root` that differ from the commit, and those of `read_names` not in it.

    All names are relative to `root`. The result is sorted, safe to print, and has at most MAX_FILES
    names. () outside of a repository, or if Git takes longer than `timeout` seconds. InputError
    from Git.
    """
    repository = find_repository_or_raise_if_untrusted(root)
    if repository is None:
        return ()
    arguments = ("diff-index", "-z", "--no-ext-diff", "--no-renames", "--ignore-submodules=all")
    filters = read_git_filter_names(repository.top)
    # Such a filter cannot be switched off with `-c`, and must not run.
    if any("=" in name for name in filters):
        return ()
    unfiltered = _build_options_disabling_filters(filters)
    code, out, _ = run_git(
        root, repository, *unfiltered, *arguments, commit, "--", ".", timeout=timeout
    )
    if code:
        return ()
    prefix = repository.compute_relative_path_or_empty_for_top(root)
    changed_names, uncertain_names = _split_changed_and_uncertain(
        out.split(b"\0"), f"{prefix}/" if prefix else ""
    )
    untracked_names = _iter_read_names_untracked_and_unignored(root, read_names, timeout)
    all_names = sorted(
        {
            *changed_names,
            *_select_names_with_other_content_or_all_on_error(root, commit, uncertain_names),
            *untracked_names,
        }
    )
    return tuple(map(escape_misleading_path, all_names[:MAX_FILES]))


def _split_changed_and_uncertain(fields: list[bytes], prefix: str) -> tuple[list[str], list[str]]:
    """The files that have changed, and those whose content must be compared.

    `fields` is the output of `git diff-index -z`: metadata and name in turn. `prefix` is removed
    from the names.
    """
    changed_names: list[str] = []
    uncertain_names: list[str] = []
    for entry_facts, name in zip(fields[::2], fields[1::2], strict=False):
        old_mode, new_mode, _, _, status = entry_facts.split()
        path = os.fsdecode(name).removeprefix(prefix)
        is_same_mode = status == _MODIFIED_STATUS and old_mode.lstrip(b":") == new_mode
        (uncertain_names if is_same_mode else changed_names).append(path)
    return changed_names, uncertain_names


def _select_names_with_other_content_or_all_on_error(
    root: Path, commit: str, names: list[str]
) -> Iterable[str]:
    """Those files whose content differs from the commit's, for Git; all where it cannot tell."""
    if not names:
        return ()
    try:
        unmodified_files = select_files_with_same_content_as_ref(
            PackageSource("git", ".", commit), root, ".", names
        )
    except InputError:
        return names
    return [
        name
        for name in names
        if name not in unmodified_files.unchanged and name not in unmodified_files.filtered
    ]


def _build_options_disabling_filters(names: Collection[str]) -> list[str]:
    """Options of `git` that switch these filters off: it would run them to compare content."""
    settings = ("clean=", "process=", "required=false")
    return [
        argument
        for name in names
        for setting in settings
        for argument in ("-c", f"filter.{name}.{setting}")
    ]


def _iter_read_names_untracked_and_unignored(
    root: Path, read_names: Collection[str], timeout: float
) -> Iterator[str]:
    """Those of `read_names` that are neither tracked nor ignored."""
    top = Path(os.path.realpath(root))
    inside_names = [
        name for name in read_names if Path(os.path.realpath(top / name)).is_relative_to(top)
    ]
    repository = find_repository_or_raise_if_untrusted(root)
    if not inside_names or repository is None:
        return
    arguments = ("ls-files", "--others", "--exclude-standard", "-z", "--", ".")
    code, out, _ = run_git(root, repository, *arguments, timeout=timeout)
    candidate_names = {os.path.normpath(name).replace(os.sep, "/") for name in inside_names}
    if not code:
        yield from (
            name for line in out.split(b"\0") if (name := os.fsdecode(line)) in candidate_names
        )
