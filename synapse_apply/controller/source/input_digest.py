"""Which part of a commit a target is read from, and the digest over it; pure.

All of the project's folder counts, since a manifest may name any file in it as a package or a
secret: that is told by Git's ids alone, without reading a file. What does not count for a target
are folders that only other targets list as manifests, and only where nothing in them could be
anything else by its name. A look refuses manifests that name such a file nevertheless.
"""

from __future__ import annotations

import hashlib
import posixpath
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from synapse_apply.manifests.project.pinned_settings import (
    innermost_folder,
    is_nothing_but_manifest,
)

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


def compute_digest_of_parts(*parts: str) -> str:
    """The digest over all that a look at a target reads, from the digests of its parts."""
    return _digest_texts(parts)
