"""Which plans are stopped: by guards against a large mistake, and by rules of the policy."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from synapse_apply.kinds.descriptor import Catalogue
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.phrases import FirstHints, find_similar_word, format_short_list
from synapse_apply.model.plan import FROZEN_UNTIL_SUMMARY, Action, Change, GuardViolation
from synapse_apply.model.project import GuardSettings, PolicyRule
from synapse_apply.model.resource import Lookup
from synapse_apply.planning.decision import REMOVALS
from synapse_apply.planning.plan_input import PlanInput, ResourceState
from synapse_apply.planning.policy import changes_live_object

NO_MANIFESTS, ALL_MISSING, MASS_MISSING = "no-manifests", "all-missing", "mass-missing"
RECREATE, ADOPT = "recreate", "adopt"
GUARD_NAMES = (NO_MANIFESTS, ALL_MISSING, MASS_MISSING, RECREATE, ADOPT)
_FEWEST_FOR_ALL = 3
_SHARE_OF_FEW = 0.5


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
        if resource.record is not None and address not in uncounted_addresses
    }
    made = {address: change for address, change in changes.items() if not change.refusals}
    violations = (
        *_missing(plan_input, recorded, made),
        *_unproven_recreates(plan_input, made),
        *_unallowed_adoptions(plan_input, made),
    )
    overridden = plan_input.options.overridden
    return tuple(violation for violation in violations if violation.name not in overridden)


def _is_missing(resource: ResourceState) -> bool:
    """Whether a declared object was searched and not found; undeclared ones may not be searched."""
    was_searched = resource.desired is not None and resource.lookup_result.problem is None
    return was_searched and resource.observed is None and not resource.is_unsearchable


def _missing(
    plan_input: PlanInput,
    recorded: Mapping[Address, ResourceState],
    changes: Mapping[Address, Change],
) -> Iterator[GuardViolation]:
    """The guards of what is declared, missing or lost, of all that is recorded."""

    def violation(name: str, summary: str, detail: str) -> GuardViolation:
        hint = f"If you intend this: --override-guard {name}"
        return GuardViolation(name, summary, f"{detail} {hint}")

    count = len(recorded)
    if recorded and not any(one.desired is not None for one in plan_input.resources.values()):
        objects_are = "1 object is" if count == 1 else f"{count} objects are"
        yield violation(
            NO_MANIFESTS,
            "No manifests",
            f"The project declares no resource, but {objects_are} recorded. Check the folder, "
            "and `manifests:` in the project file.",
        )
    declared = [resource for resource in recorded.values() if resource.desired is not None]
    # One or two missing objects were more likely deleted than moved to another tenant.
    if len(declared) >= _FEWEST_FOR_ALL and all(map(_is_missing, declared)):
        yield violation(
            ALL_MISSING,
            "Every recorded object is missing",
            f"None of the {len(declared)} recorded objects exists: the tenant is probably wrong. "
            "Check url, tenant and token.",
        )
    limits = plan_input.options.guards or GuardSettings()
    losing = {
        address
        for address, change in changes.items()
        if change.action in REMOVALS and address in recorded
    }
    # An object that is missing already is lost as much as one that would be deleted.
    missing = {address for address, resource in recorded.items() if _is_missing(resource)}
    lost, share = missing | losing, limits.max_share
    if count < limits.min_objects:
        # A checkout that was emptied or points elsewhere. What is missing of few was deleted there.
        share = max(share, _SHARE_OF_FEW)
        lost = losing if len(losing) >= _FEWEST_FOR_ALL else set()
    if len(lost) > share * count:
        yield violation(
            MASS_MISSING,
            "Many recorded objects are missing, deleted or forgotten",
            f"{len(lost)} of {count} (more than {share:.0%}): {format_short_list(sorted(lost))}. "
            "Check that this is the right checkout.",
        )


def _unproven_recreates(
    plan_input: PlanInput, changes: Mapping[Address, Change]
) -> Iterator[GuardViolation]:
    """A violation if objects are created again whose absence is not proved.

    Such an object may exist, and a create could make a second one.
    """
    unproven = sorted(
        address
        for address, change in changes.items()
        if change.action is Action.RECREATE
        and plan_input.resources[address].lookup_result.lookup is not Lookup.COMPLETE
    )
    # Else the user has said that the objects are gone.
    if unproven and not plan_input.options.recreate:
        yield GuardViolation(
            RECREATE,
            "Missing objects cannot be looked up",
            Text(
                f"{format_short_list(unproven)}: the recorded id is gone, and this backend has "
                "no list that shows whether the object exists under another id. If the object "
                "exists: ",
                Command("state rm ADDRESS"),
                ", then ",
                Command("import ADDRESS ID"),
                f". If the object does not exist: --recreate (or --override-guard {RECREATE})",
            ),
        )


def _unallowed_adoptions(
    plan_input: PlanInput, changes: Mapping[Address, Change]
) -> Iterator[GuardViolation]:
    adopted = sorted(a for a, change in changes.items() if change.action is Action.ADOPT)
    if adopted and not plan_input.options.adopt:
        yield GuardViolation(
            ADOPT,
            "Unrecorded objects exist",
            Text(
                f"{format_short_list(adopted)} would be adopted. If the objects are yours: "
                "--adopt, or ",
                Command("import ADDRESS ID"),
                f" (or --override-guard {ADOPT})",
            ),
        )


_TIME = "%a %Y-%m-%d %H:%M %Z"


class _PolicyStop(NamedTuple):
    """Why a rule stops a plan, what to do instead, and the addresses that it counted."""

    summary: str
    detail: str
    remedy: str
    rows: tuple[Address, ...]
    limit: int = 0


def _freeze_stop(rule: PolicyRule, changes: Sequence[Change], now: datetime) -> _PolicyStop | None:
    """A stop if a freeze window is open and the plan makes any call, runs included; else None."""
    rows = tuple(one.address for one in changes if one.has_unrefused_call_or_run)
    window = rule.window
    opening = window.find_open_window(now) if rows and window else None
    if opening is None or window is None:
        return None
    begin, end = (f"{moment:{_TIME}}" if moment else "" for moment in opening)
    return _PolicyStop(
        f"{FROZEN_UNTIL_SUMMARY} {end}" if end else "Changes are frozen with no scheduled end",
        f"The window of `{window.cron.text}` opened {begin} and blocks {format_short_list(rows)}.",
        "Wait until the window ends." if end else "",
        rows,
    )


def _max_changes_stop(
    rule: PolicyRule, changes: Sequence[Change], _now: datetime
) -> _PolicyStop | None:
    """A stop if more objects are created, changed or deleted than the rule allows; else None."""
    rows = tuple(one.address for one in changes if changes_live_object(one))
    if len(rows) <= rule.limit:
        return None
    objects = "1 object" if len(rows) == 1 else f"{len(rows)} objects"
    return _PolicyStop(
        "More changes at once than the policy allows",
        f"{objects} would be created, changed or deleted. The limit is {rule.limit}.",
        "Apply the changes in parts with --only." if rule.limit else "",
        rows,
        rule.limit,
    )


PlanCheck = Callable[[PolicyRule, Sequence[Change], datetime], _PolicyStop | None]
PLAN_CHECKS: Mapping[str, PlanCheck] = {"freeze": _freeze_stop, "max-changes": _max_changes_stop}


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
        summary, remedy = stop.summary, stop.remedy
        if rule.is_denying and rule.id not in plan_input.options.overridden:
            override = f"If you intend this: --override-guard {rule.id}"
            detail = " ".join(filter(None, (stop.detail, remedy, override)))
            violations.append(GuardViolation(rule.id, summary, detail, stop.rows, stop.limit))
            continue
        if rule.is_denying:
            summary = f"Overridden: {summary[0].lower()}{summary[1:]}"
            remedy = f"Apply continues: --override-guard {rule.id} is set."
        detail = f"{stop.detail} (policy: {rule.name})"
        warnings.append(warning_finding(summary, detail, remedy, position=rule.position))
    return tuple(violations), tuple(warnings)


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
            matches = [
                hints.find_hint(partial(find_similar_word, name, sorted_addresses, 0.8))
                for name in unknown_names
            ]
            hint = "Correct the address. If the resource is gone, remove the address from the rule."
            if suggestions := dict.fromkeys(filter(None, matches)):
                hint = f"Did you mean {format_short_list(suggestions)}?"
            yield warning_finding(
                "A policy rule names an unknown resource",
                f"{rule.id} names {format_short_list(unknown_names)}, which this target neither "
                "declares nor records.",
                hint,
                position=rule.position,
            )


def literal_addresses(rule: PolicyRule, catalogue: Catalogue) -> list[str]:
    """The addresses that a rule names literally, without kinds and patterns."""
    named = dict.fromkeys((*rule.only, *rule.excepted))
    return [name for name in named if name not in catalogue and not _PATTERN.search(name)]
