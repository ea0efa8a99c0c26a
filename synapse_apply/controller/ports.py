"""What the parts of the controller tell one another: orders, answers, filters, and who sends."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import Enum
from typing import NamedTuple, Protocol

from synapse_apply.controller.planned_rows import Binding, Claim, PlannedRow
from synapse_apply.controller.rows import (
    CallCounts,
    ChangeCounts,
    MessageRow,
    RunningJobsSeen,
    RunOutcome,
    RunVerb,
    StatusRow,
    StatusText,
    TargetCondition,
    TargetName,
    TargetRow,
)
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.frozen import frozen


class SourceUnavailable(SynapseApplyError):
    """The repository of a source cannot be reached or read."""


class Head(NamedTuple):
    """What a ref names after a fetch: a commit, its first author and the first line it says.

    `moved_tags` are the full names of tags that keep what they named when they were first fetched,
    `followed` those of the branches and tags that the source's settings mean. `pin` is the commit
    whose settings count, "" for that of the head.
    """

    commit: str
    author: str
    subject: str
    moved_tags: tuple[str, ...] = ()
    followed: tuple[str, ...] = ()
    pin: str = ""


class NewCommits(NamedTuple):
    """The commits that an apply would bring: the newest of `total`, and who signed these."""

    newest: tuple[Head, ...]
    total: int
    signers: tuple[str, ...] = ()


@frozen
class LabelledTarget:
    """A target that a project file declares, with its labels.

    `require_verified` are the targets in which a release must have been verified before. `digest`
    is over what of Git a look at it reads: equal ones mean equal project file, manifests, packages
    and pins, and the same version of this program. `backend` is as in a Binding, "" where the file
    has no url. `credentials` are the variables and files that it names for its own credentials,
    `brake` the figures of its policy.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    require_verified: tuple[str, ...] = ()
    digest: str = ""
    backend: str = ""
    credentials: tuple[str, ...] = ()
    brake: Mapping[str, float] = field(default_factory=dict)


class Permit(NamedTuple):
    """How long calls may begin: before `until`, on the clock that `time.monotonic` reads.

    All processes of a machine share that clock. `reason` is a phrase why there is no permit, ""
    where there is one.
    """

    until: float
    reason: str = ""


@frozen
class RunResult:
    """What a worker found, or did. `plan_json`, `result_digest`, `report_json`: as in RunRow.

    `held_up_by_run` is set where another run had the state's lock for the whole time, so that a
    plan may already be old and nothing was applied ("" else): who holds it. `rows` are those of the
    plan, `used_approvals` the ids of the approvals that calls have used up, now or before, as the
    target's state says; `returned_approvals` those that it gave back, as the call was found not to
    be done. `calls` counts the rows that were to be done by an apply. `stop_reason` is
    why it was not all begun, "" where it was.
    `is_state_behind`: beside its rows there is something that an apply writes to the state alone,
    such as the outcome of a call that an earlier run left open. `running_jobs` are what a look was
    told of jobs, without their time; None where it asked for none. `binding` is what was planned,
    `targets` what a project file declares, `claims` the objects that the target manages.
    `created_lineage` is that of a state that the look made, "" where it made none.
    """

    outcome: RunOutcome
    counts: ChangeCounts = ChangeCounts()
    findings: tuple[Diagnostic, ...] = ()
    plan_json: str = ""
    result_digest: str = ""
    backend_host: str = ""
    held_up_by_run: str = ""
    rows: tuple[PlannedRow, ...] = ()
    calls: CallCounts = CallCounts()
    used_approvals: tuple[str, ...] = ()
    stop_reason: str = ""
    report_json: str = ""
    is_state_behind: bool = False
    running_jobs: RunningJobsSeen | None = None
    binding: Binding | None = None
    targets: tuple[LabelledTarget, ...] = ()
    returned_approvals: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
    created_lineage: str = ""


class ActionRefused(SynapseApplyError):
    """What somebody asked of the controller is not possible as things are now."""


# Of a histogram: the longest duration of each bucket, in seconds; one more has all that is longer.
DURATION_BOUNDS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 180.0, 600.0, 1800.0)


