"""Which natural key a declared resource has, and which resources are declared as one object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar

from synapse_apply.kinds.descriptor import ResourceType
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, Position, error_finding
from synapse_apply.model.observed import Observed
from synapse_apply.model.phrases import format_short_list
from synapse_apply.model.resource import Desired
from synapse_apply.model.values import Reference


class _Addressed(Protocol):
    @property
    def address(self) -> Address: ...


_Side = TypeVar("_Side", bound=_Addressed)


def format_with_positions(places: Iterable[tuple[Address, Position | None]]) -> str:
    """The first addresses, each with its position, and how many more there are."""
    return format_short_list(f"{at} ({position})" if position else at for at, position in places)


def list_groups_sharing_a_key(
    pairs: Iterable[tuple[tuple[str, ...], _Side]],
) -> list[tuple[str, list[_Side]]]:
    """The last part of each key that several have, and who has it."""
    first_by_key: dict[tuple[str, ...], _Side] = {}
    groups: dict[tuple[str, ...], list[_Side]] = {}
    for key, resource in pairs:
        first_resource = first_by_key.setdefault(key, resource)
        if first_resource is not resource:
            # Groups are made only for duplicates: most of ten thousand keys occur once.
            groups.setdefault(key, [first_resource]).append(resource)
    return [(key[-1], sorted(groups[key], key=lambda each: each.address)) for key in sorted(groups)]


def derive_natural_key_from_declared_parents(
    kind: ResourceType, resource: Desired, resources: Mapping[Address, Desired]
) -> str:
    """The natural key that the manifests alone tell, "" where they do not."""
    parents = {
        name: Observed("", "", resources[value.address].spec)
        for name, value in resource.spec.items()
        if type(value) is Reference and value.address in resources
    }
    return kind.derive_natural_key_or_empty(resource.spec, parents)


def list_conflicts_of_equal_keys(
    keyed: Iterable[tuple[str, Desired]],
) -> list[tuple[Diagnostic, list[Address]]]:
    """An error for each natural key that several declared resources have; "" is none."""
    return [
        (
            error_finding(
                "Two resources declare one object",
                f"{format_with_positions((each.address, each.position) for each in group)} all "
                f"have {key}.",
                "Delete one of the documents, or give it another identity.",
                position=group[-1].position,
                address=str(group[-1].address),
            ),
            [each.address for each in group],
        )
        for key, group in list_groups_sharing_a_key(
            ((each.address.kind, key), each) for key, each in keyed if key
        )
    ]
