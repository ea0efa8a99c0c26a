"""Which members of a series are superseded or retained, and which are made by one call."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import field

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.frozen import mutable
from synapse_apply.model.packages import VersionSortKey, version_sort_key
from synapse_apply.model.plan import Change
from synapse_apply.model.values import Reference
from synapse_apply.planning import refusals
from synapse_apply.planning.decision import CREATES, Decision
from synapse_apply.planning.plan_input import PlanOptions, ResourceState, SeriesKey


@mutable
class SeriesMembers:
    """The declared members of one series, and every version that is taken.

    `retain` is how many of the newest are kept; None keeps all.
    """

    declared: dict[Address, str] = field(default_factory=dict)
    recorded: dict[Address, str] = field(default_factory=dict)
    retain: int | None = None

    @property
    def newest(self) -> VersionSortKey | None:
        """The highest declared version that can be ordered; None for none."""
        return max(filter(None, map(version_sort_key, self.declared.values())), default=None)

    @property
    def versions(self) -> set[str]:
        # Recorded versions count as well: they are published, though not declared any more.
        return {*self.declared.values(), *self.recorded.values()}


class Series:
    """The series of all declared and recorded resources; kinds without series have none."""

    def __init__(self, resources: Iterable[ResourceState]) -> None:
        self.by_key: dict[SeriesKey, SeriesMembers] = {}
        retain_by_owner: dict[str, int | None] = {}
        for resource in resources:
            desired, record = resource.desired, resource.record
            if desired is not None:
                retain_by_owner[str(resource.address)] = desired.retain
            if resource.type.series_field and (desired or (record and record.series)):
                key, version = resource.member
                members = self.by_key.setdefault(key, SeriesMembers())
                (members.declared if desired else members.recorded)[resource.address] = version
        for (_, name), members in self.by_key.items():
            # `retain` is declared by the owner, whose manifest may come after those of its members.
            members.retain = retain_by_owner.get(name)

    def of(self, resource: ResourceState) -> SeriesMembers:
        """The members of a resource's series; none where it has no series."""
        return self.by_key.get(resource.member[0]) or SeriesMembers()

    def continues(self, resource: ResourceState) -> bool:
        """Whether the series of an undeclared record has a declared member, with versions to order.

        The record is then kept silently, as its series continues without it: a version that a
        declared one supersedes, and one newer than all declared ones (the manifest went back),
        which gives a warning.
        """
        version = version_sort_key(resource.member[1])
        return version is not None and self.of(resource).newest is not None

    def is_beyond_retention(self, resource: ResourceState) -> bool:
        """Whether a superseded record is older than all that its series keeps."""
        members = self.of(resource)
        if members.retain is None or not self.continues(resource):
            return False
        versions = sorted({*filter(None, map(version_sort_key, members.versions))}, reverse=True)
        return version_sort_key(resource.member[1]) not in versions[: members.retain]

    def is_superseded(self, resource: ResourceState) -> bool:
        """Whether a newer member than a declared one is declared as well."""
        newest, version = self.of(resource).newest, version_sort_key(resource.member[1])
        return newest is not None and version is not None and version < newest

    def lowered_versions(self, resources: Mapping[Address, ResourceState]) -> list[Diagnostic]:
        """A warning for each series whose declared versions are lower than a recorded one."""
        warnings = []
        for _, members in sorted(self.by_key.items()):
            (newest, declared), (recorded_newest, recorded) = (
                max(
                    (
                        (parsed, address)
                        for address, version in side.items()
                        if (parsed := version_sort_key(version)) is not None
                    ),
                    default=(None, None),
                )
                for side in (members.declared, members.recorded)
            )
            if not (newest and declared and recorded_newest and recorded_newest > newest):
                continue
            resource = resources[declared]
            warnings.append(
                warning_finding(
                    "Declared version is lower than a published one",
                    f"{declared} is declared, but {recorded} is already published.",
                    "A lower version does not withdraw the higher one. To publish again, declare "
                    "a higher version.",
                    position=resource.position((resource.type.version_field,)),
                    address=str(declared),
                )
            )
        return warnings


