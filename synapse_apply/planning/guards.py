"""Which plans are stopped: signs of a wrong target, lost manifests, or a large mistake."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.phrases import format_short_list
from synapse_apply.model.plan import Action, Change, GuardViolation
from synapse_apply.model.project import GuardSettings
from synapse_apply.model.resource import Lookup
from synapse_apply.planning.plan_input import PlanInput, ResourceState

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
