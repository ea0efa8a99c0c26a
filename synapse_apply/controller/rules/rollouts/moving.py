"""Which targets of a wave get their revision now, and how they get it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from synapse_apply.controller.rows import RolloutTargetRow, RunCause
from synapse_apply.controller.rules.rollouts.evidence import without_evidence
from synapse_apply.controller.rules.rollouts.members import (
    RolloutMember,
    is_done_at_revision,
    is_in_change,
    is_moved_to_revision,
    is_wanted_at_revision,
)
from synapse_apply.controller.rules.targets import target_row_at_revision
from synapse_apply.controller.settings import Wave


def choose_members_to_move(wave: Wave, members: Sequence[RolloutMember]) -> list[RolloutMember]:
    """The members of an open wave that are moved now, in the order of `members`.

    Those whose inputs stay the same are moved at once, and those that are in change already; of the
    others as many as `max_parallel` lets beside what is in change.
    """
    waiting = [member for member in members if not is_moved_to_revision(member)]
    free_count = len(waiting)
    if wave.max_parallel is not None:
        free_count = wave.max_parallel - sum(map(is_in_change, members))
    chosen = []
    for member in waiting:
        if not _is_in_change(member):
            chosen.append(member)
        elif free_count > 0:
            free_count -= 1
            chosen.append(member)
    return chosen


def build_moved_member(member: RolloutMember, now: float) -> RolloutMember:
    """A member at the revision of its rollout; it is looked at now, unless it has shown all it can.

    Where its inputs stay those that it was moved to before, what it has shown stays, too.
    ValueError for one whose target is not known.
    """
    row, target = member
    if target is None:
        raise ValueError(f"{row.target} is not known")
    moved_target = target_row_at_revision(target, row.commit, row.number, row.digest)
    if _keeps_evidence(member):
        return RolloutMember(row, moved_target)
    moved_row: RolloutTargetRow = replace(
        without_evidence(row),
        moved_digest=row.digest,
        moved_at=now,
        moved_epoch=target.epoch,
        arrived_at=now if is_done_at_revision(member) else 0.0,
    )
    return RolloutMember(moved_row, replace(moved_target, due_at=now, due_cause=RunCause.PUSH))


def _is_in_change(member: RolloutMember) -> bool:
    """Whether a move makes work for a target that has none, so that `max_parallel` counts it."""
    if is_in_change(member) or _keeps_evidence(member):
        return False
    return not is_done_at_revision(member)


def _keeps_evidence(member: RolloutMember) -> bool:
    """Whether the target has been moved to these inputs, and had no others since."""
    return member.row.moved_digest == member.row.digest and is_wanted_at_revision(member)
