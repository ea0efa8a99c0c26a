"""Addresses in a policy that are of nothing: a mistyped one protects nothing, excepts nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from synapse_apply.kinds.descriptor import Catalogue
from synapse_apply.model.diagnostic import Diagnostic, warning
from synapse_apply.model.policy import Rule
from synapse_apply.planning.refusals import listing
from synapse_apply.planning.situation import Situation

_PATTERN = re.compile(r"[*?\[]")


def strange_names(situation: Situation) -> Iterator[Diagnostic]:
    """A warning for each rule that names what is neither declared nor recorded.

    A pattern, and a kind, may be meant for what is still to come, and a rule that several targets
    share for what only one of them has. Nothing is known where only some
    of the manifests were read.
    """
    rules = situation.choices.policy.rules
    if not rules or situation.choices.partial:
        return
    known = {str(at) for at in situation.items}
    known |= {str(intent.address) for intent in situation.open_intents}
    known |= situation.elsewhere_declared
    for rule in rules:
        named = names_of(rule, situation.catalogue)
        strange = [name for name in named if name not in known]
        if strange:
            yield warning(
                "A rule of the policy names what is not there",
                f"{rule.id} names {listing(strange)}, which this target neither declares nor has "
                "recorded.",
                _hint(strange, sorted(known)),
                position=rule.position,
            )


def names_of(rule: Rule, catalogue: Catalogue) -> list[str]:
    """The addresses that a rule spells out: neither kinds nor patterns."""
    named = dict.fromkeys((*rule.only, *rule.excepted))
    return [name for name in named if name not in catalogue and not _PATTERN.search(name)]


def _hint(strange: Sequence[str], known: Sequence[str]) -> str:
    # Here, not above: most policies name what is there.
    from difflib import get_close_matches  # noqa: PLC0415

    near = [found for name in strange for found in get_close_matches(name, known, n=1, cutoff=0.8)]
    if near:
        return f"Did you mean {listing(dict.fromkeys(near))}?"
    return "Correct the address, or take it out of the rule if its resource is gone."
