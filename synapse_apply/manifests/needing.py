"""What a package's config.yaml says of other plugins, as edges between what is declared.

A release comes after the newest declared release of the plugin that fits, else after the plugin.
What no manifest offers may be on the backend: that is a finding, and no edge.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.manifests.draft import Config
from synapse_apply.manifests.places import nearest
from synapse_apply.manifests.specifiers import fits, is_specifier
from synapse_apply.manifests.wording import dotted
from synapse_apply.model.address import Address
from synapse_apply.model.desired import Desired, PackageSource
from synapse_apply.model.diagnostic import Path, Position
from synapse_apply.model.frozen import frozen
from synapse_apply.model.package_rules import Flaw
from synapse_apply.model.values import Reference
from synapse_apply.model.versions import Order, order

ConfigOf = Callable[[PackageSource], Config]
_FIELD = "dependencies"


@frozen
class Need:
    """A plugin that a package needs, by its code, and the versions of it that fit."""

    code: str
    specifier: str
    path: Path
    position: Position | None


def needs_of(config: Config) -> tuple[Need, ...]:
    """Those of a config.yaml; what is malformed there is told elsewhere."""
    value, positions = config
    listed = value.get(_FIELD)
    return tuple(
        Need(code, specifier, (_FIELD, code), nearest(positions, (_FIELD, code)))
        for code, specifier in (listed.items() if isinstance(listed, Mapping) else ())
        if isinstance(specifier, str) and is_specifier(specifier)
    )


@frozen
class Needing:
    """A declared release, its plugin's code, and what its package needs."""

    one: Desired
    code: str
    needs: tuple[Need, ...]


@dataclass(slots=True)
class Offers:
    """What is declared of each plugin, by its code: the plugin, and its releases."""

    owners: dict[str, Address] = field(default_factory=dict)
    members: dict[str, list[Desired]] = field(default_factory=lambda: defaultdict(list))

    def fitting(self, need: Need) -> Address | None:
        """The newest declared release that fits, or the plugin where it has none that does."""
        found = [
            one
            for one in self.members.get(need.code, ())
            if fits(str(one.spec.get("version", "")), need.specifier)
        ]
        if found:
            return max(found, key=_by_version).address
        return self.owners.get(need.code)

    def is_known(self, code: str) -> bool:
        return code in self.owners or code in self.members

    def versions(self, code: str) -> list[str]:
        return sorted(str(one.spec.get("version", "")) for one in self.members.get(code, ()))


def _by_version(one: Desired) -> tuple[bool, Order | tuple[()], str]:
    version = str(one.spec.get("version", ""))
    at = order(version)
    return at is not None, at or (), version


def _collect_needs(
    declared: Mapping[Address, Desired], config_of: ConfigOf
) -> tuple[Offers, list[Needing]]:
    offers, needing = Offers(), []
    for one in declared.values():
        code = one.spec.get("code")
        if not CATALOGUE[one.address.kind].carries_package:
            if isinstance(code, str):
                offers.owners.setdefault(code, one.address)
            continue
        config = ({}, {}) if one.source is None else config_of(one.source)
        owner = one.spec.get(CATALOGUE[one.address.kind].series)
        plugin = declared.get(owner.address) if isinstance(owner, Reference) else None
        code = (plugin.spec.get("code") if plugin else None) or config[0].get("code")
        if isinstance(code, str):
            offers.members[code].append(one)
            if plugin is not None:
                offers.owners.setdefault(code, plugin.address)
        if needs := needs_of(config):
            needing.append(Needing(one, code if isinstance(code, str) else "", needs))
    return offers, needing


def with_needs(declared: Mapping[Address, Desired], config_of: ConfigOf) -> dict[Address, Desired]:
    """The same resources, each depending on what its package needs as well."""
    made = dict(declared)
    offers, needing = _collect_needs(declared, config_of)
    for row in needing:
        found = (offers.fitting(need) for need in row.needs if need.code != row.code)
        needed = dict.fromkeys((*row.one.depends_on, *filter(None, found)))
        made[row.one.address] = replace(row.one, depends_on=tuple(needed))
    return made


def unmet_needs(
    declared: Mapping[Address, Desired], config_of: ConfigOf
) -> Iterator[tuple[Desired, Flaw]]:
    """What packages need and no manifest offers, or offers in another version."""
    offers, needing = _collect_needs(declared, config_of)
    for row in needing:
        for need in row.needs:
            named = f"`{dotted(need.path)}` of {row.one.address}"
            wanted = f" {need.specifier}" if need.specifier else ""
            if need.code == row.code:
                continue  # told of the package itself
            if not offers.is_known(need.code):
                yield (
                    row.one,
                    _flaw(
                        "missing",
                        need,
                        f"{named}: no manifest declares a plugin with code {need.code}{wanted}",
                        "declare it, so that it is published first; it may be there on the backend",
                    ),
                )
            elif (versions := offers.versions(need.code)) and offers.fitting(
                need
            ) == offers.owners.get(need.code):
                there = ", ".join(versions)
                yield (
                    row.one,
                    _flaw(
                        "version",
                        need,
                        f"{named} wants {need.code}{wanted}, and what is declared is {there}",
                        "declare a release that fits, or change the specifier; an older one "
                        "may still be there on the backend",
                    ),
                )


def _flaw(what: str, need: Need, detail: str, hint: str) -> Flaw:
    return Flaw(f"package:dependency-{what}", detail, hint, need.position, need.path)
