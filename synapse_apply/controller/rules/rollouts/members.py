"""What a target of a rollout is at now: its two rows together, and what these say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from synapse_apply.controller.rows import RolloutTargetRow, TargetProgress, TargetRow
from synapse_apply.controller.settings import Wave


class RolloutMember(NamedTuple):
    """A target of a rollout: what it is there, and what is known of it; None for an unknown one."""

    row: RolloutTargetRow
    target: TargetRow | None


def declared_members(members: Iterable[RolloutMember]) -> list[RolloutMember]:
    """The members that the head declares, by name."""
    live = [member for member in members if not (member.target is None or member.target.is_gone)]
    return sorted(live, key=lambda member: member.row.target)


def is_moved_to_revision(member: RolloutMember) -> bool:
    """Whether the target is wanted at the rollout's revision, with the inputs that it has there."""
    row, target = member
    is_wanted = target is not None and target.wanted_number >= row.number
    return is_wanted and bool(row.moved_at) and row.moved_digest == row.digest


def is_wanted_at_revision(member: RolloutMember) -> bool:
    """Whether the revision asks nothing of the target that is not wanted of it already."""
    target = member.target
    return target is not None and target.wanted_digest == member.row.digest


def is_done_at_revision(member: RolloutMember) -> bool:
    """Whether the target is live with the inputs that the revision asks of it."""
    target = member.target
    if target is None or target.progress is not TargetProgress.DONE:
        return False
    return is_wanted_at_revision(member) and target.input_digest == member.row.digest


def is_in_change(member: RolloutMember) -> bool:
    """Whether the target was moved, also to an older revision, and not yet seen to have that."""
    return bool(member.row.moved_at) and not member.row.arrived_at


def has_shown_all(member: RolloutMember, wave: Wave) -> bool:
    """Whether the target has shown all that its wave asks of it.

    It was moved, its last look was good, and it looked good for as long as the wave soaks.
    """
    row = member.row
    return is_moved_to_revision(member) and bool(row.good_since) and row.soaked >= wave.soak


def has_failed(member: RolloutMember) -> bool:
    """Whether the target failed with the inputs that it has at the rollout's revision."""
    return bool(member.row.failed_at) and member.row.moved_digest == member.row.digest
