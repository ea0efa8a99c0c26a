"""In which words, colours and signs pages show how far a target of a rollout is."""

from __future__ import annotations

from collections.abc import Mapping

from synapse_apply.controller.page.phrases import ConditionStyle
from synapse_apply.controller.rules.rollouts import MemberState

MEMBER_STATE_STYLES: Mapping[MemberState, ConditionStyle] = {
    MemberState.FAILING: ConditionStyle(
        "failing", "bad", "✗", "It failed with the revision of the rollout."
    ),
    MemberState.REFUSED: ConditionStyle(
        "refused",
        "bad",
        "!",
        "Rows cannot be done, or nobody knows how a call ended: see its page.",
    ),
    MemberState.HELD: ConditionStyle(
        "held", "moved", "=", "Rows of its plan wait for a person's approval."
    ),
    MemberState.PAUSED: ConditionStyle(
        "paused", "moved", "‖", "There is something to do, and it is paused."
    ),
    MemberState.WAITING: ConditionStyle(
        "waiting", "git", "…", "It waits for a window, or for a verification elsewhere."
    ),
    MemberState.DRIFTED: ConditionStyle(
        "drifted",
        "moved",
        "≠",
        "Live objects are not as they were last applied: its soak begins anew.",
    ),
    MemberState.CHANGING: ConditionStyle(
        "changing", "git", "→", "It has the revision, and is to be looked at or is being applied."
    ),
    MemberState.SOAKING: ConditionStyle(
        "soaking", "git", "◔", "It looks good, and has to look good for longer."
    ),
    MemberState.NOT_YET: ConditionStyle(
        "not yet", "quiet", "·", "It keeps what it has until its turn comes."
    ),
    MemberState.SHOWN: ConditionStyle(
        "shown", "good", "✓", "It has shown all that its wave asks of it."
    ),
}
