"""What the controller remembers of rollouts, as values: one a row of its store.

Times are wall-clock seconds since the epoch, as in `rows.py`.
"""

from __future__ import annotations

from enum import Enum

from synapse_apply.controller.rows import TargetName
from synapse_apply.model.frozen import frozen


class RolloutState(Enum):
    """What a rollout does."""

    RUNNING = "running"
    WAITING = "waiting for approval"
    """The next wave is begun by a person."""
    STOPPED = "stopped"
    """Too many targets of the wave failed; a person resumes or aborts it."""
    DONE = "done"
    ABORTED = "aborted"
    """A person said that this revision goes no further."""

    @property
    def is_over(self) -> bool:
        return self in {RolloutState.DONE, RolloutState.ABORTED}


@frozen
class RolloutRow:
    """How far a rollout is with the revision that it brings now, or brought last.

    `number` and `commit` are that revision's. `wave` is the one that is open, or is to be begun
    next, counted from 1 of `wave_count`; it was opened at `wave_since`, 0 while it is not.
    `state_since`, `state_reason` and `state_by` say since when, why and by whom it is in its state.
    `description` is how far it is, for people: "wave 2 of 3: 4 of 10 shown, 1 held: prod-eu".
    `waves_digest` is over the patterns of its waves when its targets were last told apart by them.
    `reached_at` is when the last wave was last opened; until then, and after a revision that was
    brought to all waves, when the first revision began since.
    """

    source: str
    name: str
    number: int
    commit: str
    begun_at: float
    wave_count: int
    wave: int = 1
    wave_since: float = 0.0
    state: RolloutState = RolloutState.RUNNING
    state_since: float = 0.0
    state_reason: str = ""
    state_by: str = ""
    description: str = ""
    waves_digest: str = ""
    reached_at: float = 0.0


class WaveEnd(Enum):
    """How a wave was closed; NONE while it is not."""

    NONE = ""
    EVIDENCE = "evidence"
    """Each of its targets has shown what it has to."""
    SKIPPED = "skipped"
    """By a person, without evidence."""


@frozen
class WaveRow:
    """One wave of a rollout with one revision: who let it begin, and how it was closed.

    `approved_by` is "" where nobody had to. `reason` is why somebody (`closed_by`) skipped it, or
    aborted the rollout in it, where it has no end. Times are 0 for what has not been.
    """

    source: str
    rollout: str
    number: int
    wave: int
    opened_at: float = 0.0
    approved_by: str = ""
    closed_at: float = 0.0
    end: WaveEnd = WaveEnd.NONE
    closed_by: str = ""
    reason: str = ""

    @property
    def is_aborted(self) -> bool:
        return bool(self.closed_by) and self.end is WaveEnd.NONE


@frozen
class RolloutTargetRow:
    """A target in a rollout: what it is to be brought to, and what it has shown of that.

    `commit`, `number` and `digest` are the revision of the rollout and the target's inputs there.
    `moved_digest` are the inputs that the rollout last let it have, at `moved_at` ("" and 0: none
    yet): until its wave comes, those of an older revision. All that follows was shown with
    `moved_digest`, and stays as long as that stays. `moved_epoch` is the epoch of the target's
    claim when it was moved: only runs that were claimed later count. `arrived_at` is when it was
    first seen to have its inputs. `good_since` and `good_until` are the first and the last of its
    good looks in a row (0: none), `soaked` the seconds between these that count. `failed_at` is
    when it last failed, 0 for never or since somebody resumed the rollout.
    """

    target: TargetName
    rollout: str
    wave: int
    number: int
    commit: str
    digest: str
    moved_digest: str = ""
    moved_at: float = 0.0
    moved_epoch: int = 0
    arrived_at: float = 0.0
    good_since: float = 0.0
    good_until: float = 0.0
    soaked: float = 0.0
    failed_at: float = 0.0
