"""What a commit of a mirror declares: its targets, and the digest of what each is read from."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NoReturn

from synapse_apply import __version__
from synapse_apply.controller.ports import LabelledTarget, SourceUnavailable
from synapse_apply.controller.rules.bindings import format_backend
from synapse_apply.controller.settings import Source
from synapse_apply.controller.source.access import SourceAccess
from synapse_apply.controller.source.input_digest import (
    CommittedFile,
    InputRegions,
    compute_digest_of_parts,
)
from synapse_apply.controller.source.mirror_git import MirrorGit, MirrorLimits, quote_git
from synapse_apply.controller.source.places import source_folders
from synapse_apply.files.repository import MAX_LISTING_BYTES, require_listing_size
from synapse_apply.manifests.project.pinned_settings import pin_settings
from synapse_apply.manifests.project.project import FILE_NAME, read_project_or_findings
from synapse_apply.manifests.project.target_lists import MAX_LIST_BYTES
from synapse_apply.model.coding.canonical_json import format_canonical_json
from synapse_apply.model.errors import InputError
from synapse_apply.model.project import DEFAULT_MANIFESTS, Project, collect_credentials
from synapse_apply.model.resource import shorten_git_ref
from synapse_apply.model.state import BackendIdentity

_MAX_PROJECT_BYTES = 4 * 1024 * 1024
MAX_TARGETS = 20_000


def read_committed_targets(
    source: Source, data: Path, commit: str, pin: str
) -> tuple[LabelledTarget, ...]:
    """The targets of a commit in a source's mirror; arguments and errors as CommittedProject."""
    folders = source_folders(data, source)
    # Nothing is fetched here, so that no secret is asked for.
    git = MirrorGit(SourceAccess(source, "", ""), folders, NotImplemented, MirrorLimits())
    return CommittedProject(git, source, folders.project, commit, pin).list_targets()


