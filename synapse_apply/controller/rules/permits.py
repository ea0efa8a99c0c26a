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
) -> Permit:
    """How long calls of an apply may begin: 10 s at most, and never past the end of the windows.

    All else is as it is now, but `begun_rule`: the rule by which the apply was judged. `rule` is
    None where no rule matches the target any more. `now` is the wall clock, `monotonic` that of
    the permit. A newer head does not cut an apply: `is_commit_wanted` is asked for its first permit
    and True for all others. `has_approvals`: nobody took back an approval that it was judged by.
    """
    reason = _get_end_reason_or_empty(
        rule,
        begun_rule,
        has_claim=has_claim,
        is_commit_wanted=is_commit_wanted,
        is_stopping=is_stopping,
        has_approvals=has_approvals,
    )
    if reason or rule is None:
        return Permit(monotonic, reason)
    block = find_apply_block(rule, pauses, name, now)
    if block is not None:
        return Permit(monotonic, block.phrase)
    closes_at = compute_window_state(rule.windows, now).until
    seconds = PERMIT_SECONDS if closes_at is None else min(PERMIT_SECONDS, closes_at - now)
    return Permit(monotonic + seconds)


def _get_end_reason_or_empty(
    rule: TargetRule | None,
    begun_rule: TargetRule,
    *,
    has_claim: bool,
    is_commit_wanted: bool,
    is_stopping: bool,
    has_approvals: bool,
) -> str:
    """Why an apply ends whatever the time is; "" where it goes on."""
    if is_stopping:
        return "the controller ends"
    if rule is None:
        return "no rule of controller.yaml matches the target any more"
    if rule.mode is Mode.OBSERVE:
        return "the mode is observe"
    if _list_settings_rows_are_judged_by(rule) != _list_settings_rows_are_judged_by(begun_rule):
        return "the target's rule in controller.yaml was changed"
    if not has_claim:
        return "another worker has the target"
    if not has_approvals:
        return "an approval was taken back"
    if not is_commit_wanted:
        return "another revision is wanted"
    return ""


def _list_settings_rows_are_judged_by(rule: TargetRule) -> tuple[object, ...]:
    """All of a rule by which rows are judged; windows and pauses are asked by the time."""
    return rule.mode, rule.auto, rule.approvals, rule.not_author, rule.prune
