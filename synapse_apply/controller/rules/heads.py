"""Whether what a ref names becomes the head: descendants at once, all else at a second look."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import Literal

from synapse_apply.controller.ports import Head
from synapse_apply.controller.rows import RevisionEnd, RevisionRow, SourceRow
from synapse_apply.controller.settings import MINUTE

_RED_ENDS = frozenset({RevisionEnd.FAILURE, RevisionEnd.ERROR})


class HeadDecision(Enum):
    """What is done about the commit that a ref names."""

    UNCHANGED = "unchanged"
    ACCEPT = "accept"
    """It is the first one, or a descendant of the head."""
    LOOK_AGAIN = "look again"
    """It is no descendant of the head. A Git server that lags shows an old commit for a moment."""
    FOLLOW = "follow"
    """It is no descendant, and becomes the head: the head before it was forced away."""
    HOLD = "hold"
    """It is no descendant, and waits for a person."""


def decide_head(
    source: SourceRow,
    commit: str,
    *,
    is_same_or_descendant: bool,
    rewinds: Literal["hold", "follow"],
    now: float,
    second_look: float = MINUTE,
) -> HeadDecision:
    """What to do about the commit that the ref names; `is_same_or_descendant` of the head is given.

    `second_look` is after how many seconds a commit that is none is believed.
    """
    if commit == source.head:
        return HeadDecision.UNCHANGED
    if not source.head or is_same_or_descendant:
        return HeadDecision.ACCEPT
    passed = now - source.sideways_since
    # A clock that was set back makes it wait anew, and never be believed early.
    if source.sideways != commit or not passed >= second_look:
        return HeadDecision.LOOK_AGAIN
    return HeadDecision.FOLLOW if rewinds == "follow" else HeadDecision.HOLD


def with_sideways_commit(source: SourceRow, commit: str, now: float) -> SourceRow:
    """The source with a commit that is no descendant of its head; the first sight of it counts.

    A time that lies ahead of now, since the clock was set back, is begun anew.
    """
    if source.sideways == commit and source.sideways_since <= now:
        return source
    return replace(source, sideways=commit, sideways_since=now)


def build_next_revision(source: SourceRow, head: Head, now: float) -> RevisionRow:
    """The revision that a commit becomes as the next head of its source."""
    return RevisionRow(
        source.name, source.head_number + 1, head.commit, now, head.author, head.subject
    )


def build_overtaken_revision(
    revision: RevisionRow, next_commit: str, *, is_forced: bool
) -> RevisionRow:
    """A revision whose source has another head now; one that is red stays red.

    How one ends that is open, `revision_end` says.
    """
    is_red = revision.end in _RED_ENDS
    return replace(
        revision,
        overtaken_by=next_commit,
        forced_away=is_forced,
        is_final=revision.is_final or is_red,
    )


def is_fetch_settled(row: SourceRow) -> bool:
    """Whether no fetch is asked for, and the targets of the head are known or fetches fail."""
    is_compared = row.keyed_number >= row.head_number or row.failures > 0
    return row.answered_number >= row.asked_number and is_compared
