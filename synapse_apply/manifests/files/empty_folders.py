"""Which finding a check gives where there is no manifest: an error outside a project, a warning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from synapse_apply.manifests.decode.loading import LoadedManifests
from synapse_apply.manifests.files.manifest_files import ManifestPaths
from synapse_apply.manifests.project.project import FILE_NAME, text_position
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, error_finding, warning_finding
from synapse_apply.model.project import Project

_NO_MANIFEST = "No manifest in a folder"
_HOW_TO_BEGIN = Text(
    Command("init"),
    " writes a project file and ",
    Command("new KIND NAME"),
    " a manifest; a manifest is a .yaml or .yml file with `apiVersion: synapse-apply/v1`",
)


def no_manifest_findings(
    project: Project, targets: Iterable[LoadedManifests], paths: Sequence[str] = ()
) -> tuple[Diagnostic, ...]:
    """Findings for folders and targets without a manifest; an error without any project.

    `paths` are those of the command line. A target with errors is skipped: what it would
    declare is not known.
    """
    readable = [loaded for loaded in targets if not loaded.has_errors]
    if project.file is None and not any(loaded.desired for loaded in readable):
        return (_wrong_folder_finding(project, paths),) if readable else ()
    findings = [
        finding for loaded in readable for finding in _no_manifest_warnings(project, loaded, paths)
    ]
    return tuple(dict.fromkeys(findings))


def _no_manifest_warnings(
    project: Project, loaded: LoadedManifests, paths: Sequence[str]
) -> Iterator[Diagnostic]:
    folders = ManifestPaths(project, loaded.target, paths).folders_without_manifests()
    for text in folders:
        yield warning_finding(
            _NO_MANIFEST,
            f"`{text}` is listed and contains no manifest",
            _HOW_TO_BEGIN,
            position=text_position(text),
        )
    if not loaded.desired and not folders:
        yield warning_finding(
            "Nothing is declared",
            f"the files that target {loaded.target.name} reads hold no manifest",
            _HOW_TO_BEGIN,
            target=loaded.target.name,
        )


def _wrong_folder_finding(project: Project, paths: Sequence[str]) -> Diagnostic:
    looked_at = ", ".join(paths) if paths else str(project.root)
    return error_finding(
        "There is nothing to validate",
        f"there is no {FILE_NAME} in {project.root} or above, and no manifest in {looked_at}",
        "go to the project's folder, or name it with -C FOLDER; " + _HOW_TO_BEGIN,
    )
