"""What is declared: the project, the target that is meant, its manifests and packages."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synapse_apply.files.checkout import read_named
from synapse_apply.manifests.committed import Written
from synapse_apply.manifests.draft import PackageConfig
from synapse_apply.manifests.loading import Loaded, Shelf, load
from synapse_apply.manifests.project import (
    find_project,
    given_variables,
    read_project,
    without_file,
)
from synapse_apply.manifests.ruling import ruled
from synapse_apply.manifests.targets import choose_target
from synapse_apply.model.address import Address
from synapse_apply.model.desired import Desired, Package
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.login import Login
from synapse_apply.model.project import Project, Target
from synapse_apply.session.sources import Held, Sources
from synapse_apply.session.where import Where

if TYPE_CHECKING:
    from synapse_apply.packages.digests import Digests
    from synapse_apply.packages.git import Commit


@frozen
class Declared:
    """What one target declares; with an error among the diagnostics it must not be used.

    `held` is what its package sources held, `digests` what is known of files on disk, `commit`
    whose manifests they are where it is not the checkout.
    """

    loaded: Loaded
    desired: Mapping[Address, Desired]
    packages: Mapping[Address, Package]
    diagnostics: tuple[Diagnostic, ...]
    held: tuple[Held, ...] = ()
    commit: Commit | None = None
    digests: Digests | None = None


def project_of(where: Where) -> Project:
    """The project file's content, or what stands in for it; InputError with every finding."""
    file = where.project or find_project(where.directory)
    if file is None and where.project_from:
        raise InputError.of(
            "No project file",
            f"--project-from takes settings from synapse-apply.yaml as of {where.project_from}, "
            "and there is none here or above.",
            "Run it in the project's folder, or say --project FILE.",
        )
    if file is None:
        return without_file(where.directory)
    project = _read(file)
    return _ruled(project, file, where) if where.project_from else project


def _read(file: Path) -> Project:
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


def _ruled(project: Project, file: Path, where: Where) -> Project:
    """The project under the settings that its file has at another revision."""
    ref = where.project_from
    # Here, not above: who names no Git ref needs no reader of one.
    from synapse_apply.packages.git import commit_at

    rules = project_at(commit_at(file.parent, ref), file)
    if rules is None:
        raise InputError.of(
            "No project file at that Git ref",
            f"{shown(file)} is not in {ref}.",
            "Was it added or renamed later? Merge it first, then take settings from there.",
        )
    mine = project.targets.get(where.target or "")
    if mine is not None and mine.name not in rules.targets:
        raise InputError.of(
            "Target not declared at that Git ref",
            f"{shown(file)} at {ref} has no target `{mine.name}`.",
            "A target takes effect once it is merged; name another one.",
            position=mine.position,
        )
    return ruled(project, rules, ref)


def _written(commit: Commit) -> AbstractContextManager[Written]:
    from synapse_apply.session.revisions import written_at

    return written_at(commit)


def _commit(project: Project, ref: str) -> Commit:
    from synapse_apply.packages.git import commit_at

    return commit_at(project.root, ref)


def project_at(commit: Commit, file: Path) -> Project | None:
    """The project file as a commit has it, None where it has none; InputError."""
    from synapse_apply.packages.git import file_at

    data = file_at(commit, file.name)
    if data is None:
        return None
    project, findings = read_project(file, f"{commit.ref}:{shown(file)}", data)
    if project is None:
        raise InputError(*findings)
    return project


def target_of(where: Where) -> tuple[Project, Target]:
    """The project and the target a command means, its holes filled from the environment."""
    project = project_of(where)
    return project, meant(project, where)


def meant(project: Project, where: Where) -> Target:
    """The target that a command means, its holes filled from the environment and a login."""

    @cache
    def login() -> Login | None:
        # Here, not above: most targets have no hole that a login could fill.
        from synapse_apply.secrets.login import read_login

        return read_login(where.environ)

    return choose_target(project, where.target, where.environ, where.on_terminal, login)


def variables_of(where: Where, project: Project) -> dict[str, Any]:
    """The variables of the command line; InputError with every finding."""
    files = []
    for path in where.variable_files:
        try:
            files.append((shown(path), read_named(path, project.root)))
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


def declared(
    where: Where,
    project: Project,
    target: Target,
    told: Iterable[Held] = (),
    *,
    given: Mapping[str, Any] | None = None,
) -> Declared:
    """Manifests and packages of one target, with every finding.

    `told` is what a saved plan knows of package sources, which are not read then. With
    `where.as_of` all is as that Git ref has it. `given` are variables in place of those of the
    command line.
    """
    at = _commit(project, where.as_of) if where.as_of else None
    sources = Sources(project, told, at.id if at else "", where.environ)
    reader = sources.reader(target)
    with _written(at) if at else nullcontext() as written:
        found = loaded(where, project, target, package_config=reader, written=written, given=given)
    made = with_packages(target, found, sources)
    findings = (*project.findings, *made.diagnostics)
    return replace(made, diagnostics=findings, commit=at, digests=sources.keep())


def loaded(
    where: Where,
    project: Project,
    target: Target,
    *,
    shelf: Shelf | None = None,
    package_config: PackageConfig | None = None,
    written: Written | None = None,
    given: Mapping[str, Any] | None = None,
) -> Loaded:
    """The manifests of one target, with every finding; no package is looked at.

    `shelf` has files that were read already, `package_config` another reader of config.yaml,
    `written` the project's folder in a commit, `given` other variables than the command line's.
    """
    paths = [str(path) for path in where.paths]
    if written is not None:
        paths = [os.path.relpath(path, project.root.resolve()) for path in paths]
    return load(
        project,
        target,
        variables=variables_of(where, project) if given is None else given,
        strict=where.strict,
        package_config=package_config or Sources(project).reader(target),
        paths=paths,
        shelf=shelf,
        written=written,
    )


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
            # Read as of a Git ref, a source is another one than the manifest names.
            source = replace(package.source, position=resource.source.position)
            packages[address] = replace(package, source=source)
            desired[address] = replace(resource, package=packages[address])
    held = sources.held(target)
    return Declared(loaded, desired, packages, tuple(dict.fromkeys(findings)), held)


def shown(path: Path) -> str:
    """A path as people follow it: relative to the working folder where it lies inside."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, RuntimeError):  # outside, or a link in a circle
        return str(path)


def files_read(project: Project, found: Declared) -> Iterator[str]:
    """The files that what is declared was read from, as seen from the project's folder."""
    if project.file is not None:
        yield project.file.name
    for desired in found.desired.values():
        if desired.position is not None:
            yield os.path.relpath(project.root / desired.position.file, project.root)
        source, package = desired.source, desired.package
        if source is not None and source.kind == "file":
            yield source.path
        elif source is not None and source.kind == "folder" and package is not None:
            yield from (f"{source.path}/{name}" for name in package.files)
