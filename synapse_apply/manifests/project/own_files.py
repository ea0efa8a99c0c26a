"""Which files of a project are read for other targets alone, so that a change concerns only those.

These are the YAML files in folders that only other targets list as manifests, and the lists of
`targets_from`. A controller leaves them out of what it compares for a target, so nothing else of
that target may be read from them.
"""

from __future__ import annotations

import posixpath
from collections.abc import Collection

from synapse_apply.model.project import Project, Target

_MANIFEST_SUFFIXES = (".yaml", ".yml")
# Such a file makes a package of its folder.
_PACKAGE_NAMES = ("config.yaml", "synapse.yaml")


def find_innermost_folder(path: str, names: Collection[str]) -> str:
    """The deepest of the folders (or files) `names` that a path is at or below; "" for none."""
    while path:
        if path in names:
            return path
        path = path.rpartition("/")[0]
    return ""


def is_nothing_but_manifest(path: str, folder: str) -> bool:
    """Whether a file at or below a folder of manifests can be nothing else, by its name."""
    inner_path = path.removeprefix(folder).lstrip("/") or posixpath.basename(folder)
    parts = inner_path.split("/")
    return (
        parts[-1].endswith(_MANIFEST_SUFFIXES)
        and parts[-1] not in _PACKAGE_NAMES
        and not any(part.startswith(".") for part in parts)
    )


def explain_file_of_others(path: str, project: Project, target: Target) -> str:
    """Why a file of the project is none of a target's, as the end of a sentence; "" where it is."""
    path = posixpath.normpath(path)
    if path in map(posixpath.normpath, project.list_files):
        return "is a list of targets"
    folder = find_innermost_folder(path, project.manifest_folders)
    if not folder or not is_nothing_but_manifest(path, folder):
        return ""
    own = project.list_manifest_folders(target)
    if "." in own or any(f"{folder}/".startswith(f"{name}/") for name in own):
        return ""
    return f"lies in {folder}, which only other targets list as manifests"
