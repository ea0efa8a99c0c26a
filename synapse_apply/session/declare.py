"""What is declared: the project, the target that is meant, its manifests and packages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from synapse_apply.manifests.loading import Loaded, load
from synapse_apply.manifests.project import (
    find_project,
    given_variables,
    read_project,
    without_file,
)
from synapse_apply.manifests.targets import choose_target
from synapse_apply.model.address import Address
from synapse_apply.model.desired import Desired, Package
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import InputError
from synapse_apply.model.project import Project, Target
from synapse_apply.session.sources import Held, Sources
from synapse_apply.session.where import Where


@dataclass(frozen=True, slots=True)
class Declared:
    """What one target declares; with an error among the diagnostics it must not be used.

    `held` is what its package sources held.
    """

    loaded: Loaded
    desired: Mapping[Address, Desired]
    packages: Mapping[Address, Package]
    diagnostics: tuple[Diagnostic, ...]
    held: tuple[Held, ...] = ()


def project_of(where: Where) -> Project:
    """The project file's content, or what stands in for it; InputError with every finding."""
    file = where.project or find_project(where.directory)
    if file is None:
        return without_file(where.directory)
    try:
        project, findings = read_project(file, shown(file))
    except OSError as problem:
        raise InputError.of(
            "The project file cannot be read",
            f"{shown(file)}: {problem.strerror}.",
            "Check the path given with --project.",
        ) from None
    if project is None:
        raise InputError(*findings)
    return project


def target_of(where: Where) -> tuple[Project, Target]:
    """The project and the target a command means, its holes filled from the environment."""
    project = project_of(where)
    return project, choose_target(project, where.target, where.environ, where.on_terminal)


def variables_of(where: Where, project: Project) -> dict[str, Any]:
    """The variables of the command line; InputError with every finding."""
    files = []
    for path in where.variable_files:
        try:
            files.append((shown(path), path.read_bytes()))
        except OSError as problem:
            raise InputError.of(
                "A variable file cannot be read",
                f"{shown(path)}: {problem.strerror}.",
                "Check the path given with --var-file.",
            ) from None
    given, findings = given_variables(
        project, [f"{name}={value}" for name, value in where.variables.items()], files
    )
    if findings:
        raise InputError(*findings)
    return given


def declared(where: Where, project: Project, target: Target, told: Iterable[Held] = ()) -> Declared:
    """Manifests and packages of one target, with every finding.

    `told` is what a saved plan knows of package sources, which are not read then.
    """
    sources = Sources(project, told)
    loaded = load(
        project,
        target,
        variables=variables_of(where, project),
        strict=where.strict,
        package_config=sources.reader(target),
        paths=[str(path) for path in where.paths],
    )
    return with_packages(target, loaded, sources)


def with_packages(target: Target, loaded: Loaded, sources: Sources) -> Declared:
    """The same with every package inspected and put on its resource."""
    findings = list(loaded.diagnostics)
    packages: dict[Address, Package] = {}
    desired = dict(loaded.desired)
    for address, resource in loaded.desired.items():
        if resource.source is None or resource.source.kind == "published":
            continue
        package, found = sources.package(resource.source, target)
        told = [finding.with_(address=str(address)) for finding in found]
        findings.extend(finding.with_(position=resource.source.position) for finding in told)
        if package is not None:
            packages[address] = replace(package, source=resource.source)
            desired[address] = replace(resource, package=packages[address])
    held = sources.held(target)
    return Declared(loaded, desired, packages, tuple(dict.fromkeys(findings)), held)


def shown(path: Path) -> str:
    """A path as people follow it: relative to the working folder where it lies inside."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
