"""Addresses of a policy that other targets declare, where a rule is common to several."""

from __future__ import annotations

from collections.abc import Collection

from synapse_apply.manifests.decode.loading import FileCache, load_manifests
from synapse_apply.model.address import Address
from synapse_apply.planning.policy.rule_addresses import list_named_addresses
from synapse_apply.workspace.target_session import TargetSession


def find_declared_by_other_targets(
    session: TargetSession, own_addresses: Collection[Address]
) -> frozenset[str]:
    """What targets with a common rule declare, of the addresses that the rule spells out.

    Their manifests are read only where a rule names what is not `own_addresses` on this target.
    """
    own_names = {str(address) for address in own_addresses}
    rules = {
        rule: names
        for rule in session.target.policy.rules
        if (names := set(list_named_addresses(rule, session.catalogue)) - own_names)
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