class CommittedProject:
    """The project of one commit, read once."""

    def __init__(
        self, git: MirrorGit, source: Source, project_folder: Path, commit: str, pin: str
    ) -> None:
        """`pin` is the commit whose settings count, "" for `commit` itself.

        InputError with every finding where the project file cannot be used, SourceUnavailable where
        Git cannot read the commit.
        """
        self._git = git
        self._source = source
        self._file = project_folder / FILE_NAME
        self._commit = commit
        self._folder = posixpath.normpath(source.path)
        files = self._project_files(commit)
        own_entry = self._require_project_file(files, commit)
        self._project = self._read_project(own_entry, files, commit)
        list_files = set(self._project.list_files)
        self._rows = [_list_rows(self._project)]
        self._ids = [__version__, self._folder, own_entry.object_id]
        if pin:
            pinned_files = self._project_files(pin)
            pin_entry = self._require_project_file(pinned_files, pin)
            pinned_project = self._read_project(pin_entry, pinned_files, pin)
            self._rows.append(_list_rows(pinned_project))
            self._project = pin_settings(
                self._project, pinned_project, shorten_git_ref(source.project_from)
            )
            self._ids.append(pin_entry.object_id)
        # A list counts by the row of each target: a new tenant is nothing to do for the others.
        # What it closes to them, such as the name of its token, each of their looks reads anew.
        self._regions = self._build_regions([f for f in files if f.path not in list_files])

    def list_targets(self) -> tuple[LabelledTarget, ...]:
        """The targets that the project file declares, by name; the built-in one only if it does.

        InputError where they are more than one source may have, as each costs the others time.
        """
        found = self._project.targets.items()
        declared = [(name, target) for name, target in found if target.position is not None]
        if len(declared) > MAX_TARGETS:
            raise InputError.from_summary(
                "Too many targets",
                f"The project declares {len(declared):,} targets; a source of a controller has at "
                f"most {MAX_TARGETS:,}.",
                "Divide them among several repositories, or folders of one (`path` of a source).",
                position=declared[MAX_TARGETS][1].position,
            )
        return tuple(
            LabelledTarget(
                name,
                target.labels,
                target.require_verified,
                self._compute_digest(name),
                format_backend(BackendIdentity(target.url, target.tenant)) if target.url else "",
                collect_credentials({name: target}).list_names(),
            )
            for name, target in sorted(declared)
        )

    def _compute_digest(self, target: str) -> str:
        rows = [by_target[target] for by_target in self._rows if target in by_target]
        parts = [*self._ids, *rows, self._regions.digest_readable_files(target)]
        if self._regions.reads_outside(target):
            parts.append(self._tree_id)
        return compute_digest_of_parts(*parts)

    def _project_files(self, commit: str) -> list[CommittedFile]:
        """Every file of the project's folder."""
        tree = f"{commit}:" if self._folder == "." else f"{commit}:{self._folder}"
        options = ("-r", "-t", "-z", "--full-tree")
        result = self._git.run_local_git("ls-tree", *options, tree, max_output=MAX_LISTING_BYTES)
        place = f"{self._folder} at {shorten_git_ref(commit)}"
        require_listing_size(result.exit_code, result.output, place)
        if result.exit_code:
            exists = (
                self._git.run_local_git("cat-file", "-e", f"{commit}^{{commit}}").exit_code == 0
            )
            if exists and not result.output:
                self._raise_no_project(commit)
            words = quote_git(result.error_text)
            raise SourceUnavailable.from_summary(
                "A commit of a source cannot be read",
                f"{self._source.name}: {shorten_git_ref(commit)}. {words}",
                "It is fetched again by itself.",
            )
        entries = []
        for line in result.output.split(b"\0"):
            facts, _, path = line.partition(b"\t")
            if facts:
                mode, kind, object_id = facts.decode("ascii").split()
                if kind != "tree":
                    entries.append(CommittedFile(mode, object_id, os.fsdecode(path)))
        return entries

    def _require_project_file(self, files: Sequence[CommittedFile], commit: str) -> CommittedFile:
        entry = next((file for file in files if file.path == FILE_NAME), None)
        if entry is None:
            self._raise_no_project(commit)
        _require_plain_file(entry, commit)
        return entry

    def _read_project(
        self, entry: CommittedFile, files: Sequence[CommittedFile], commit: str
    ) -> Project:
        name = f"{shorten_git_ref(commit)}:{FILE_NAME}"
        by_path = {file.path: file for file in files}
        content = self._read_file(entry, commit, _MAX_PROJECT_BYTES)

        def read_list_file_or_none(path: str) -> bytes | None:
            list_entry = by_path.get(path)
            if list_entry is None:
                return None
            _require_plain_file(list_entry, commit)
            return self._read_file(list_entry, commit, MAX_LIST_BYTES)

        project, findings = read_project_or_findings(
            self._file, name, content, read_list_file_or_none
        )
        if project is None:
            raise InputError(*findings)
        return project

    def _read_file(self, entry: CommittedFile, commit: str, max_bytes: int) -> bytes:
        result = self._git.run_local_git("cat-file", "blob", entry.object_id, max_output=max_bytes)
        if result.exit_code:
            raise InputError.from_summary(
                "The project file cannot be read",
                f"{shorten_git_ref(commit)}:{entry.path} is larger than "
                f"{max_bytes // 1024**2} "
                "MiB, or not in the mirror.",
                "Is this the file that was meant?",
            )
        return result.output

    def _build_regions(self, files: Sequence[CommittedFile]) -> InputRegions:
        has_default = any(file.path.startswith(f"{DEFAULT_MANIFESTS}/") for file in files)
        default = (DEFAULT_MANIFESTS if has_default else ".",)
        return InputRegions(
            files,
            {
                name: (*self._project.manifests, *target.manifests) or default
                for name, target in self._project.targets.items()
            },
        )

    @cached_property
    def _tree_id(self) -> str:
        return (
            self._git.run_local_git("rev-parse", f"{self._commit}^{{tree}}").output.decode().strip()
        )

    def _raise_no_project(self, commit: str) -> NoReturn:
        raise InputError.from_summary(
            "No project file in that commit",
            f"{shorten_git_ref(commit)} has no {posixpath.join(self._source.path, FILE_NAME)}.",
            f"Is the project in another folder? sources.{self._source.name}.path names it.",
            position=self._source.position,
        )


def _require_plain_file(entry: CommittedFile, commit: str) -> None:
    if entry.mode not in ("100644", "100755"):
        raise InputError.from_summary(
            f"The {'project file' if entry.path == FILE_NAME else 'list of targets'} is no file",
            f"{shorten_git_ref(commit)}:{entry.path} is a link or a submodule.",
            "Put the file itself there.",
        )


def _list_rows(project: Project) -> dict[str, str]:
    """The row of a list that each target is made from, as one text; none for all others."""
    return {
        name: format_canonical_json(dict(target.row))
        for name, target in project.targets.items()
        if target.row is not None
    }
