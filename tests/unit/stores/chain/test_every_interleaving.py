"""Whoever believes that a link is its own is right, and a reader sees the chain alone: enumerated.

Each rule that is left out is missed at once, so that the enumeration could find what is wrong.
"""

from __future__ import annotations

import pytest
from laws.effort import DEEP
from unit.stores.chain.interleavings import Enumeration, Rules, Violation

from synapse_apply.stores.chain import link_format


def prune_whatever_is_old(links, snapshots, never_pruned, _known_until):
    """Also links that were written after the last one that this client knows."""
    return link_format.select_links_to_prune(links, snapshots, never_pruned, 10**9)


WITHOUT = {
    "links that are never pruned": Rules(list_kept_links=lambda *_, **__: ()),
    "a look for newer snapshots": Rules(is_link_in_the_chain=lambda *_, **__: True),
    "pruning only what is known": Rules(select_links_to_prune=prune_whatever_is_old),
    "the link itself, by its answer": Rules(
        decide_link_outcome=lambda _own, stored: (
            link_format.LinkOutcome.ABSENT if stored is None else link_format.LinkOutcome.OURS
        )
    ),
}
SIZES = [(2, 5, True), (3, 3, True)] + ([(3, 4, True), (3, 5, False)] if DEEP else [])


@pytest.mark.deep
@pytest.mark.parametrize(("clients", "links", "unlocks"), SIZES)
def test_no_interleaving_makes_two_believe_in_one_number(clients, links, unlocks):
    """Requests lost, repeated and late, take-overs at any time, snapshots by who was replaced."""
    worlds = Enumeration(Rules(), clients, links, unlocks=unlocks).count_worlds()
    assert worlds > 10_000


@pytest.mark.parametrize("rule", WITHOUT)
def test_each_rule_is_needed(rule):
    """Without it somebody believes in a link that is not part of the chain."""
    with pytest.raises(Violation, match="believes in its"):
        Enumeration(WITHOUT[rule], 2, 4).count_worlds()


def test_a_lock_that_a_person_removes_counts_as_taken_over():
    """Its owner had not given it back either, and may write again one day."""
    with pytest.raises(Violation, match="believes in its"):
        Enumeration(Rules(), 2, 4, unlock_kept=False).count_worlds()
