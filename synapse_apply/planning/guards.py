"""Guards: signs of a wrong target, a lost workspace or a mistake too large to be meant."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from synapse_apply.model.address import Address
from synapse_apply.model.observed import Lookup
from synapse_apply.model.plan import Action, Change, GuardTrip
from synapse_apply.model.project import Guards
from synapse_apply.planning.refusals import listing
from synapse_apply.planning.situation import Item, Situation

NO_MANIFESTS, ALL_MISSING, MASS_MISSING = "no-manifests", "all-missing", "mass-missing"
RECREATE, ADOPT = "recreate", "adopt"
NAMES = (NO_MANIFESTS, ALL_MISSING, MASS_MISSING, RECREATE, ADOPT)
_FEWEST_FOR_ALL = 3
_LOSSES = frozenset({Action.DELETE, Action.FORGET})


def trips(
    situation: Situation, changes: Mapping[Address, Change], history: Collection[Address]
) -> tuple[GuardTrip, ...]:
    """The guards that stop an apply of these changes, overridden ones left out.

    What is missing is counted over all declared records, selected or not: a wrong tenant shows
    itself there. What is in `history` (superseded, or let go on purpose)
    does not count.
    """
    recorded = {
        address: item
        for address, item in situation.items.items()
        if item.record is not None and not (history and address in history)
    }
    found = (
        _no_manifests(situation, recorded),
        _all_missing(recorded),
        _mass_missing(situation, recorded, changes),
        _recreate(situation, changes),
        _adopt(situation, changes),
    )
    overridden = situation.choices.overridden
    return tuple(trip for trip in found if trip is not None and trip.name not in overridden)


def _missing(item: Item) -> bool:
    """Whether it was looked for and is not there: what is not declared may not be looked for."""
    looked_for = item.desired is not None and item.sighting.problem is None
    return looked_for and item.sighting.observed is None


def _override(name: str) -> str:
    return f"If this is meant: --override-guard {name}"


def _no_manifests(situation: Situation, recorded: Mapping[Address, Item]) -> GuardTrip | None:
    if not recorded or any(item.desired is not None for item in situation.items.values()):
        return None
    return GuardTrip(
        NO_MANIFESTS,
        "No manifests",
        f"Nothing is declared while {_count(len(recorded))} recorded. Check the folder and "
        f"`manifests:` of the project file. {_override(NO_MANIFESTS)}",
    )


def _all_missing(recorded: Mapping[Address, Item]) -> GuardTrip | None:
    sought = [item for item in recorded.values() if item.desired is not None]
    if len(sought) < _FEWEST_FOR_ALL or not all(map(_missing, sought)):
        return None
    return GuardTrip(
        ALL_MISSING,
        "Every recorded object is missing",
        f"None of {len(sought)} recorded objects is there: this looks like another tenant. "
        f"Check url, tenant and token. {_override(ALL_MISSING)}",
    )


def _mass_missing(
    situation: Situation, recorded: Mapping[Address, Item], changes: Mapping[Address, Change]
) -> GuardTrip | None:
    limits = situation.choices.guards or Guards()
    missing = [address for address, item in recorded.items() if _missing(item)]
    losing = [at for at, change in changes.items() if _loses(change) and at in recorded]
    lost = sorted({*missing, *losing})
    if len(recorded) < limits.min_objects or len(lost) <= limits.max_share * len(recorded):
        return None
    return GuardTrip(
        MASS_MISSING,
        "Many recorded objects are missing, deleted or forgotten",
        f"{len(lost)} of {len(recorded)} (more than {limits.max_share:.0%}): {listing(lost)}. "
        f"{_override(MASS_MISSING)}",
    )


def _loses(change: Change) -> bool:
    return change.action in _LOSSES and not change.refused


def _recreate(situation: Situation, changes: Mapping[Address, Change]) -> GuardTrip | None:
    """A miss is no proof of absence: making it anew could make a second one."""
    if situation.choices.recreate:
        return None
    unsure = [
        address
        for address, change in changes.items()
        if change.action is Action.RECREATE
        and not change.refused
        and situation.items[address].sighting.lookup is not Lookup.COMPLETE
    ]
    unsure.sort()
    if not unsure:
        return None
    return GuardTrip(
        RECREATE,
        "Missing objects that cannot be looked up",
        f"{listing(unsure)}: the recorded id is gone, and this backend has no list that tells "
        "whether the object is there under another id. If it is: "
        "`synapse-apply import ADDRESS ID`. "
        f"If it is not: --recreate (or --override-guard {RECREATE})",
    )


def _adopt(situation: Situation, changes: Mapping[Address, Change]) -> GuardTrip | None:
    if situation.choices.adopt:
        return None
    found = [
        address
        for address, change in changes.items()
        if change.action is Action.ADOPT and not change.refused
    ]
    found.sort()
    if not found:
        return None
    return GuardTrip(
        ADOPT,
        "Objects exist that this state does not record",
        f"{listing(found)} would be adopted. If they are yours: --adopt, or "
        f"`synapse-apply import ADDRESS ID` (or --override-guard {ADOPT})",
    )


def _count(number: int) -> str:
    return "1 object is" if number == 1 else f"{number} objects are"
