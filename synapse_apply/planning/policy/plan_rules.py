"""Which policy rules stop a plan as a whole, in the way that guards do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.frozen import frozen
from synapse_apply.model.phrases import format_short_list
from synapse_apply.model.plan import FROZEN_UNTIL_SUMMARY, Change, GuardViolation
from synapse_apply.model.project import PolicyRule
from synapse_apply.planning.plan_input import PlanInput
from synapse_apply.planning.policy.resource_rules import changes_live_object

_TIME = "%a %Y-%m-%d %H:%M %Z"


@frozen
class _PolicyStop:
    """Why a rule stops a plan, what to do instead, and the addresses that it counted."""

    summary: str
    detail: str
    remedy: str
    rows: tuple[Address, ...]
    limit: int = 0


def _freeze_stop(
    rule: PolicyRule, active_changes: Sequence[Change], now: datetime
) -> _PolicyStop | None:
    """A stop if a freeze window is open and the plan makes any call, runs included; else None."""
    rows = tuple(one.address for one in active_changes if one.has_unrefused_call_or_run)
    window = rule.window
    opening = window.find_open_window(now) if rows and window else None
    if opening is None or window is None:
        return None
    begin, end = (f"{moment:{_TIME}}" if moment else "" for moment in opening)
    return _PolicyStop(
        f"{FROZEN_UNTIL_SUMMARY} {end}" if end else "Changes are frozen with no scheduled end",
        f"The window of `{window.cron.text}` opened {begin}; it stops {format_short_list(rows)}.",
        "Wait for its end." if end else "",
        rows,
    )


def _find_max_changes_stop(
    rule: PolicyRule, active_changes: Sequence[Change], _now: datetime
) -> _PolicyStop | None:
    """A stop if more objects are created, changed or deleted than the rule allows; else None."""
    rows = tuple(one.address for one in active_changes if changes_live_object(one))
    if len(rows) <= rule.limit:
        return None
    objects = "1 object" if len(rows) == 1 else f"{len(rows)} objects"
    return _PolicyStop(
        "More changes at once than the policy allows",
        f"{objects} would be made, changed or deleted, and the limit is {rule.limit}.",
        "Apply them in parts, with --only." if rule.limit else "",
        rows,
        rule.limit,
    )


PlanCheck = Callable[[PolicyRule, Sequence[Change], datetime], _PolicyStop | None]
PLAN_CHECKS: Mapping[str, PlanCheck] = {
    "freeze": _freeze_stop,
    "max-changes": _find_max_changes_stop,
}


def overridable_rule_ids(rules: Iterable[PolicyRule]) -> tuple[str, ...]:
    """The rule names that `--override-guard` accepts beside the names of guards."""
    return tuple(rule.id for rule in rules if rule.check in PLAN_CHECKS and rule.is_denying)


def judge_plan_rules(
    plan_input: PlanInput, changes: Iterable[Change]
) -> tuple[tuple[GuardViolation, ...], tuple[Diagnostic, ...]]:
    """The violations that stop an apply of these changes, and warnings for the other rules.

    A violated rule that is overridden gives a warning as well.
    """
    rules = [rule for rule in plan_input.options.policy.rules if rule.check in PLAN_CHECKS]
    if not rules:
        return (), ()
    # The plan's own time in place of the clock keeps planning pure.
    now = datetime.fromisoformat(plan_input.created).astimezone(UTC)
    active_changes = [
        # A refused change makes no call, so it needs no stop.
        change
        for change in changes
        if not change.is_refused and not change.superseded
    ]
    addresses = {key: resource.addresses for key, resource in plan_input.resources.items()}
    violations, warnings = [], []
    for rule in rules:
        judged = [
            change
            for change in active_changes
            if rule.applies_to(*addresses.get(change.address, (change.address,)))
        ]
        stop = PLAN_CHECKS[rule.check](rule, judged, now)
        if stop is None:
            continue
        if rule.is_denying and rule.id not in plan_input.options.overridden:
            override = f"If this is meant: --override-guard {rule.id}"
            detail = " ".join(filter(None, (stop.detail, stop.remedy, override)))
            violations.append(GuardViolation(rule.id, stop.summary, detail, stop.rows, stop.limit))
        else:
            warnings.append(_build_stop_warning(rule, stop))
    return tuple(violations), tuple(warnings)


def _build_stop_warning(rule: PolicyRule, stop: _PolicyStop) -> Diagnostic:
    detail = f"{stop.detail} (policy: {rule.name})"
    if not rule.is_denying:
        return warning_finding(stop.summary, detail, stop.remedy, position=rule.position)
    return warning_finding(
        f"Overridden: {stop.summary[0].lower()}{stop.summary[1:]}",
        detail,
        f"Apply continues: --override-guard {rule.id} was given.",
        position=rule.position,
    )
