"""What people can ask of a controller, each verb once: for forms, JSON API, loop and commands."""

from __future__ import annotations

from enum import Enum

from synapse_apply.controller.rows import RolloutState
from synapse_apply.controller.settings import DAY, Right
from synapse_apply.model.frozen import frozen

# A pause without an end is one that is forgotten; that stands in controller.yaml, where all see it.
MAX_PAUSE_SECONDS = 366 * DAY


class Subject(Enum):
    """What is asked about; the value are the members of a document that say which."""

    TARGET = ("target",)
    SCOPE = ("scope",)
    """All targets that match a pattern."""
    ROLLOUT = ("number",)
    """A revision of the rollout that the path names."""
    WAVE = ("number", "wave")
    """One wave of that."""


@frozen
class Verb:
    """Something that people can ask for.

    `name` stands in paths and commands, `action` in the audit. `members` are what it takes beside
    its subject, all in a document. `notice` is what the page says once it is done, `result` what a
    command says. Of a rollout, `states` are those in which it can be asked, and `question` is asked
    before.
    """

    name: str
    subject: Subject
    right: Right
    action: str
    notice: str
    result: str
    members: tuple[str, ...] = ()
    states: frozenset[RolloutState] = frozenset()
    question: str = ""

    @property
    def is_of_rollout(self) -> bool:
        return self.subject in {Subject.ROLLOUT, Subject.WAVE}


RECONCILE = Verb(
    "reconcile",
    Subject.TARGET,
    Right.RECONCILE,
    "reconcile",
    "The controller checks the target as soon as a worker is free.",
    "The controller checks {target} now.",
)
PAUSE = Verb(
    "pause",
    Subject.SCOPE,
    Right.PAUSE,
    "pause",
    "Paused: the controller starts no more calls.",
    "{scope} is paused until {until}.",
    ("reason", "seconds", "until"),
)
RESUME = Verb(
    "resume",
    Subject.SCOPE,
    Right.PAUSE,
    "resume",
    "The pause, rollback or brake has ended: the controller continues.",
    "{scope} is no longer paused, rolled back or braked.",
)
APPROVE = Verb(
    "approve",
    Subject.TARGET,
    Right.APPROVE,
    "approve",
    "Approved. The controller applies a row when it has enough approvals and nothing else stops "
    "it.",
    "Approved {rows} of {target} as {who}.",
    ("reason", "rows"),
)
APPLY_NOW = Verb(
    "apply",
    Subject.TARGET,
    Right.APPROVE,
    "apply now",
    "The controller applies the rows now, if a new check still finds them.",
    "The controller applies {rows} of {target} for {who}.",
    ("rows",),
)
REJECT = Verb(
    "reject",
    Subject.TARGET,
    Right.APPROVE,
    "reject",
    "Rejected: the controller does not apply the rows, and their approvals end.",
    "Rejected {rows} of {target} as {who}.",
    ("reason", "rows"),
)
APPROVE_WAVE = Verb(
    "approve",
    Subject.WAVE,
    Right.APPROVE,
    "approve wave",
    "Approved: the wave opens in the next round.",
    "{who} approved wave {wave} of {name}: it opens now.",
    states=frozenset({RolloutState.WAITING}),
    question="Approve wave {wave}",
)
RESUME_ROLLOUT = Verb(
    "resume",
    Subject.ROLLOUT,
    Right.APPROVE,
    "resume rollout",
    "Resumed: the controller retries what failed, and counts failures from 0.",
    "{who} resumed {name}: the controller retries what failed.",
    states=frozenset({RolloutState.STOPPED}),
    question="Retry what failed and continue",
)
SKIP_WAVE = Verb(
    "skip",
    Subject.WAVE,
    Right.APPROVE,
    "skip wave",
    "Skipped: the wave is closed without evidence.",
    "{who} skipped wave {wave} of {name}: it is closed without evidence.",
    ("reason",),
    frozenset({RolloutState.RUNNING, RolloutState.STOPPED}),
    "Close wave {wave} without evidence",
)
ABORT_ROLLOUT = Verb(
    "abort",
    Subject.ROLLOUT,
    Right.APPROVE,
    "abort rollout",
    "Aborted: the rollout of this revision has ended. Targets keep what they have; "
    "those that were changing are paused until a later commit.",
    "{who} aborted {name}: the rollout of {commit} has ended.",
    ("reason",),
    frozenset({RolloutState.RUNNING, RolloutState.WAITING, RolloutState.STOPPED}),
    "End the rollout of this revision",
)
ROLL_BACK = Verb(
    "rollback",
    Subject.TARGET,
    Right.APPROVE,
    "roll back",
    "Rolled back: the target stays at this revision until a commit changes it, or you resume it.",
    "{target} is rolled back to {commit}.",
    ("plan", "reason", "revision"),
)
OF_TARGETS = (RECONCILE, PAUSE, RESUME, APPROVE, APPLY_NOW, REJECT, ROLL_BACK)
# Of the rows of many targets at once.
OF_SHOWN_ROWS = (APPROVE, REJECT)
OF_ROLLOUTS = (APPROVE_WAVE, RESUME_ROLLOUT, SKIP_WAVE, ABORT_ROLLOUT)
