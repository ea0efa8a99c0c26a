"""Whether calls of an apply may begin now, and for how long.

A permit is short and is given anew all the time, so that whatever changes ends an apply soon.
"""

from __future__ import annotations

from collections.abc import Iterable

from synapse_apply.controller.ports import Permit
from synapse_apply.controller.rows import PauseRow, TargetName
from synapse_apply.controller.rules.pausing import find_apply_block
from synapse_apply.controller.rules.windows import compute_window_state
from synapse_apply.controller.settings import Mode, TargetRule

PERMIT_SECONDS = 10.0


def compute_permit(
    name: TargetName,
    rule: TargetRule | None,
    pauses: Iterable[PauseRow],
    *,
    begun_rule: TargetRule,
    now: float,
    monotonic: float,
    has_claim: bool,
    is_commit_wanted: bool,
    is_stopping: bool,
    has_approvals: bool = True,
    has_new_rejection: bool = False,
) -> Permit:
    """How long calls of an apply may begin: 10 s at most, and never past the end of the windows.

    All else is as it is now, but `begun_rule`: the rule by which the apply was judged. `rule` is
    None where no rule matches the target any more. `now` is the wall clock, `monotonic` that of
    the permit. A newer head does not cut an apply: `is_commit_wanted` is asked for its first permit
    and True for all others. `has_approvals`: nobody took back an approval that it was judged by;
    `has_new_rejection`: a person has rejected a row that it may do.
    """
    ends = (
        (is_stopping, "the controller ends"),
        (rule is None, "no rule of controller.yaml matches the target any more"),
        (rule is not None and rule.mode is Mode.OBSERVE, "the mode is observe"),
        (
            rule is not None and _list_judging_settings(rule) != _list_judging_settings(begun_rule),
            "the target's rule in controller.yaml was changed",
        ),
        (not has_claim, "another worker has the target"),
        (not has_approvals, "an approval was taken back"),
        (has_new_rejection, "a row was rejected"),
        (not is_commit_wanted, "another revision is wanted"),
    )
    reason = next((reason for is_end, reason in ends if is_end), "")
    if reason or rule is None:
        return Permit(monotonic, reason)
    block = find_apply_block(rule, pauses, name, now)
    if block is not None:
        return Permit(monotonic, block.phrase)
    closes_at = compute_window_state(rule.windows, now).until
    seconds = PERMIT_SECONDS if closes_at is None else min(PERMIT_SECONDS, closes_at - now)
    return Permit(monotonic + seconds)


def _list_judging_settings(rule: TargetRule) -> tuple[object, ...]:
    """All of a rule by which rows are judged; windows and pauses are asked by the time."""
    return rule.mode, rule.auto, rule.approvals, rule.not_author, rule.prune
