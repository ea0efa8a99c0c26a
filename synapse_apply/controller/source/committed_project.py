"""What a commit of a mirror declares: its targets, and the digest of what each is read from."""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, NoReturn

from synapse_apply import __version__
from synapse_apply.controller.ports import LabelledTarget, SourceUnavailable
from synapse_apply.controller.rules.judging import format_backend
from synapse_apply.controller.settings import Source
from synapse_apply.controller.source.access import SourceAccess, source_folders
from synapse_apply.controller.source.mirror_git import MirrorGit, MirrorLimits, quote_git
from synapse_apply.files.repository import MAX_LISTING_BYTES, require_listing_size
from synapse_apply.manifests.files import innermost_folder, is_nothing_but_manifest, pin_settings
from synapse_apply.manifests.project.project import FILE_NAME, read_project_or_findings
from synapse_apply.manifests.project.target_lists import MAX_LIST_BYTES
from synapse_apply.model.errors import InputError
from synapse_apply.model.json_values import format_canonical_json
from synapse_apply.model.project import DEFAULT_MANIFESTS, Project, collect_credentials
from synapse_apply.model.resource import shorten_git_ref
from synapse_apply.model.state import BackendIdentity

_MAX_PROJECT_BYTES = 4 * 1024 * 1024
MAX_TARGETS = 20_000
# Each page of the controller reads the labels of all targets.
MAX_LABEL_CHARACTERS = 4 * 1024 * 1024


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
        files, own_entry, self._project = self._read_project(commit)
        list_files = set(self._project.list_files)
        self._rows = [_list_rows(self._project)]
        self._ids = [__version__, self._folder, own_entry.object_id]
        if pin:
            _, pin_entry, pinned_project = self._read_project(pin)
            self._rows.append(_list_rows(pinned_project))
            self._project = pin_settings(
                self._project, pinned_project, shorten_git_ref(source.project_from)
            )
            self._ids.append(pin_entry.object_id)
        # A list counts by the row of each target: a new tenant is nothing to do for the others.
        # What it closes to them, such as the name of its token, each of their looks reads anew.
        counting = [file for file in files if file.path not in list_files]
        has_default = any(file.path.startswith(f"{DEFAULT_MANIFESTS}/") for file in counting)
        default = (DEFAULT_MANIFESTS if has_default else ".",)
        self._regions = InputRegions(
            counting,
            {
                name: (*self._project.manifests, *target.manifests) or default
                for name, target in self._project.targets.items()
            },
        )

    def list_targets(self) -> tuple[LabelledTarget, ...]:
        """The targets that the project file declares, by name; the built-in one only if it does.

        InputError where they, or their labels, are more than one source may have, as each costs the
        others time.
        """
        found = self._project.targets.items()
        declared = [(name, target) for name, target in found if target.position is not None]
        if len(declared) > MAX_TARGETS:
            raise InputError.from_summary(
                "Too many targets",
                f"The project declares {len(declared):,} targets; a source of a controller has at "
                f"most {MAX_TARGETS:,}.",
                "Split them into several repositories, or folders of one repository (`path` of a "
                "source).",
                position=declared[MAX_TARGETS][1].position,
            )
        size = sum(len(json.dumps(dict(target.labels))) for _, target in declared)
        if size > MAX_LABEL_CHARACTERS:
            raise InputError.from_summary(
                "The labels of the targets are too long",
                f"They have {size:,} characters; the targets of a source have at most "
                f"{MAX_LABEL_CHARACTERS:,}.",
                "Shorten or remove some labels.",
                position=declared[0][1].position,
            )
        return tuple(
            LabelledTarget(
                name,
                target.labels,
                target.require_verified,
                self._compute_digest(name),
                format_backend(BackendIdentity(target.url, target.tenant)) if target.url else "",
                collect_credentials({name: target}).list_names(),
                target.policy.brake,
            )
            for name, target in sorted(declared)
        )

    def _compute_digest(self, target: str) -> str:
        rows = [by_target[target] for by_target in self._rows if target in by_target]
        parts = [*self._ids, *rows, self._regions.digest_readable_files(target)]
        if self._regions.reads_outside(target):
            parts.append(self._tree_id)
        # The digest over all that a look at a target reads, from the digests of its parts.
        return _digest_texts(parts)

    def _project_files(self, commit: str) -> list[CommittedFile]:
        """Every file of the project's folder."""
        tree = f"{commit}:" if self._folder == "." else f"{commit}:{self._folder}"
        options = ("-r", "-t", "-z", "--full-tree")
        result = self._git.run_local_git("ls-tree", *options, tree, max_output=MAX_LISTING_BYTES)
        place = f"{self._folder} at {shorten_git_ref(commit)}"
        require_listing_size(result.exit_code, result.output, place)
        if result.exit_code:
            if self._git.commit_id(commit) and not result.output:
                self._raise_no_project(commit)
            words = quote_git(result.error_text)
            raise SourceUnavailable.from_summary(
                "The source's commit cannot be read",
                f"{self._source.name}: {shorten_git_ref(commit)}. {words}",
                "The controller fetches it again automatically.",
            )
        lines = (line.partition(b"\t") for line in result.output.split(b"\0") if line)
        entries = [(*facts.decode("ascii").split(), os.fsdecode(path)) for facts, _, path in lines]
        return [CommittedFile(mode, i, path) for mode, kind, i, path in entries if kind != "tree"]

    def _read_project(self, commit: str) -> tuple[list[CommittedFile], CommittedFile, Project]:
        """The files of the project's folder at a commit, the project file, and what it says."""
        files = self._project_files(commit)
        by_path = {file.path: file for file in files}
        if FILE_NAME not in by_path:
            self._raise_no_project(commit)

        def read_file(path: str, max_bytes: int = MAX_LIST_BYTES) -> bytes | None:
            entry = by_path.get(path)
            return None if entry is None else self._read_file(entry, commit, max_bytes)

        project, findings = read_project_or_findings(
            self._file,
            f"{shorten_git_ref(commit)}:{FILE_NAME}",
            read_file(FILE_NAME, _MAX_PROJECT_BYTES) or b"",
            read_file,
        )
        if project is None:
            raise InputError(*findings)
        return files, by_path[FILE_NAME], project

    def _read_file(self, entry: CommittedFile, commit: str, max_bytes: int) -> bytes:
        place = f"{shorten_git_ref(commit)}:{entry.path}"
        if entry.mode not in _FILE_MODES:
            what = "project file" if entry.path == FILE_NAME else "list of targets"
            raise InputError.from_summary(
                f"The {what} is not a regular file",
                f"{place} is a link or a submodule.",
                "Replace it with the file itself.",
            )
        result = self._git.run_local_git("cat-file", "blob", entry.object_id, max_output=max_bytes)
        if result.exit_code:
            raise InputError.from_summary(
                "The project file cannot be read",
                f"{place} is larger than {max_bytes // 1024**2} MiB, or not in the mirror.",
                "Check that this is the intended file.",
            )
        return result.output

    @cached_property
    def _tree_id(self) -> str:
        result = self._git.run_local_git("rev-parse", f"{self._commit}^{{tree}}")
        return result.output.decode().strip()

    def _raise_no_project(self, commit: str) -> NoReturn:
        raise InputError.from_summary(
            "The commit has no project file",
            f"{shorten_git_ref(commit)} has no {posixpath.join(self._source.path, FILE_NAME)}.",
            f"If the project is in another folder, set sources.{self._source.name}.path.",
            position=self._source.position,
        )


