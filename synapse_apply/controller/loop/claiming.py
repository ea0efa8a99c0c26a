"""How a due target is claimed for one task, and that its claim and its inputs are still as then."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from synapse_apply.controller.loop.leading.leader import LEASE_SECONDS
from synapse_apply.controller.loop.lost_applies import record_lost_apply_if_any
from synapse_apply.controller.loop.parts import LoopParts
from synapse_apply.controller.rows import TargetName, TargetRow

# A claim outlives the longest look and apply by this: a worker is killed at its timeout. Where
# others share the store it is short, and renewed as long as this process lives.
_CLAIM_MARGIN_SECONDS = 60.0


class ClaimedTarget(NamedTuple):
    """A target that is claimed, as it was when its task began, and the claim's epoch."""

    row: TargetRow
    epoch: int


def claim_if_due(parts: LoopParts, name: TargetName) -> ClaimedTarget | None:
    """Claim a target that is due; None where somebody has it, or looked at it meanwhile."""
    longest = 2 * parts.settings.defaults.timeout + _CLAIM_MARGIN_SECONDS
    with parts.write() as writer:
        # Now, and not before other writers were waited for: the claim would be over already.
        now = parts.clock.read_wall()
        until = now + (LEASE_SECONDS if parts.store.is_shared else longest)
        row = parts.store.find_target_even_if_gone(name)
        if row is None or row.is_gone or row.due_at > now:
            return None
        epoch = writer.claim_target_and_get_epoch_or_zero(name, parts.holder, until, now)
        if epoch:
            row = record_lost_apply_if_any(parts, writer, row)
    # An earlier run may be another process's: what comes later has to be the greater id.
    parts.ids.begin_after(row.last_run)
    return ClaimedTarget(row, epoch) if epoch else None


def is_still_claimed_by_task(parts: LoopParts, row: TargetRow, claimed: ClaimedTarget) -> bool:
    """Whether a target, as it is now, is still claimed by this task.

    A claim that ran out is none where others share the store, though nobody may have taken it yet.
    """
    is_over = parts.store.is_shared and row.lease_until <= parts.clock.read_wall()
    return not is_over and (row.holder, row.epoch) == (parts.holder, claimed.epoch)


def reread_claimed(parts: LoopParts, claimed: ClaimedTarget) -> ClaimedTarget | None:
    """The claimed target at the commit that is wanted now; None where an apply may not begin.

    That is where another revision with other inputs is wanted, the target is gone or the claim was
    lost.
    """
    row = parts.store.find_target_even_if_gone(claimed.row.name)
    if row is None or row.is_gone or not is_still_claimed_by_task(parts, row, claimed):
        return None
    if row.wanted_digest != claimed.row.wanted_digest:
        return None
    moved = replace(claimed.row, wanted_commit=row.wanted_commit, wanted_number=row.wanted_number)
    return claimed._replace(row=replace(moved, binding=row.binding))


def release_claim(parts: LoopParts, claimed: ClaimedTarget) -> None:
    """End the claim; the target stays due."""
    with parts.write() as writer:
        writer.release_claim_if_own(claimed.row.name, parts.holder, claimed.epoch)
