"""Which members of a series are superseded or retained, and which are made by one call."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import field, replace

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.frozen import mutable
from synapse_apply.model.packages import VersionSortKey, version_sort_key
from synapse_apply.model.plan import Action, Change
from synapse_apply.model.values import Reference
from synapse_apply.planning import refusals
from synapse_apply.planning.decision import Decision, declared_dependencies
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


CARRIES, CARRIED_BY = "carries", "carried_by"
_CREATES = frozenset({Action.CREATE, Action.RECREATE})


def find_companion_address(change: Change) -> Address | None:
    """The member's address that the create of an owner makes by the same call; None for none."""
    text = change.extras.get(CARRIES)
    return Address.parse(text) if isinstance(text, str) else None


# One call may create two objects. Each has an intent before the call and is settled by its own key,
# so recovery handles them like two separate creates.
@mutable
class CreateCompanions:
    """Which member is created together with which owner; filled while decisions are made.

    `decide_resource` decides about one resource by itself; `selected` limits the plan.
    `predecessors` has what each owner comes after, from
    `extend_by_first_members`. To be asked in the order of dependencies.
    """

    resources: Mapping[Address, ResourceState]
    selected: frozenset[Address] | None
    decide_resource: Callable[[ResourceState], Decision]
    predecessors: Mapping[Address, Collection[Address]]
    _owner_of_member: dict[Address, Address] = field(default_factory=dict)
    _members_by_owner: dict[Address, list[ResourceState]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def __post_init__(self) -> None:
        for resource in _with_dependencies(self.resources, self.predecessors):
            for value in resource.desired.spec.values() if resource.desired is not None else ():
                if isinstance(value, Reference):
                    self._members_by_owner[value.address].append(resource)

    def add_companion(self, resource: ResourceState, decision: Decision) -> Decision:
        """The decision on an owner with its first member, or on a member with its owner.

        Where the owner needs a first member and none can be created with it, it is refused.
        """
        owner = self._owner_of_member.get(resource.address) if self._owner_of_member else None
        # The owner was decided before: in dependency order its members come later.
        if owner is not None:
            return _with_companion(
                decision, CARRIED_BY, owner, f"made by the call that creates {owner}"
            )
        bootstraps = resource.binding.bootstrap
        if bootstraps is None or decision.is_blocked or decision.change.action not in _CREATES:
            return decision
        rejected: list[Decision] = []
        members = self._members_by_owner[resource.address]
        # The call takes one member only; the others are created by calls of their own.
        for member in sorted(members, key=_creation_order):
            if member.address.kind != bootstraps.kind:
                continue
            member_decision = self.decide_resource(member)
            if (
                member_decision.change.action in _CREATES
                and not member_decision.is_blocked
                # All that the member needs has to be done before the owner's call.
                and set(declared_dependencies(member))
                <= {resource.address, *self.predecessors[resource.address]}
                and not self._is_unselected(member.address)
            ):
                self._owner_of_member[member.address] = resource.address
                note = f"its first {bootstraps.kind} {member.address} is made by the same call"
                # The one call needs what either object depends on.
                dependencies = {*decision.change.depends_on, *declared_dependencies(member)} - {
                    resource.address
                }
                change = replace(decision.change, depends_on=tuple(sorted(dependencies)))
                return _with_companion(
                    replace(decision, change=change), CARRIES, member.address, note
                )
            rejected.append(member_decision)
        changes = [refused.change for refused in rejected]
        return decision.refused(
            refusals.no_first_member_refusal(
                resource, bootstraps.kind, changes, self._is_unselected
            )
        )

    def _is_unselected(self, address: Address) -> bool:
        return self.selected is not None and address not in self.selected


def extend_by_first_members(
    resources: Mapping[Address, ResourceState], graph: Mapping[Address, Collection[Address]]
) -> dict[Address, Collection[Address]]:
    """The graph in which an owner to be created also comes after what its first member needs."""
    extended_graph = dict(graph)
    first_members: dict[Address, ResourceState] = {}
    for resource in _with_dependencies(resources, graph):
        for value in resource.desired.spec.values() if resource.desired is not None else ():
            owner = resources.get(value.address) if isinstance(value, Reference) else None
            if (
                owner is None
                or owner.lookup_result.observed is not None
                or owner.address not in graph
            ):
                continue
            bootstraps = owner.binding.bootstrap
            if bootstraps is None or resource.address.kind != bootstraps.kind:
                continue
            current_first = first_members.get(owner.address)
            if current_first is None or _creation_order(resource) < _creation_order(current_first):
                first_members[owner.address] = resource
    # Whether this member can be created is decided later. Here only the order is prepared, since a
    # dependency that comes after the owner could not be created in time.
    for owner_address, member in first_members.items():
        extended_graph[owner_address] = tuple(
            dict.fromkeys(
                (
                    *graph[owner_address],
                    *(need for need in declared_dependencies(member) if need != owner_address),
                )
            )
        )
    return extended_graph


def _with_dependencies(
    resources: Mapping[Address, ResourceState], graph: Mapping[Address, Collection[Address]]
) -> Iterator[ResourceState]:
    """The declared resources that depend on anything, and so may refer to an owner."""
    return (resources[address] for address, needs in graph.items() if needs)


def _creation_order(
    resource: ResourceState,
) -> tuple[int, tuple[bool, VersionSortKey | tuple[()], Address]]:
    """Sorts members by their number of dependencies, then by version, lowest first."""
    version = (
        str(resource.desired.spec.get(resource.type.version_field, "")) if resource.desired else ""
    )
    parsed_version = version_sort_key(version)
    return len(declared_dependencies(resource)), (
        parsed_version is None,
        parsed_version or (),
        resource.address,
    )


def _with_companion(decision: Decision, extra_key: str, companion: Address, note: str) -> Decision:
    change = decision.change
    extras = {**change.extras, extra_key: str(companion)}
    return replace(decision, change=replace(change, extras=extras, notes=(*change.notes, note)))