def _list_rows(project: Project) -> dict[str, str]:
    """The row of a list that each target is made from, as one text; none for all others."""
    return {
        name: format_canonical_json(dict(target.row))
        for name, target in project.targets.items()
        if target.row is not None
    }


# Which part of a commit a target is read from, and the digest over it; pure.
#
# All of the project's folder counts, since a manifest may name any file in it as a package or a
# secret: that is told by Git's ids alone, without reading a file. What does not count for a target
# are folders that only other targets list as manifests, and only where nothing in them could be
# anything else by its name. A look refuses manifests that name such a file nevertheless.

_FILE_MODES = ("100644", "100755")
_FOLDER_MODE = "040000"


class CommittedFile(NamedTuple):
    """A file of a commit, or a link or a submodule; `path` is relative to the project's folder."""

    mode: str
    object_id: str
    path: str


class InputRegions:
    """The files of a project's folder, by the folder of manifests that they lie in."""

    def __init__(
        self, files: Sequence[CommittedFile], folders_by_target: Mapping[str, Sequence[str]]
    ) -> None:
        """`folders_by_target` has the manifest folders that the project lists for each target."""
        self._folders = {
            target: tuple(map(posixpath.normpath, folders))
            for target, folders in folders_by_target.items()
        }
        names = {name for folders in self._folders.values() for name in folders} - {"."}
        files_by_region: dict[str, list[CommittedFile]] = defaultdict(list)
        for file in files:
            files_by_region[innermost_folder(file.path, names)].append(file)
        # A link may lead from anywhere into any folder.
        may_exclude = all(file.mode in _FILE_MODES for file in files)
        self._separate = {
            name: _digest_files(region)
            for name, region in files_by_region.items()
            if name
            and may_exclude
            and all(is_nothing_but_manifest(file.path, name) for file in region)
        }
        self._separate_names = sorted(self._separate)
        # Targets of one template most often list the same folders.
        self._digests: dict[tuple[str, ...], str] = {}
        self._shared = _digest_files(
            [
                file
                for name, region in files_by_region.items()
                if name not in self._separate
                for file in region
            ]
        )

    def reads_outside(self, target: str) -> bool:
        """Whether a target lists manifests that are not in the project's folder."""
        return any(name.startswith(("../", "/")) or name == ".." for name in self._folders[target])

    def digest_readable_files(self, target: str) -> str:
        """A digest over all files of the folder that a target could read."""
        own_folders = self._folders[target]
        if own_folders not in self._digests:
            names = {name for folder in own_folders for name in self._regions_below(folder)}
            parts = [self._shared]
            for name in sorted(names):
                parts += [name, self._separate[name]]
            self._digests[own_folders] = _digest_texts(parts)
        return self._digests[own_folders]

    def _regions_below(self, folder: str) -> list[str]:
        """The separate regions at or below a folder, found without a look at all others."""
        if folder == ".":
            return self._separate_names
        # In sorted names those that begin with `folder/` are neighbours; "0" follows "/".
        first = bisect_left(self._separate_names, f"{folder}/")
        end = bisect_left(self._separate_names, f"{folder}0")
        own_name = [folder] if folder in self._separate else []
        return own_name + self._separate_names[first:end]


def _digest_files(files: Sequence[CommittedFile]) -> str:
    return _digest_texts(["\0".join(file) for file in sorted(files, key=lambda file: file.path)])


def _digest_texts(texts: Sequence[str]) -> str:
    """A digest over texts, none of which can be taken for the end of another."""
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogateescape")
        digest.update(f"{len(data)}:".encode() + data)
    return digest.hexdigest()
