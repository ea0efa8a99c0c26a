"""What is said of the packages that targets declare, and of what these need: rules to findings.

A package for the embedded backend alone gets warnings where others get errors: that backend takes
what the platform's own tools refuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.manifests.draft import Config
from synapse_apply.manifests.loading import Loaded
from synapse_apply.manifests.needing import unmet_needs
from synapse_apply.model.address import Address
from synapse_apply.model.credentials import hide_secret
from synapse_apply.model.desired import Desired, PackageSource
from synapse_apply.model.diagnostic import Diagnostic, Severity
from synapse_apply.model.errors import InputError
from synapse_apply.model.package_rules import Flaw, finding_of
from synapse_apply.model.project import Target
from synapse_apply.planning.order import dependency_order
from synapse_apply.session.declare import shown
from synapse_apply.session.sources import Sources

_PUBLISHED = "published"


def lint(root: Path, sources: Sources, loaded: Sequence[Loaded]) -> tuple[Diagnostic, ...]:
    """The findings about all packages of some targets; what several share is said once.

    `root` is the project's folder; `sources` has read the packages.
    """
    alike: dict[Diagnostic, list[Diagnostic]] = {}
    for one in loaded:
        for finding in _of_target(root, sources, one):
            same = finding.with_(severity=Severity.NOTE, target=None)
            alike.setdefault(same, []).append(finding)
    return tuple(map(_severest, alike.values()))


def _severest(alike: Sequence[Diagnostic]) -> Diagnostic:
    """One of findings that differ in their target and in how they weigh."""
    found = next((one for one in alike if one.is_error), alike[0])
    return found if len({one.target for one in alike}) == 1 else found.with_(target=None)


def located(finding: Diagnostic, root: Path) -> Diagnostic:
    """A finding in a package of a project's folder, at the place seen from the working folder."""
    at = finding.position
    return (
        finding if at is None else finding.with_(position=replace(at, file=shown(root / at.file)))
    )


def _of_target(root: Path, sources: Sources, loaded: Loaded) -> Iterator[Diagnostic]:
    target = loaded.target
    # Also those of documents that have errors of their own, and of plugins without a release.
    for source in sources.asked_for(target):
        for flaw in sources.flaws(source, target):
            if (replace(source, position=None), flaw.rule) in loaded.reported_flaws:
                continue
            yield located(finding_of(flaw, embedded=target.is_embedded), root)
    yield from _needs(root, sources, loaded)
    yield from cycles(loaded.desired)
    if not target.is_embedded:
        yield from _unlike_the_platform(target, loaded.desired.values())


def _needs(root: Path, sources: Sources, loaded: Loaded) -> Iterator[Diagnostic]:
    read = sources.reader(loaded.target)

    def config_of(source: PackageSource) -> Config:
        try:
            found = None if source.kind == _PUBLISHED else read(source)
        except InputError:  # told already
            found = None
        return found or ({}, {})

    from synapse_apply.packages.lint import unrevealing

    for one, flaw in unmet_needs(loaded.desired, config_of):
        finding = located(finding_of(unrevealing(flaw), embedded=loaded.target.is_embedded), root)
        yield finding.with_(address=str(one.address), target=loaded.target.name)


def cycles(declared: Mapping[Address, Desired]) -> Iterator[Diagnostic]:
    """A finding for each circle of resources that need each other."""
    graph = {address: one.depends_on for address, one in declared.items()}
    _, found = dependency_order(graph, lambda _address: 0)
    for cycle in found:
        first = declared[cycle[0]]
        detail = " needs ".join(str(address) for address in reversed(cycle))
        flaw = Flaw("package:dependency-cycle", detail, "take one of these dependencies out")
        yield finding_of(flaw).with_(position=first.position, address=str(first.address))


def _unlike_the_platform(target: Target, declared: Iterable[Desired]) -> Iterator[Diagnostic]:
    """Values that the API page leaves free, and the platform's own service does not."""
    for one in declared:
        kind = CATALOGUE[one.address.kind]
        for name, takes in kind.binding(target.api).platform_takes.items():
            value = one.spec.get(name)
            if value is not None and takes.fits(value):
                continue
            told = f"has no `{name}`" if value is None else f"has {name} {hide_secret(value)}"
            flaw = Flaw(
                f"package:{kind.prefix}-{name}",
                f"{one.address} {told}, which the platform's own service does not take",
                f"write {takes.words}",
                one.place((name,)),
                ("spec", name),
            )
            yield finding_of(flaw).with_(address=str(one.address), target=target.name)
