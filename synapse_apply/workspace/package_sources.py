"""When a package source is read, once per command, and what `validate` finds in packages.

For the embedded backend some findings are warnings that are errors elsewhere: it accepts what the
platform's own tools refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.wire import declared_natural_key, list_key_conflicts
from synapse_apply.manifests.decode.draft import ConfigWithPositions
from synapse_apply.manifests.decode.loading import LoadedManifests
from synapse_apply.manifests.decode.package_config import unmet_needs
from synapse_apply.manifests.yaml.reader import read_single_mapping
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, Position, Severity, warning_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.packages import PackageFlaw, build_flaw_finding
from synapse_apply.model.phrases import shown_path
from synapse_apply.model.project import Project, Target
from synapse_apply.model.resource import PUBLISHED, Desired, Package, PackageSource
from synapse_apply.model.secrets.credentials import format_unless_secret
from synapse_apply.model.secrets.secret_rules import ClosedFiles
from synapse_apply.packages.zip_stamps import ZipStamps
from synapse_apply.planning.order import sort_by_dependencies_and_find_cycles

if TYPE_CHECKING:
    from synapse_apply.packages.lint import PackageLint
    from synapse_apply.packages.sources import SourceFiles


# A package that was read and hashed; None where its findings say why it cannot be used.
InspectedPackage = tuple[Package | None, list[Diagnostic]]


class PackageSources:
    """Reads and caches the package sources of a project.

    With `ref`, folders and zips are read from that Git ref. With `should_lint`, packages are
    checked while they are read, else when their flaws are asked for; `known_flaws` has those of
    packages that were. `zip_stamps` are the zips that were read.
    """

    def __init__(
        self,
        project: Project,
        environ: Mapping[str, str],
        ref: str = "",
        *,
        should_lint: bool = False,
        known_flaws: dict[Hashable, list[PackageFlaw]] | None = None,
    ) -> None:
        self._project = project
        self._environ = environ
        self._should_lint = should_lint
        self._flaws: dict[SourceFiles, list[PackageFlaw]] = {}
        self._known_flaws = {} if known_flaws is None else known_flaws
        self._ref = ref
        self.zip_stamps = ZipStamps()
        # The text of config.yaml, and the name of the file in messages.
        self._configs: dict[SourceFiles, tuple[str, str] | None] = {}
        self._packages: dict[SourceFiles, InspectedPackage] = {}

    @cached_property
    def _closed(self) -> ClosedFiles:
        return ClosedFiles(self._project.reserved, self._project.root, self._environ)

    def build_config_reader(
        self, target: Target
    ) -> Callable[[PackageSource], ConfigWithPositions | None]:
        """A function that reads a source's config.yaml for this target; it raises InputError."""

        def read_config(source: PackageSource) -> ConfigWithPositions | None:
            files = self._files(source, target)
            if files not in self._configs:
                self._configs[files] = None if files.is_absent_zip() else files.config_text()
            config = self._configs[files]
            return None if config is None else read_single_mapping(*config)

        return read_config

    def inspect_package_once(self, source: PackageSource, target: Target) -> InspectedPackage:
        """Read and hash a source, once; never raises for what is wrong with it."""
        files = self._files(source, target)
        if files not in self._packages:
            self._packages[files] = self._inspect(files)
        return self._packages[files]

    def list_flaws(self, source: PackageSource, target: Target) -> list[PackageFlaw]:
        """The flaws of a source, each package looked into once; with `should_lint` not all alike.

        InputError where it is no longer what was hashed.
        """
        package, _ = self.inspect_package_once(source, target)
        files = self._files(source, target)
        if files in self._flaws or package is None:
            return self._flaws.get(files, [])
        # The digest does not tell what is left out of the package, but its folder does.
        flaws_key = (files, package.digest)
        if flaws_key not in self._known_flaws:
            from synapse_apply.packages.sources import lint_hashed_package

            lint = build_package_linter(files.source)
            lint_hashed_package(package, files.root, files.allow_files, lint)
            self._known_flaws[flaws_key] = lint.all_flaws()
        return self._known_flaws[flaws_key]

    def _files(self, source: PackageSource, target: Target) -> SourceFiles:
        # Here, not above: a project of storages alone needs no package reader.
        from synapse_apply.packages.sources import SourceFiles, at_ref

        # The place in a manifest does not change what is read.
        plain_source = replace(source, position=None)
        if self._ref:
            plain_source = at_ref(plain_source, self._ref)
        return SourceFiles(plain_source, self._project.root, target.allow_files)

    def _inspect(self, files: SourceFiles) -> InspectedPackage:
        from synapse_apply.packages.sources import read_source_as_package

        source = files.source
        if files.is_absent_zip():
            uncommitted_warning = warning_finding(
                "Package file not in that Git ref",
                f"{source.path} is not in {source.short_ref}, so its content is not known.",
                "Published releases are compared only by their fields, and nothing can be "
                "published.",
            )
            return None, [uncommitted_warning]
        findings: list[Diagnostic] = []
        lint = build_package_linter(source) if self._should_lint else None
        try:
            package = read_source_as_package(
                source,
                files.root,
                self._project.max_package_size,
                allow_files=files.allow_files,
                warn=findings.append,
                zip_stamps=self.zip_stamps,
                lint=lint,
                closed=self._closed,
            )
        except InputError as problem:
            return None, [*findings, *problem.diagnostics]
        finally:
            if lint is not None:
                self._flaws[files] = lint.limited_flaws()
        return package, findings

    def list_findings(self, target_manifests: Sequence[LoadedManifests]) -> tuple[Diagnostic, ...]:
        """The findings about the packages of these targets; one that several share comes once.

        Only with `should_lint`.
        """
        findings_by_key: dict[Diagnostic, list[Diagnostic]] = {}
        for manifests in target_manifests:
            for finding in self._iter_findings(manifests):
                finding_key = finding.with_changes(severity=Severity.NOTE, target=None)
                findings_by_key.setdefault(finding_key, []).append(finding)
        findings = []
        for alike in findings_by_key.values():
            # Of those that differ only in target and severity, the most severe.
            severest = next((finding for finding in alike if finding.is_error), alike[0])
            is_of_one = len({finding.target for finding in alike}) == 1
            findings.append(severest if is_of_one else severest.with_changes(target=None))
        return tuple(findings)

    def _iter_findings(self, manifests: LoadedManifests) -> Iterator[Diagnostic]:
        target, desired = manifests.target, manifests.desired
        # Also those of documents that have errors of their own, and of plugins without a release.
        for files in [*self._configs]:
            if files.allow_files != target.allow_files:
                continue
            for flaw in self.list_flaws(files.source, target):
                if (
                    replace(files.source, position=None),
                    flaw.rule,
                ) not in manifests.reported_flaws:
                    yield self._shown(flaw, target)
        config_reader = self.build_config_reader(target)

        def read_config_or_empty(source: PackageSource) -> ConfigWithPositions:
            try:
                config = None if source.kind == PUBLISHED else config_reader(source)
            except InputError:  # told already
                config = None
            return config or ({}, {})

        for resource, flaw in unmet_needs(desired, read_config_or_empty):
            # The lint reads packages; most projects have no such flaw, and some no package.
            from synapse_apply.packages.lint import withhold_secret

            finding = self._shown(withhold_secret(flaw), target)
            yield finding.with_changes(address=str(resource.address), target=target.name)
        yield from iter_cycle_findings(desired)
        for finding, _ in list_key_conflicts(
            (declared_natural_key(CATALOGUE[each.address.kind], each, desired), each)
            for each in desired.values()
        ):
            yield finding.with_changes(target=target.name)
        if not target.is_embedded:
            yield from _iter_limit_findings(target, desired.values())

    def _shown(self, flaw: PackageFlaw, target: Target) -> Diagnostic:
        finding = build_flaw_finding(flaw, is_only_for_embedded_backend=target.is_embedded)
        return with_shown_path(finding, self._project.root)