CARRIES, CARRIED_BY = "carries", "carried_by"


def find_companion_address(change: Change, key: str = CARRIES) -> Address | None:
    """The member's address that the create of an owner makes by the same call; None for none.

    With CARRIED_BY, the owner's whose create makes a member.
    """
    text = change.extras.get(key)
    return Address.parse(text) if isinstance(text, str) else None


# One call may create two objects. Each has an intent before the call and is settled by its own key,
# so recovery handles them like two separate creates.
class Companions:
    """Which member is created together with which owner; filled while decisions are made.

    `decide` decides about one resource by itself. `graph` has what each resource comes after: an
    owner to be created also comes after what its first member needs. To be asked in that order.
    """

    def __init__(
        self,
        resources: Mapping[Address, ResourceState],
        needs: Mapping[Address, Collection[Address]],
        decide: Callable[[ResourceState], Decision],
        options: PlanOptions,
    ) -> None:
        self.graph, self._decide, self._options = dict(needs), decide, options
        self._owners: dict[Address, Address] = {}
        self._members: dict[Address, list[ResourceState]] = defaultdict(list)
        for address, needed in needs.items():
            for value in resources[address].spec.values() if needed else ():
                if isinstance(value, Reference):
                    self._members[value.address].append(resources[address])
        # Whether the first member can be created is decided later. Here only the order is prepared,
        # since a dependency that comes after the owner could not be created in time.
        for address in self._members:
            owner = resources.get(address)
            if owner is None or owner.observed is not None or address not in needs:
                continue
            if candidates := self._candidates(owner):
                needed = {*candidates[0].needs} - {address, *needs[address]}
                self.graph[address] = (*needs[address], *sorted(needed))

    def _candidates(self, owner: ResourceState) -> list[ResourceState]:
        """The members that may be made with an owner: by their number of needs, then by version."""

        def order(member: ResourceState) -> tuple[int, bool, VersionSortKey | tuple[()], Address]:
            version = version_sort_key(member.member[1])
            return len(member.needs), version is None, version or (), member.address

        bootstrap, members = owner.binding.bootstrap, self._members[owner.address]
        return sorted(
            (one for one in members if bootstrap and one.address.kind == bootstrap.kind), key=order
        )

    def with_companion(self, resource: ResourceState, decision: Decision) -> Decision:
        """The decision on an owner with its first member, or on a member with its owner.

        Where the owner needs a first member and none can be created with it, it is refused.
        """
        # The owner was decided before: in dependency order its members come later.
        if owner := self._owners.get(resource.address):
            note, extras = f"created by the call that creates {owner}", {CARRIED_BY: str(owner)}
            return decision.noted(note, extras={**decision.change.extras, **extras})
        bootstrap = resource.binding.bootstrap
        if bootstrap is None or decision.is_blocked or decision.change.action not in CREATES:
            return decision
        rejected: list[Change] = []
        # The call takes one member only; the others are created by calls of their own.
        for member in self._candidates(resource):
            member_decision = self._decide(member)
            if (
                member_decision.change.action in CREATES
                and not member_decision.is_blocked
                # All that the member needs has to be done before the owner's call.
                and {*member.needs} <= {resource.address, *self.graph[resource.address]}
                and self._options.selects(member.address)
            ):
                self._owners[member.address] = resource.address
                # The one call needs what either object depends on.
                needs = {*decision.change.depends_on, *member.needs} - {resource.address}
                return decision.noted(
                    f"the same call creates its first {bootstrap.kind} {member.address}",
                    depends_on=tuple(sorted(needs)),
                    extras={**decision.change.extras, CARRIES: str(member.address)},
                )
            rejected.append(member_decision.change)
        return decision.refused(
            refusals.no_first_member(resource, bootstrap.kind, rejected, self._options)
        )
