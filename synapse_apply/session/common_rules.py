"""Addresses of a policy that other targets declare, where a rule is common to several."""

from __future__ import annotations

from collections.abc import Collection

from synapse_apply.manifests.loading import Shelf, load
from synapse_apply.model.address import Address
from synapse_apply.planning.policy_names import names_of
from synapse_apply.session.context import Context


def declared_elsewhere(context: Context, known: Collection[Address]) -> frozenset[str]:
    """What targets with a common rule declare, of the addresses that the rule spells out.

    Their manifests are read only where a rule names what is not `known` on this target.
    """
    here = {str(address) for address in known}
    rules = {
        rule: names
        for rule in context.target.policy.rules
        if (names := set(names_of(rule, context.catalogue)) - here)
    }
    found: set[str] = set()
    shelf = Shelf()
    for other in context.project.targets.values() if rules else ():
        wanted = {name for rule in other.policy.rules for name in rules.get(rule, ())} - found
        if wanted and other.name != context.target.name:
            declared = load(context.project, other, shelf=shelf).desired
            found |= wanted & {str(address) for address in declared}
    return frozenset(found)
