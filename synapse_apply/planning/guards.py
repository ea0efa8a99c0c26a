"""Which plans are stopped: by guards against a large mistake, and by rules of the policy."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from synapse_apply.kinds.descriptor import Catalogue
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.frozen import frozen
from synapse_apply.model.phrases import FirstHints, find_similar_word, format_short_list
from synapse_apply.model.plan import FROZEN_UNTIL_SUMMARY, Action, Change, GuardViolation
from synapse_apply.model.project import GuardSettings, PolicyRule
from synapse_apply.model.resource import Lookup
from synapse_apply.planning.plan_input import PlanInput, ResourceState
from synapse_apply.planning.policy import changes_live_object

NO_MANIFESTS, ALL_MISSING, MASS_MISSING = "no-manifests", "all-missing", "mass-missing"
RECREATE, ADOPT = "recreate", "adopt"
GUARD_NAMES = (NO_MANIFESTS, ALL_MISSING, MASS_MISSING, RECREATE, ADOPT)
_FEWEST_FOR_ALL = 3
_SHARE_OF_FEW = 0.5
_LOSSES = frozenset({Action.DELETE, Action.FORGET})


def list_guard_violations(
    plan_input: PlanInput,
    changes: Mapping[Address, Change],
    uncounted_addresses: Collection[Address],
) -> tuple[GuardViolation, ...]:
    """The guards that stop an apply of these changes, without overridden ones.

    Missing objects are counted over all declared records, selected or not, since that shows a wrong
    tenant. Addresses in `uncounted_addresses` (superseded, or removed on purpose) do not count.
    """
    recorded = {
        address: resource
        for address, resource in plan_input.resources.items()
        if resource.record is not None
        and not (uncounted_addresses and address in uncounted_addresses)
    }
    violations = (
        _no_manifests(plan_input, recorded),
        _all_missing(recorded),
        _mass_missing(plan_input, recorded, changes),
        _unproven_recreates(plan_input, changes),
        _unallowed_adoptions(plan_input, changes),
    )
    overridden = plan_input.options.overridden
    return tuple(trip for trip in violations if trip is not None and trip.name not in overridden)


def _is_missing(resource: ResourceState) -> bool:
    """Whether a declared object was searched and not found; undeclared ones may not be searched."""
    was_searched = resource.desired is not None and resource.lookup_result.problem is None
    is_missing = was_searched and resource.lookup_result.observed is None
    return is_missing and not resource.is_unsearchable


def _build_override_hint(name: str) -> str:
    return f"If this is meant: --override-guard {name}"


def _no_manifests(
    plan_input: PlanInput, recorded: Mapping[Address, ResourceState]
) -> GuardViolation | None:
    if not recorded or any(
        resource.desired is not None for resource in plan_input.resources.values()
    ):
        return None
    return GuardViolation(
        NO_MANIFESTS,
        "No manifests",
        f"Nothing is declared while {_objects_are(len(recorded))} recorded. "
        f"Check the folder and "
        f"`manifests:` of the project file. {_build_override_hint(NO_MANIFESTS)}",
    )


def _all_missing(recorded: Mapping[Address, ResourceState]) -> GuardViolation | None:
    declared_resources = [
        resource for resource in recorded.values() if resource.desired is not None
    ]
    # One or two missing objects were more likely deleted than moved to another tenant.
    if len(declared_resources) < _FEWEST_FOR_ALL or not all(map(_is_missing, declared_resources)):
        return None
    return GuardViolation(
        ALL_MISSING,
        "Every recorded object is missing",
        f"None of {len(declared_resources)} recorded objects is there: this looks like another "
        f"tenant. "
        f"Check url, tenant and token. {_build_override_hint(ALL_MISSING)}",
    )


def _mass_missing(
    plan_input: PlanInput,
    recorded: Mapping[Address, ResourceState],
    changes: Mapping[Address, Change],
) -> GuardViolation | None:
    limits = plan_input.options.guards or GuardSettings()
    missing = [address for address, resource in recorded.items() if _is_missing(resource)]
    losing = [
        losing_address
        for losing_address, change in changes.items()
        if change.action in _LOSSES and not change.is_refused and losing_address in recorded
    ]
    # An object that is missing already is lost as much as one that would be deleted.
    lost, share = sorted({*missing, *losing}), limits.max_share
    if len(recorded) < limits.min_objects:
        # A checkout that was emptied or points elsewhere. What is missing of few was deleted there.
        share = max(share, _SHARE_OF_FEW)
        lost = sorted(losing) if len(losing) >= _FEWEST_FOR_ALL else []
    if len(lost) <= share * len(recorded):
        return None
    return GuardViolation(
        MASS_MISSING,
        "Many recorded objects are missing, deleted or forgotten",
        f"{len(lost)} of {len(recorded)} (more than {share:.0%}): "
        f"{format_short_list(lost)}. Check that this is the right checkout. "
        f"{_build_override_hint(MASS_MISSING)}",
    )


def _unproven_recreates(
    plan_input: PlanInput, changes: Mapping[Address, Change]
) -> GuardViolation | None:
    """A violation if objects are created again whose absence is not proved; else None.

    Such an object may exist, and a create could make a second one.
    """
    # The user has said that the objects are gone.
    if plan_input.options.recreate:
        return None
    unproven = [
        address
        for address, change in changes.items()
        if change.action is Action.RECREATE
        and not change.is_refused
        and plan_input.resources[address].lookup_result.lookup is not Lookup.COMPLETE
    ]
    unproven.sort()
    if not unproven:
        return None
    return GuardViolation(
        RECREATE,
        "Missing objects that cannot be looked up",
        Text(
            f"{format_short_list(unproven)}: the recorded id is gone, and this backend has no list "
            "that tells whether the object is there under another id. If it is: ",
            Command("state rm ADDRESS"),
            ", then ",
            Command("import ADDRESS ID"),
            f". If it is not: --recreate (or --override-guard {RECREATE})",
        ),
    )


def _unallowed_adoptions(
    plan_input: PlanInput, changes: Mapping[Address, Change]
) -> GuardViolation | None:
    if plan_input.options.adopt:
        return None
    adopted = [
        address
        for address, change in changes.items()
        if change.action is Action.ADOPT and not change.is_refused
    ]
    adopted.sort()
    if not adopted:
        return None
    return GuardViolation(
        ADOPT,
        "Objects exist that this state does not record",
        Text(
            f"{format_short_list(adopted)} would be adopted. If they are yours: --adopt, or ",
            Command("import ADDRESS ID"),
            f" (or --override-guard {ADOPT})",
        ),
    )


def _objects_are(number: int) -> str:
    return "1 object is" if number == 1 else f"{number} objects are"


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
