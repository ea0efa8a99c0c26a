"""What is said where a check finds no manifest: an error for a wrong folder, else a warning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from synapse_apply.manifests.files import empty_folders
from synapse_apply.manifests.loading import Loaded
from synapse_apply.manifests.project import FILE_NAME, place_of
from synapse_apply.model.diagnostic import Diagnostic, error, warning
from synapse_apply.model.project import Project

_NO_MANIFEST = "No manifest in a folder"
_HOW_TO_BEGIN = (
    "`synapse-apply init` writes a project file and `synapse-apply new KIND NAME` a manifest; a "
    "manifest is a .yaml or .yml file with `apiVersion: synapse-apply/v1`"
)


def check_not_empty(
    project: Project, targets: Iterable[Loaded], paths: Sequence[str] = ()
) -> tuple[Diagnostic, ...]:
    """The findings for what was to be checked and holds no manifest.

    `paths` are those of the command line. A target with errors is passed over: what it would
    declare is not known.
    """
    readable = [one for one in targets if not one.has_errors]
    if project.file is None and not any(one.desired for one in readable):
        return (_wrong_folder(project, paths),) if readable else ()
    found = [finding for one in readable for finding in _of_target(project, one, paths)]
    return tuple(dict.fromkeys(found))


def _of_target(project: Project, loaded: Loaded, paths: Sequence[str]) -> Iterator[Diagnostic]:
    folders = empty_folders(project, loaded.target, paths)
    for text in folders:
        yield warning(
            _NO_MANIFEST,
            f"`{text}` is to be read and holds no manifest",
            _HOW_TO_BEGIN,
            position=place_of(text),
        )
    if not loaded.desired and not folders:
        yield warning(
            "Nothing is declared",
            f"the files that target {loaded.target.name} reads hold no manifest",
            _HOW_TO_BEGIN,
            target=loaded.target.name,
        )


def _wrong_folder(project: Project, paths: Sequence[str]) -> Diagnostic:
    looked_at = ", ".join(paths) if paths else str(project.root)
    return error(
        "There is nothing to validate",
        f"there is no {FILE_NAME} in {project.root} or above, and no manifest in {looked_at}",
        f"go to the project's folder, or name it with -C FOLDER; {_HOW_TO_BEGIN}",
    )
