"""Which addresses that a shared policy rule names are declared by other targets."""

from __future__ import annotations

from collections.abc import Collection

from synapse_apply.manifests.decode.loading import FileCache, load_manifests
from synapse_apply.model.address import Address
from synapse_apply.planning.policy.rule_addresses import literal_addresses
from synapse_apply.workspace.target_session import TargetSession


def find_declared_elsewhere(
    session: TargetSession, own_addresses: Collection[Address]
) -> frozenset[str]:
    """Of the addresses that a policy rule names, those that other targets with this rule declare.

    Other targets' manifests are read only where a rule names an address that is not among
    `own_addresses`.
    """
    own_names = {str(address) for address in own_addresses}
    rules = {
        rule: names
        for rule in session.target.policy.rules
        if (names := set(literal_addresses(rule, session.catalogue)) - own_names)
    }
    shared_names: set[str] = set()
    file_cache = FileCache()
    for other_target in session.project.targets.values() if rules else ():
        searched_names = {
            name for rule in other_target.policy.rules for name in rules.get(rule, ())
        } - shared_names
        if searched_names and other_target.name != session.target.name:
            declared_addresses = load_manifests(
                session.project, other_target, file_cache=file_cache
            ).desired
            shared_names |= searched_names & {str(address) for address in declared_addresses}
    return frozenset(shared_names)
