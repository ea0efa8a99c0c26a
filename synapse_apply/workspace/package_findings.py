"""Which findings `validate` reports about packages, identities and the platform's limits.

For the embedded backend some are warnings that are errors elsewhere: it accepts what the
platform's own tools refuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.natural_keys import (
    derive_natural_key_from_declared_parents,
    list_conflicts_of_equal_keys,
)
from synapse_apply.manifests.decode.draft import ConfigWithPositions
from synapse_apply.manifests.decode.loading import LoadedManifests
from synapse_apply.manifests.decode.package_config import iter_releases_with_unmet_need_flaw
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, Position, Severity
from synapse_apply.model.errors import InputError
from synapse_apply.model.packages import PackageFlaw, build_flaw_finding
from synapse_apply.model.project import Target
from synapse_apply.model.resource import PUBLISHED, Desired, PackageSource
from synapse_apply.model.secrets.credentials import format_unless_it_holds_secret_of_known_form
from synapse_apply.planning.order import sort_by_dependencies_and_find_cycles
from synapse_apply.views.paths import format_path_relative_to_cwd_if_inside
from synapse_apply.workspace.package_sources import PackageSources


def list_package_findings_of_targets(
    root: Path, sources: PackageSources, target_manifests: Sequence[LoadedManifests]
) -> tuple[Diagnostic, ...]:
    """The findings about the packages of these targets; one that several targets share comes once.

    `root` is the project's folder; `sources` must have been created with `should_lint`.
    """
    findings_by_key: dict[Diagnostic, list[Diagnostic]] = {}
    for manifests in target_manifests:
        for finding in _iter_package_findings_of_target(root, sources, manifests):
            finding_key = finding.with_changes(severity=Severity.NOTE, target=None)
            findings_by_key.setdefault(finding_key, []).append(finding)
    return tuple(map(_take_severest_of_same_finding, findings_by_key.values()))


def _take_severest_of_same_finding(findings: Sequence[Diagnostic]) -> Diagnostic:
    """The most severe of findings that differ only in target and severity."""
    severest = next((finding for finding in findings if finding.is_error), findings[0])
    return (
        severest
        if len({finding.target for finding in findings}) == 1
        else severest.with_changes(target=None)
    )


def with_path_relative_to_working_folder(finding: Diagnostic, root: Path) -> Diagnostic:
    """The finding with its file relative to the working folder instead of to the project's."""
    return finding.with_changes(position=relate_to_working_folder(finding.position, root))


def relate_to_working_folder(position: Position | None, root: Path) -> Position | None:
    """The position with its file relative to the working folder instead of to the project's."""
    if position is None:
        return None
    return replace(position, file=format_path_relative_to_cwd_if_inside(root / position.file))


def _iter_package_findings_of_target(
    root: Path, sources: PackageSources, manifests: LoadedManifests
) -> Iterator[Diagnostic]:
    target = manifests.target
    # Also those of documents that have errors of their own, and of plugins without a release.
    for source in sources.list_sources_with_read_config(target):
        for flaw in sources.list_flaws(source, target):
            if (replace(source, position=None), flaw.rule) in manifests.reported_flaws:
                continue
            yield with_path_relative_to_working_folder(
                build_flaw_finding(flaw, is_only_for_embedded_backend=target.is_embedded), root
            )
    yield from _iter_unmet_need_findings(root, sources, manifests)
    yield from iter_dependency_cycle_findings(manifests.desired)
    desired = manifests.desired
    for finding, _ in list_conflicts_of_equal_keys(
        (
            derive_natural_key_from_declared_parents(CATALOGUE[each.address.kind], each, desired),
            each,
        )
        for each in desired.values()
    ):
        yield finding.with_changes(target=target.name)
    if not target.is_embedded:
        yield from _iter_platform_limit_findings(target, manifests.desired.values())


def _iter_unmet_need_findings(
    root: Path, sources: PackageSources, manifests: LoadedManifests
) -> Iterator[Diagnostic]:
    config_reader = sources.build_config_reader(manifests.target)

    def read_config_or_empty(source: PackageSource) -> ConfigWithPositions:
        try:
            config = None if source.kind == PUBLISHED else config_reader(source)
        except InputError:  # told already
            config = None
        return config or ({}, {})

    for resource, flaw in iter_releases_with_unmet_need_flaw(
        manifests.desired, read_config_or_empty
    ):
        # The lint reads packages; most projects have no such flaw, and some no package.
        from synapse_apply.packages.lint import withhold_secret

        finding = with_path_relative_to_working_folder(
            build_flaw_finding(
                withhold_secret(flaw),
                is_only_for_embedded_backend=manifests.target.is_embedded,
            ),
            root,
        )
        yield finding.with_changes(address=str(resource.address), target=manifests.target.name)


def iter_dependency_cycle_findings(resources: Mapping[Address, Desired]) -> Iterator[Diagnostic]:
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


def _iter_platform_limit_findings(
    target: Target, resources: Iterable[Desired]
) -> Iterator[Diagnostic]:
    """Values that the API page allows and the platform's own service refuses."""
    for resource in resources:
        kind = CATALOGUE[resource.address.kind]
        for name, constraint in kind.select_newest_binding(target.api).platform_constraints.items():
            value = resource.spec.get(name)
            if value is not None and constraint.accepts_value_in_create(value):
                continue
            description = (
                f"has no `{name}`"
                if value is None
                else f"has {name} {format_unless_it_holds_secret_of_known_form(value)}"
            )
            flaw = PackageFlaw(
                f"package:{kind.prefix}-{name}",
                f"{resource.address} {description}, which the platform's own service does not take",
                f"write {constraint.description}",
                resource.find_position((name,)),
                ("spec", name),
            )
            yield build_flaw_finding(flaw).with_changes(
                address=str(resource.address), target=target.name
            )
