"""Which commits are made for one batch of a state, of which at most one becomes part of the log."""

from __future__ import annotations

from collections.abc import Sequence

from synapse_apply.model.frozen import frozen
from synapse_apply.stores.batch_log import Batch
from synapse_apply.stores.git.state_commit import StateCommit


@frozen
class StateTip:
    """A commit whose tree is a state: its id, and what it says of itself."""

    commit_id: str
    commit: StateCommit


class PushAttempt:
    """A batch that is to follow `old_id`, and the commits that were made for it.

    There are two of them where a host refused the one without a parent. The ref can be moved from
    `old_id` once, so that at most one of them becomes part of the log.
    """

    def __init__(
        self, batch: Batch, old_id: str, first_tip: StateTip, *, begins_history: bool
    ) -> None:
        """`begins_history`: the first commit has no parent."""
        self.batch = batch
        self.old_id = old_id
        self.tips = [first_tip]
        self.begins_history = begins_history

    def is_for(self, batch: Batch, position: str) -> bool:
        return self.batch.batch_id == batch.batch_id and self.old_id == position

    def find_own_tip(self, commit_ids: Sequence[str]) -> StateTip | None:
        """The commit of this batch among those, None if there is none."""
        return next((tip for tip in self.tips if tip.commit_id in commit_ids), None)
