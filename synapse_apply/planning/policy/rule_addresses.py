"""Which addresses in policy rules match nothing: a mistyped one protects or excepts nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial

from synapse_apply.kinds.descriptor import Catalogue
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.phrases import FirstHints, find_similar_word, format_short_list
from synapse_apply.model.project import PolicyRule
from synapse_apply.planning.plan_input import PlanInput

_PATTERN = re.compile(r"[*?\[]")


def unknown_policy_addresses(plan_input: PlanInput) -> Iterator[Diagnostic]:
    """A warning for each rule that names an address which is neither declared nor recorded.

    Patterns and kinds may be meant for later resources, and a rule that targets share may name what
    only one of them has. Nothing is reported where only some manifests were read.
    """
    rules = plan_input.options.policy.rules
    if not rules or plan_input.options.partial:
        return
    known_addresses = {str(address) for address in plan_input.resources}
    known_addresses |= {str(intent.address) for intent in plan_input.open_intents}
    known_addresses |= plan_input.declared_in_other_targets
    sorted_addresses, hints = sorted(known_addresses), FirstHints()
    for rule in rules:
        named = literal_addresses(rule, plan_input.catalogue)
        unknown_names = [name for name in named if name not in known_addresses]
        if unknown_names:
            yield warning_finding(
                "A policy rule names an unknown resource",
                f"{rule.id} names {format_short_list(unknown_names)}, which this target neither "
                f"declares nor has recorded.",
                _suggest_names(unknown_names, sorted_addresses, hints),
                position=rule.position,
            )


def literal_addresses(rule: PolicyRule, catalogue: Catalogue) -> list[str]:
    """The addresses that a rule names literally, without kinds and patterns."""
    named = dict.fromkeys((*rule.only, *rule.excepted))
    return [name for name in named if name not in catalogue and not _PATTERN.search(name)]


def _suggest_names(
    unknown_names: Sequence[str], known_addresses: Sequence[str], hints: FirstHints
) -> str:
    search = find_similar_word
    matches = [hints.find_hint(partial(search, n, known_addresses, 0.8)) for n in unknown_names]
    if suggestions := dict.fromkeys(filter(None, matches)):
        return f"Did you mean {format_short_list(suggestions)}?"
    return "Correct the address, or take it out of the rule if its resource is gone."
