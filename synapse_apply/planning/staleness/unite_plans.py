"""Which change of an address counts where several plans were reviewed for one apply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from synapse_apply.model.address import Address
from synapse_apply.model.plan import Change, Plan
from synapse_apply.planning.staleness.narrow import is_shown_as_to_be_done


# By address; a later row replaces an earlier one. "No change" replaces none: most plans were made
# without the other merge, and what is applied is always a row that a reader saw, complete and
# unchanged. A refusal in a later plan does take it away, because its reader saw that nothing would
# be done.
def unite_plans(plans: Sequence[Plan]) -> Plan:
    """One plan with the changes of all plans, older ones first; the rest is from the newest.

    An address has the change of the newest plan that makes or refuses one. A plan that leaves an
    address as it is, or does not list it, removes no change of an older plan: it was most likely
    made without the older merge, and every change that is made was reviewed. Renames are those of
    all plans.
    """
    rows: dict[Address, Change] = {}
    for plan in plans:
        for change in plan.changes:
            older = rows.get(change.address)
            if older is None or _is_of_plan(change) or not _is_of_plan(older):
                rows[change.address] = change
    moves = {(move.old, move.new): move for plan in plans for move in plan.moved}
    return replace(plans[-1], changes=tuple(rows.values()), moved=tuple(moves.values()))


def _is_of_plan(change: Change) -> bool:
    """Whether a reader saw more of it than that it stays as it is."""
    return is_shown_as_to_be_done(change) or change.is_refused