def build_package_linter(source: PackageSource) -> PackageLint:
    """A linter that checks a package while it is read."""
    from synapse_apply.manifests.decode.package_config import parse_and_check_config
    from synapse_apply.packages.lint import PackageLint

    return PackageLint(source, parse_and_check_config)


def with_shown_path(finding: Diagnostic, root: Path) -> Diagnostic:
    """The finding with its file relative to the working folder instead of to the project's."""
    return finding.with_changes(position=relate_to_working_folder(finding.position, root))


def relate_to_working_folder(position: Position | None, root: Path) -> Position | None:
    """The position with its file relative to the working folder instead of to the project's."""
    if position is None:
        return None
    return replace(position, file=shown_path(root / position.file))


def iter_cycle_findings(resources: Mapping[Address, Desired]) -> Iterator[Diagnostic]:
    """A finding for each cycle of resources that depend on each other."""
    graph = {address: resource.depends_on for address, resource in resources.items()}
    _, dependency_cycles = sort_by_dependencies_and_find_cycles(graph, lambda _address: 0)
    for cycle in dependency_cycles:
        first_resource = resources[cycle[0]]
        detail = " needs ".join(str(address) for address in reversed(cycle))
        flaw = PackageFlaw("package:dependency-cycle", detail, "take one of these dependencies out")
        yield build_flaw_finding(flaw).with_changes(
            position=first_resource.position, address=str(first_resource.address)
        )


def _iter_limit_findings(target: Target, resources: Iterable[Desired]) -> Iterator[Diagnostic]:
    """Values that the API page allows and the platform's own service refuses."""
    for resource in resources:
        kind = CATALOGUE[resource.address.kind]
        for name, constraint in kind.select_newest_binding(target.api).platform_constraints.items():
            value = resource.spec.get(name)
            if value is not None and constraint.accepts_value_in_create(value):
                continue
            description = (
                f"has no `{name}`" if value is None else f"has {name} {format_unless_secret(value)}"
            )
            flaw = PackageFlaw(
                f"package:{kind.prefix}-{name}",
                f"{resource.address} {description}, which the platform's own service does not "
                "accept",
                f"write {constraint.description}",
                resource.find_position((name,)),
                ("spec", name),
            )
            yield build_flaw_finding(flaw).with_changes(
                address=str(resource.address), target=target.name
            )
