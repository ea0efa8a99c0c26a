"""A project laid out in a folder, loaded for one target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from synapse_apply.manifests.decode.draft import ReadPackageConfig
from synapse_apply.manifests.decode.loading import LoadedManifests, load_manifests
from synapse_apply.manifests.project.project import (
    FILE_NAME,
    build_default_project,
    read_project_or_findings,
)
from synapse_apply.model.project import EMBEDDED, Project

HEAD = "apiVersion: synapse-apply/v1\n"
PLUGIN = HEAD + "kind: Plugin\nmetadata: {name: yolo}\nspec: {name: Yolo, code: yolo}\n---\n"


def project_of(folder: Path, text: str = "") -> Project:
    """The project of a text after `kind: Project`, which must be good."""
    if not text:
        return build_default_project(folder)
    data = f"{HEAD}kind: Project\n{text}".encode()
    project, findings = read_project_or_findings(folder / FILE_NAME, FILE_NAME, data)
    assert project is not None, findings
    return project


def load_of(
    folder: Path,
    manifests: str,
    project: str = "",
    target: str = EMBEDDED,
    package_config: ReadPackageConfig | None = None,
    **more: Any,
) -> LoadedManifests:
    """What one manifest file declares for a target."""
    (folder / "manifests").mkdir(exist_ok=True)
    (folder / "manifests" / "a.yaml").write_text(manifests, encoding="utf-8")
    whole = project_of(folder, project)
    return load_manifests(whole, whole.targets[target], read_package_config=package_config, **more)


def storage(configuration: str, provider: str = "amazon_s3", name: str = "raw") -> str:
    """A Storage document with this configuration (YAML in one line)."""
    return (
        f"{HEAD}kind: Storage\nmetadata: {{name: {name}}}\n"
        f"spec:\n  name: Raw\n  provider: {provider}\n  configuration: {configuration}\n"
    )
