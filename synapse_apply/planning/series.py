"""Which members of a series (such as releases of a plugin) are superseded or retained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.frozen import mutable
from synapse_apply.model.packages import VersionSortKey, version_sort_key
from synapse_apply.planning.plan_input import ResourceState, SeriesKey


@mutable
class SeriesMembers:
    """The declared members of one series, and every version that is taken.

    `retain` is how many of the newest are kept; None keeps all.
    """

    declared: dict[Address, str] = field(default_factory=dict)
    recorded: dict[Address, str] = field(default_factory=dict)
    retain: int | None = None

    @property
    def newest_declared_sort_key(self) -> VersionSortKey | None:
        """The highest declared version that can be ordered; None for none."""
        return max(filter(None, map(version_sort_key, self.declared.values())), default=None)

    def is_retained(self, version: VersionSortKey) -> bool:
        """Whether a version is among the newest that are kept."""
        # Recorded versions count as well: they are published, though not declared any more.
        known_versions = sorted(
            {
                parsed_version
                for parsed_version in map(version_sort_key, self.declared_and_recorded_versions)
                if parsed_version is not None
            },
            reverse=True,
        )
        return self.retain is None or version in known_versions[: self.retain]

    @property
    def declared_and_recorded_versions(self) -> set[str]:
        return {*self.declared.values(), *self.recorded.values()}


SeriesMap = Mapping[SeriesKey, SeriesMembers]


def group_by_series(resources: Iterable[ResourceState]) -> SeriesMap:
    """The series of all declared and recorded resources; kinds without series have none."""
    groups: dict[SeriesKey, SeriesMembers] = {}
    retain_by_owner: dict[str, int | None] = {}
    for resource in resources:
        if resource.desired is not None:
            retain_by_owner[str(resource.address)] = resource.desired.retain
        if not resource.type.series_field:
            continue
        if resource.desired is not None:
            name, version = resource.type.locate_in_series(resource.desired.spec)
            members = groups.setdefault(SeriesKey(resource.address.kind, name), SeriesMembers())
            members.declared[resource.address] = version
        elif resource.record is not None and resource.record.series:
            members = groups.setdefault(
                SeriesKey(resource.address.kind, resource.record.series), SeriesMembers()
            )
            members.recorded[resource.address] = resource.record.version
    for (_, name), members in groups.items():
        # `retain` is declared by the owner, whose manifest may come after those of its members.
        members.retain = retain_by_owner.get(name)
    return groups


def is_of_declared_series(resource: ResourceState, series: SeriesMap) -> bool:
    """Whether a record is of a series that has a declared member, both with comparable versions.

    An undeclared one is then kept silently, as its series continues without it:
    a version that a declared one supersedes, and one newer than all declared ones (the manifest
    went back), which gives a warning.
    """
    record = resource.record
    if record is None or not record.series:
        return False
    members = series.get(SeriesKey(resource.address.kind, record.series))
    version = version_sort_key(record.version)
    return (
        members is not None and version is not None and members.newest_declared_sort_key is not None
    )


def is_beyond_retention(resource: ResourceState, series: SeriesMap) -> bool:
    """Whether a superseded record is older than all that its series keeps."""
    record = resource.record
    version = version_sort_key(record.version) if record is not None else None
    members = (
        series.get(SeriesKey(resource.address.kind, record.series)) if record is not None else None
    )
    if members is None or version is None or not is_of_declared_series(resource, series):
        return False
    return not members.is_retained(version)


# A delete or forget of a superseded member waits for the declared members that are still to be
# created. Otherwise one mistyped version, which is refused, would remove all others.
def declared_successors(resource: ResourceState, series: SeriesMap) -> tuple[Address, ...]:
    """The declared members of the series that an undeclared record belongs to."""
    record = resource.record
    if record is None or not record.series:
        return ()
    members = series.get(SeriesKey(resource.address.kind, record.series))
    return tuple(members.declared) if members is not None else ()


def lowered_versions(
    series: SeriesMap, resources: Mapping[Address, ResourceState]
) -> list[Diagnostic]:
    """A warning for each series whose declared versions are lower than a recorded one."""
    warnings = []
    for _, members in sorted(series.items()):
        newest = members.newest_declared_sort_key
        higher_versions = [
            (parsed_version, address)
            for address, version in members.recorded.items()
            if (parsed_version := version_sort_key(version)) is not None
            and newest is not None
            and parsed_version > newest
        ]
        if higher_versions:
            warnings.append(_lowered_version(members, max(higher_versions)[1], resources))
    return warnings


def _lowered_version(
    members: SeriesMembers, recorded: Address, resources: Mapping[Address, ResourceState]
) -> Diagnostic:
    ordered = [
        (parsed_version, address)
        for address, text in members.declared.items()
        if (parsed_version := version_sort_key(text))
    ]
    declared = max(ordered)[1]
    resource = resources[declared]
    position = (
        resource.desired.find_position((resource.type.version_field,)) if resource.desired else None
    )
    return warning_finding(
        "Declared version is lower than a published one",
        f"{declared} is declared, and {recorded} was published before it.",
        "Nothing is taken back by this; declare a higher version to publish again.",
        position=position,
        address=str(declared),
    )
