"""Heads: a lagging Git server brings no old commit back, and a rewind is a person's decision."""

from __future__ import annotations

from itertools import product

import pytest

from synapse_apply.controller.ports import Head
from synapse_apply.controller.rows import RevisionEnd, RevisionRow, SourceRow
from synapse_apply.controller.rules.revisions import (
    HeadDecision,
    build_next_revision,
    build_overtaken_revision,
    decide_head,
    with_sideways_commit,
)

HEAD = SourceRow("acme", head="h1", head_number=4)


def decide(source: SourceRow, commit: str, now: float, **settings: object) -> HeadDecision:
    given = {"is_same_or_descendant": False, "rewinds": "hold", **settings}
    return decide_head(source, commit, now=now, **given)


def test_the_first_commit_and_descendants_are_accepted_at_once():
    """Whatever `rewinds` says."""
    for rewinds in ("hold", "follow"):
        assert decide(SourceRow("acme"), "c", 0, rewinds=rewinds) is HeadDecision.ACCEPT
        assert (
            decide(HEAD, "h2", 0, is_same_or_descendant=True, rewinds=rewinds)
            is HeadDecision.ACCEPT
        )
        assert decide(HEAD, "h1", 0, rewinds=rewinds) is HeadDecision.UNCHANGED


@pytest.mark.parametrize(
    ("rewinds", "believed"), [("hold", HeadDecision.HOLD), ("follow", HeadDecision.FOLLOW)]
)
def test_what_is_no_descendant_is_believed_at_a_second_look(rewinds, believed):
    """A minute later, and only while the ref names the same commit all along."""
    assert decide(HEAD, "old", 100, rewinds=rewinds) is HeadDecision.LOOK_AGAIN
    noted = with_sideways_commit(HEAD, "old", 100)
    assert decide(noted, "old", 159, rewinds=rewinds) is HeadDecision.LOOK_AGAIN
    assert decide(noted, "old", 160, rewinds=rewinds) is believed
    assert with_sideways_commit(noted, "old", 130) == noted
    assert decide(noted, "other", 160, rewinds=rewinds) is HeadDecision.LOOK_AGAIN


def test_a_clock_that_was_set_back_makes_nothing_believed_early():
    """The minute begins anew."""
    noted = with_sideways_commit(HEAD, "old", 1000)
    assert decide(noted, "old", 10, rewinds="follow") is HeadDecision.LOOK_AGAIN
    assert with_sideways_commit(noted, "old", 10).sideways_since == 10


def test_a_revision_has_the_next_number():
    """And what Git says of the commit."""
    revision = build_next_revision(HEAD, Head("h2", "김", "subject"), 9.0)
    assert (revision.number, revision.commit, revision.author) == (5, "h2", "김")


def test_one_that_is_overtaken_while_red_stays_red():
    """All others are open until the next head ends."""
    for end, forced in product(RevisionEnd, (True, False)):
        revision = RevisionRow("acme", 4, "h1", 0, end=end, is_final=end is RevisionEnd.SUCCESS)
        marked = build_overtaken_revision(revision, "h2", is_forced=forced)
        assert marked.is_final == (end is not RevisionEnd.NONE)
        assert (marked.overtaken_by, marked.forced_away, marked.end) == ("h2", forced, end)
