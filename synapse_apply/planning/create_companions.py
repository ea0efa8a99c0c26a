"""Which creates make a member of another kind by the same call, and in which order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import field, replace

from synapse_apply.model.address import Address
from synapse_apply.model.frozen import mutable
from synapse_apply.model.packages import VersionSortKey, version_sort_key
from synapse_apply.model.plan import Action, Change
from synapse_apply.model.values import Reference
from synapse_apply.planning import missing_dependencies
from synapse_apply.planning.decision import Decision, declared_dependencies
from synapse_apply.planning.plan_input import ResourceState

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
            missing_dependencies.no_first_member_refusal(
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
