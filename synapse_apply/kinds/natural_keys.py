"""Which natural key a declared resource has, and what several resources claim alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from synapse_apply.kinds.descriptor import ResourceType
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, Position, error_finding
from synapse_apply.model.phrases import format_short_list
from synapse_apply.model.resource import Desired, Observed
from synapse_apply.model.values import Reference


class Claim(NamedTuple):
    """What a resource claims for itself alone, and where its document stands."""

    key: tuple[str, ...]
    address: Address
    position: Position | None


def declared_natural_key(
    kind: ResourceType, resource: Desired, resources: Mapping[Address, Desired]
) -> str:
    """The natural key that the manifests alone tell, "" where they do not."""
    parents = {
        name: Observed("", "", resources[value.address].spec)
        for name, value in resource.spec.items()
        if type(value) is Reference and value.address in resources
    }
    return kind.derive_natural_key(resource.spec, parents)


def list_conflicts(
    claims: Iterable[Claim], summary: str, describe: Callable[[str, str], str], hint: str
) -> list[tuple[Diagnostic, list[Address]]]:
    """An error for each key that several claim, and the addresses that it stops.

    `describe` gets the last part of the key, and the addresses with their positions.
    """
    first_by_key: dict[tuple[str, ...], Claim] = {}
    groups: dict[tuple[str, ...], list[Claim]] = {}
    for claim in claims:
        first_claim = first_by_key.setdefault(claim.key, claim)
        if first_claim is not claim:
            # Groups are made only for duplicates: most of ten thousand keys occur once.
            groups.setdefault(claim.key, [first_claim]).append(claim)
    conflicts = []
    for key in sorted(groups):
        group = sorted(groups[key], key=lambda claim: claim.address)
        names = format_short_list(
            f"{each.address} ({each.position})" if each.position else each.address for each in group
        )
        _, address, position = group[-1]
        finding = error_finding(
            summary, describe(key[-1], names), hint, position=position, address=str(address)
        )
        conflicts.append((finding, [each.address for each in group]))
    return conflicts


def list_key_conflicts(
    keyed: Iterable[tuple[str, Desired]],
) -> list[tuple[Diagnostic, list[Address]]]:
    """An error for each natural key that several declared resources have; "" is none."""
    return list_conflicts(
        (
            Claim((each.address.kind, key), each.address, each.position)
            for key, each in keyed
            if key
        ),
        "Two resources declare one object",
        lambda key, names: f"{names} all have {key}.",
        "Delete one of the documents, or give it another identity.",
    )