@frozen
class Durations:
    """How long runs took: `seconds` in all, and how many of them are in each bucket."""

    seconds: float = 0.0
    buckets: tuple[int, ...] = (0,) * (len(DURATION_BOUNDS) + 1)

    @property
    def count(self) -> int:
        return sum(self.buckets)

    def plus(self, seconds: float) -> Durations:
        """These, and one run more."""
        own = bisect_left(DURATION_BOUNDS, seconds)
        buckets = (count + (number == own) for number, count in enumerate(self.buckets))
        return Durations(self.seconds + seconds, tuple(buckets))


@frozen
class LoopHealth:
    """How the loop does. Times are in seconds.

    `round_age` is the time since the last round ended, by a clock that only counts; None before the
    first. `interval` is the longest planned time between two rounds. `clock_offset` is how far the
    wall clock is ahead of the forges' `Date`, None where none was seen: that of the forge where it
    is farthest, and `agreed_offset` where it is nearest, None where not two were seen. `durations`
    are those of looks and applies since the start of the process, by outcome. `trouble` is why this
    process, which leads, works on what is due by itself, "" where it does not.
    """

    round_age: float | None
    interval: float
    clock_offset: float | None = None
    durations: Mapping[tuple[RunVerb, RunOutcome], Durations] = field(default_factory=dict)
    agreed_offset: float | None = None
    trouble: str = ""


class StatusSender(Protocol):
    """Sends one status to a forge; safe for many threads."""

    def send(self, row: StatusRow) -> SendResult:
        """Make the forge show what the row wishes; never raises for what the forge answers."""
        ...

    def read_shown_text(self, row: StatusRow) -> StatusText | None:
        """What the forge shows for the row's commit and context, None for nothing.

        `row.wished` itself where that is shown as far as the forge can show it (texts that it cuts,
        one word for failure and error). Raises StatusUnreadable.
        """
        ...

    def get_clock_offset_or_none(self) -> float | None:
        """How far the wall clock was ahead of the forge's `Date`, in seconds, at its last answer.

        None where no answer had one.
        """
        ...


class StatusUnreadable(Exception):
    """The forge did not say what a context shows; `result` says why, as of a status to send."""

    def __init__(self, result: SendResult) -> None:
        super().__init__(result.finding.summary if result.finding else "")
        self.result = result


class MessageSender(Protocol):
    """Sends one message to its channel; safe for many threads."""

    def send(self, row: MessageRow) -> SendResult: ...


@frozen
class SendResult:
    """What became of something that was sent.

    `retry_after` is in seconds, None where the receiver asked for no delay. `is_final` says that it
    can never be sent (a 403); `finding` is why it was not, None where it was.
    """

    finding: Diagnostic | None = None
    retry_after: float | None = None
    is_final: bool = False


class TargetPage(NamedTuple):
    """Some targets, and how many there are in all that match."""

    targets: Sequence[TargetRow]
    matching_count: int


class TargetOrder(Enum):
    """How targets are sorted; then by name."""

    CONDITION = "condition"
    """Those that need a person first."""
    NAME = "name"
    CHANGED = "changed"
    """The last changed first."""
    NEXT_CHECK = "next check"


@frozen
class TargetFilter:
    """Which targets a page shows. Empty fields match all; `text` is searched in SOURCE/TARGET.

    `names` are SOURCE/TARGET, None for any. `wanted_commit` is the full id of the revision that
    they want. `patterns` (fnmatch of SOURCE/TARGET, case-sensitive) are those of which one has to
    match; None: all do.
    """

    source: str = ""
    state: TargetCondition | None = None
    text: str = ""
    wanted_commit: str = ""
    patterns: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None
    order: TargetOrder = TargetOrder.CONDITION


class TargetFindings(NamedTuple):
    """A target and what its newest run found; the host is "" before there was a plan."""

    name: TargetName
    backend_host: str
    findings: tuple[Diagnostic, ...]


@frozen
class AuditFilter:
    """Which audit rows are listed. Empty fields match all.

    `who` is exact; `text` is searched in subject, action and detail. `patterns` are as in
    TargetFilter, of the subject. `before` and `after` are numbers between which rows are, None for
    no bound.
    """

    who: str = ""
    text: str = ""
    before: int | None = None
    after: int | None = None
    patterns: tuple[str, ...] | None = None


ALL_AUDIT_ROWS = AuditFilter()
