"""Which declared releases a package depends on, read from `dependencies` of its config.yaml.

A release is applied after the newest declared release that fits, else after the plugin.
What no manifest declares may exist on the backend: that is a finding and no dependency.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field, replace

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.manifests.decode.draft import ConfigWithPositions
from synapse_apply.manifests.decode.specifiers import (
    is_version_matching_or_false_if_unparsable,
    is_version_specifier,
)
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import FieldPath, Position, find_position_at_or_nearest_above
from synapse_apply.model.frozen import frozen, mutable
from synapse_apply.model.packages.rules import PackageFlaw
from synapse_apply.model.packages.versions import VersionSortKey, get_version_sort_key_or_none
from synapse_apply.model.phrases import format_field_path
from synapse_apply.model.resource import Desired, PackageSource
from synapse_apply.model.values import Reference

ReadConfig = Callable[[PackageSource], ConfigWithPositions]
_DEPENDENCIES_FIELD = "dependencies"


@frozen
class PackageNeed:
    """A plugin that a package needs, by its code, and the versions of it that fit."""

    code: str
    specifier: str
    path: FieldPath
    position: Position | None


def parse_valid_package_needs(config: ConfigWithPositions) -> tuple[PackageNeed, ...]:
    """The needs of a config.yaml; malformed ones are skipped, since package_config reports them."""
    value, positions = config
    dependencies = value.get(_DEPENDENCIES_FIELD)
    return tuple(
        PackageNeed(
            code,
            specifier,
            (_DEPENDENCIES_FIELD, code),
            find_position_at_or_nearest_above(positions, (_DEPENDENCIES_FIELD, code)),
        )
        for code, specifier in (dependencies.items() if isinstance(dependencies, Mapping) else ())
        if isinstance(specifier, str) and is_version_specifier(specifier)
    )


@frozen
class ReleaseNeeds:
    """A declared release, its plugin's code, and what its package needs."""

    release: Desired
    code: str
    needs: tuple[PackageNeed, ...]


@mutable
class DeclaredPlugins:
    """The declared plugins and their releases, by the plugin's code."""

    plugin_by_code: dict[str, Address] = field(default_factory=dict)
    releases_by_code: dict[str, list[Desired]] = field(default_factory=lambda: defaultdict(list))

    def find_newest_fitting_release_or_plugin(self, need: PackageNeed) -> Address | None:
        """The newest declared release that fits, else the plugin; None if neither is declared."""
        fitting_releases = [
            release
            for release in self.releases_by_code.get(need.code, ())
            if is_version_matching_or_false_if_unparsable(
                str(release.spec.get("version", "")), need.specifier
            )
        ]
        if fitting_releases:
            return max(fitting_releases, key=build_release_version_sort_key).address
        return self.plugin_by_code.get(need.code)

    def has_plugin_or_release_of_code(self, code: str) -> bool:
        return code in self.plugin_by_code or code in self.releases_by_code

    def list_declared_versions_sorted_as_text(self, code: str) -> list[str]:
        return sorted(
            str(release.spec.get("version", "")) for release in self.releases_by_code.get(code, ())
        )


def build_release_version_sort_key(
    release: Desired,
) -> tuple[bool, VersionSortKey | tuple[()], str]:
    """Sorts releases by version; versions that are not semantic come first, by their text."""
    version = str(release.spec.get("version", ""))
    sort_key = get_version_sort_key_or_none(version)
    return sort_key is not None, sort_key or (), version


def _collect_plugins_and_needs(
    declared: Mapping[Address, Desired], read_config: ReadConfig
) -> tuple[DeclaredPlugins, list[ReleaseNeeds]]:
    declared_plugins, release_needs = DeclaredPlugins(), []
    for resource in declared.values():
        code = resource.spec.get("code")
        if not CATALOGUE[resource.address.kind].carries_package:
            if isinstance(code, str):
                declared_plugins.plugin_by_code.setdefault(code, resource.address)
            continue
        config = ({}, {}) if resource.source is None else read_config(resource.source)
        owner = resource.spec.get(CATALOGUE[resource.address.kind].series_field)
        plugin = declared.get(owner.address) if isinstance(owner, Reference) else None
        # What the manifest declares counts, since that is sent; the package's code is only a
        # default.
        code = (plugin.spec.get("code") if plugin else None) or config[0].get("code")
        if isinstance(code, str):
            declared_plugins.releases_by_code[code].append(resource)
            if plugin is not None:
                declared_plugins.plugin_by_code.setdefault(code, plugin.address)
        if needs := parse_valid_package_needs(config):
            release_needs.append(
                ReleaseNeeds(resource, code if isinstance(code, str) else "", needs)
            )
    return declared_plugins, release_needs


# As `Desired.depends_on`, like a reference: order, graph, refusals and records need nothing new. On
# v2 a plugin that is created with its first release waits for what that needs. Cycles are searched
# in strongly connected components alone, because a checkout may hold thousands.
def with_package_dependencies(
    declared: Mapping[Address, Desired], read_config: ReadConfig
) -> dict[Address, Desired]:
    """The same resources, with what each package needs added to `depends_on`."""
    resources = dict(declared)
    declared_plugins, releases = _collect_plugins_and_needs(declared, read_config)
    for release_needs in releases:
        needed_addresses = (
            declared_plugins.find_newest_fitting_release_or_plugin(need)
            for need in release_needs.needs
            # A package that needs itself would make a cycle.
            if need.code != release_needs.code
        )
        dependencies = dict.fromkeys(
            (*release_needs.release.depends_on, *filter(None, needed_addresses))
        )
        resources[release_needs.release.address] = replace(
            release_needs.release, depends_on=tuple(dependencies)
        )
    return resources


def iter_releases_with_unmet_need_flaw(
    declared: Mapping[Address, Desired], read_config: ReadConfig
) -> Iterator[tuple[Desired, PackageFlaw]]:
    """The release and a flaw for each need that no manifest declares in a fitting version."""
    declared_plugins, releases = _collect_plugins_and_needs(declared, read_config)
    for release_needs in releases:
        for need in release_needs.needs:
            need_name = f"`{format_field_path(need.path)}` of {release_needs.release.address}"
            specifier_text = f" {need.specifier}" if need.specifier else ""
            # A package that needs itself is a flaw of its own, which package_config reports.
            if need.code == release_needs.code:
                continue
            if not declared_plugins.has_plugin_or_release_of_code(need.code):
                yield (
                    release_needs.release,
                    _build_need_flaw(
                        "missing",
                        need,
                        f"{need_name}: no manifest declares a plugin with code "
                        f"{need.code}{specifier_text}",
                        "declare it, so that it is published first; it may be there on the backend",
                    ),
                )
            elif (
                versions := declared_plugins.list_declared_versions_sorted_as_text(need.code)
            ) and declared_plugins.find_newest_fitting_release_or_plugin(
                need
            ) == declared_plugins.plugin_by_code.get(need.code):
                versions_text = ", ".join(versions)
                yield (
                    release_needs.release,
                    _build_need_flaw(
                        "version",
                        need,
                        f"{need_name} wants {need.code}{specifier_text}, and what is declared is "
                        f"{versions_text}",
                        "declare a release that fits, or change the specifier; an older one "
                        "may still be there on the backend",
                    ),
                )


def _build_need_flaw(rule_suffix: str, need: PackageNeed, detail: str, hint: str) -> PackageFlaw:
    return PackageFlaw(f"package:dependency-{rule_suffix}", detail, hint, need.position, need.path)
