"""When a package source is read: once per command."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from synapse_apply.manifests.decode.draft import ConfigWithPositions
from synapse_apply.manifests.yaml.reader import read_single_mapping
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.packages.rules import PackageFlaw
from synapse_apply.model.project import Project, Target
from synapse_apply.model.resource import Package, PackageSource
from synapse_apply.packages.zip_stamps import ZipStamps

if TYPE_CHECKING:
    from synapse_apply.packages.lint import PackageLint

_SourceKey = tuple[PackageSource, tuple[str, ...]]


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
        ref: str = "",
        *,
        should_lint: bool = False,
        known_flaws: dict[Hashable, list[PackageFlaw]] | None = None,
    ) -> None:
        self._project = project
        self._should_lint = should_lint
        self._flaws: dict[_SourceKey, list[PackageFlaw]] = {}
        self._known_flaws = {} if known_flaws is None else known_flaws
        self._ref = ref
        self.zip_stamps = ZipStamps()
        # The text of config.yaml, and the name of the file in messages.
        self._configs: dict[_SourceKey, tuple[str, str] | None] = {}
        self._packages: dict[_SourceKey, InspectedPackage] = {}

    def build_config_reader(
        self, target: Target
    ) -> Callable[[PackageSource], ConfigWithPositions | None]:
        """A function that reads a source's config.yaml for this target; it raises InputError."""

        def read_config_or_none(source: PackageSource) -> ConfigWithPositions | None:
            config = self._get_or_read_config_or_none(*self._build_source_key(source, target))
            return None if config is None else read_single_mapping(*config)

        return read_config_or_none

    def inspect_package_once(self, source: PackageSource, target: Target) -> InspectedPackage:
        """Read and hash a source, once; never raises for what is wrong with it."""
        key = self._build_source_key(source, target)
        if key not in self._packages:
            self._packages[key] = self._read_and_lint_package_or_findings(key)
        return self._packages[key]

    def list_flaws(self, source: PackageSource, target: Target) -> list[PackageFlaw]:
        """The flaws of a source, each package looked into once; with `should_lint` not all alike.

        InputError where it is no longer what was hashed.
        """
        package = self.inspect_package_once(source, target).package
        key = self._build_source_key(source, target)
        if key in self._flaws or package is None:
            return self._flaws.get(key, [])
        # The digest does not tell what is left out of the package, but its folder does.
        flaws_key = (key, package.digest)
        if flaws_key not in self._known_flaws:
            from synapse_apply.packages.inspection import show_hashed_package_to_watcher

            package_linter = build_package_linter(key[0])
            show_hashed_package_to_watcher(package, self._project.root, key[1], package_linter)
            self._known_flaws[flaws_key] = package_linter.parse_config_and_list_flaws()
        return self._known_flaws[flaws_key]

    def list_sources_with_read_config(self, target: Target) -> tuple[PackageSource, ...]:
        """The sources whose config.yaml was read for this target."""
        return tuple(
            source for source, allowed_files in self._configs if allowed_files == target.allow_files
        )

    def _get_or_read_config_or_none(
        self, source: PackageSource, allow_files: tuple[str, ...]
    ) -> tuple[str, str] | None:
        key = (source, allow_files)
        if key not in self._configs:
            self._configs[key] = self._read_config_text_or_none(source, allow_files)
        return self._configs[key]

    def _build_source_key(self, source: PackageSource, target: Target) -> _SourceKey:
        # The place in a manifest does not change what is read.
        plain_source = replace(source, position=None)
        if self._ref:
            from synapse_apply.packages.source.open_source import with_git_ref_if_folder_or_zip

            plain_source = with_git_ref_if_folder_or_zip(plain_source, self._ref)
        return plain_source, target.allow_files

    def _is_uncommitted_zip(self, source: PackageSource) -> bool:
        """Whether it is a zip that the commit to read does not have, such as a build result."""
        from synapse_apply.model.resource import FILE
        from synapse_apply.packages.source.open_source import is_zip_in_commit_of_its_ref

        is_zip = source.kind == FILE and bool(source.ref)
        return is_zip and not is_zip_in_commit_of_its_ref(source, self._project.root)

    def _read_config_text_or_none(
        self, source: PackageSource, allow_files: tuple[str, ...]
    ) -> tuple[str, str] | None:
        # Here, not above: a project of storages alone needs no package reader.
        from synapse_apply.packages.source.open_source import read_config_text_or_none

        if self._is_uncommitted_zip(source):
            return None
        return read_config_text_or_none(source, self._project.root, allow_files)

    def _read_and_lint_package_or_findings(self, key: _SourceKey) -> InspectedPackage:
        from synapse_apply.packages.inspection import read_source_as_package

        findings: list[Diagnostic] = []
        source, allow_files = key
        if self._is_uncommitted_zip(source):
            return InspectedPackage(None, [_build_uncommitted_warning(source)])
        package_linter = build_package_linter(source) if self._should_lint else None
        try:
            package = read_source_as_package(
                source,
                self._project.root,
                self._project.max_package_size,
                allow_files=allow_files,
                warn=findings.append,
                zip_stamps=self.zip_stamps,
                watcher=package_linter,
            )
        except InputError as problem:
            return InspectedPackage(None, [*findings, *problem.diagnostics])
        finally:
            if package_linter is not None:
                self._flaws[key] = package_linter.parse_config_and_list_limited_flaws()
        return InspectedPackage(package, findings)


def build_package_linter(source: PackageSource) -> PackageLint:
    """A linter that checks a package while it is read."""
    from synapse_apply.manifests.decode.package_config import parse_and_check_config
    from synapse_apply.packages.lint import PackageLint

    return PackageLint(source, parse_and_check_config)


def _build_uncommitted_warning(source: PackageSource) -> Diagnostic:
    return warning_finding(
        "Package file not in that Git ref",
        f"{source.path} is not in {source.short_ref}, so its content is not known.",
        "What is published already is compared by its fields alone; nothing can be published.",
    )
