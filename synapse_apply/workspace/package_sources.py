"""When a package source is read: once per command."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from synapse_apply.manifests.decode.draft import ConfigWithPositions
from synapse_apply.manifests.yaml.reader import read_single_mapping
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.packages import PackageFlaw
from synapse_apply.model.project import Project, Target
from synapse_apply.model.resource import Package, PackageSource
from synapse_apply.model.secrets.secret_rules import ClosedFiles
from synapse_apply.packages.zip_stamps import ZipStamps

if TYPE_CHECKING:
    from synapse_apply.packages.lint import PackageLint
    from synapse_apply.packages.sources import SourceFiles


class InspectedPackage(NamedTuple):
    """A package that was read and hashed; None where its findings say why it cannot be used."""

    package: Package | None
    findings: list[Diagnostic]


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
        package = self.inspect_package_once(source, target).package
        files = self._files(source, target)
        if files in self._flaws or package is None:
            return self._flaws.get(files, [])
        # The digest does not tell what is left out of the package, but its folder does.
        flaws_key = (files, package.digest)
        if flaws_key not in self._known_flaws:
            from synapse_apply.packages.inspection import lint_hashed_package

            lint = build_package_linter(files.source)
            lint_hashed_package(package, files.root, files.allow_files, lint)
            self._known_flaws[flaws_key] = lint.all_flaws()
        return self._known_flaws[flaws_key]

    def list_sources_with_read_config(self, target: Target) -> tuple[PackageSource, ...]:
        """The sources whose config.yaml was read for this target."""
        return tuple(
            files.source for files in self._configs if files.allow_files == target.allow_files
        )

    def _files(self, source: PackageSource, target: Target) -> SourceFiles:
        # Here, not above: a project of storages alone needs no package reader.
        from synapse_apply.packages.sources import SourceFiles, at_ref

        # The place in a manifest does not change what is read.
        plain_source = replace(source, position=None)
        if self._ref:
            plain_source = at_ref(plain_source, self._ref)
        return SourceFiles(plain_source, self._project.root, target.allow_files)

    def _inspect(self, files: SourceFiles) -> InspectedPackage:
        from synapse_apply.packages.inspection import read_source_as_package

        source = files.source
        if files.is_absent_zip():
            uncommitted_warning = warning_finding(
                "Package file not in that Git ref",
                f"{source.path} is not in {source.short_ref}, so its content is not known.",
                "What is published already is compared by its fields alone; nothing can be "
                "published.",
            )
            return InspectedPackage(None, [uncommitted_warning])
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
            return InspectedPackage(None, [*findings, *problem.diagnostics])
        finally:
            if lint is not None:
                self._flaws[files] = lint.limited_flaws()
        return InspectedPackage(package, findings)


def build_package_linter(source: PackageSource) -> PackageLint:
    """A linter that checks a package while it is read."""
    from synapse_apply.manifests.decode.package_config import parse_and_check_config
    from synapse_apply.packages.lint import PackageLint

    return PackageLint(source, parse_and_check_config)
