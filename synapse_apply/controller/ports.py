"""What the loop, the senders and the page need of one another, as Protocols."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import NamedTuple, Protocol

from synapse_apply.controller.planned_rows import ApplyTerms, Binding, PlannedRow
from synapse_apply.controller.rows import (
    CallCounts,
    ChangeCounts,
    MessageRow,
    PauseRow,
    RunningJobsSeen,
    RunOutcome,
    StatusRow,
    StatusText,
    TargetName,
)
from synapse_apply.controller.settings import Controller
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.frozen import frozen


class SourceUnavailable(SynapseApplyError):
    """The repository of a source cannot be reached or read."""


class Head(NamedTuple):
    """What a ref names after a fetch: a commit, its first author and the first line it says.

    `moved_tags` are the full names of tags that keep what they named when they were first fetched,
    `followed` those of the branches and tags that the source's settings mean.
    """

    commit: str
    author: str
    subject: str
    moved_tags: tuple[str, ...] = ()
    followed: tuple[str, ...] = ()


@frozen
class LabelledTarget:
    """A target that a project file declares, with its labels.

    `require_verified` are the targets in which a release must have been verified before. `digest`
    is over what of Git a look at it reads: equal ones mean equal project file, manifests, packages
    and pins, and the same version of this program. `backend` is as in a Binding, "" where the file
    has no url. `credentials` are the variables and files that it names for its own credentials.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    require_verified: tuple[str, ...] = ()
    digest: str = ""
    backend: str = ""
    credentials: tuple[str, ...] = ()


class Mirror(Protocol):
    """The bare copy of one source's repository. Methods raise SourceUnavailable for a failure."""

    def fetch_head(self, followed: tuple[str, ...] = ()) -> Head:
        """Fetch the source's ref; returns what it names now.

        `followed` are refs that were followed before, here or on another machine: a name that one
        of them has means no other.
        """
        ...

    def fetch_commit_if_missing_or_pin_is_old(
        self, commit: str, followed: tuple[str, ...] = ()
    ) -> bool:
        """Fetch as `fetch_head` does where the commit is not here yet; whether it fetched.

        Where the project file of another ref counts, also where that was not looked at for an
        interval. SourceUnavailable where the commit is not here afterwards.
        """
        ...

    def find_newer_head(self, commit: str) -> str | None:
        """The commit that the source's ref names by now, if `commit` is before it.

        The repository is asked once a second at most, for all who call this; while it does not
        answer, what was fetched last counts.
        """
        ...

    def is_same_or_descendant(self, commit: str, ancestor: str) -> bool:
        """Whether `ancestor` is reached from `commit`; True for the same commit."""
        ...

    def list_author_names_and_emails(self, commit: str, since_commit: str) -> tuple[str, ...]:
        """Names and email addresses of the authors of the commits that `since_commit` lacks.

        Sorted, each once; of all commits for "".
        """
        ...

    def protect_only_these_commits_from_pruning(self, commits: Sequence[str]) -> None:
        """Protect these commits from pruning, and no others."""
        ...

    def list_targets(self, commit: str) -> tuple[LabelledTarget, ...]:
        """The targets that the project file at a commit declares, by name.

        InputError with every finding where the project file cannot be used.
        """
        ...


@frozen
class LookRequest:
    """One look that a worker is asked for. `timeout` is in seconds; `prune` as in TargetRule.

    `closed` are the credentials of earlier commits, which manifests may not read, with the hosts
    that each may go to as a token, () for no limit; `live_commit` is
    `applied_commit` of a TargetRow.
    """

    target: TargetName
    commit: str
    timeout: float
    prune: bool = False
    closed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    live_commit: str = ""


@frozen
class ApplyRequest:
    """One apply that a worker is asked for: plan under the lock, do what `terms` permit of it.

    `run_id` is the plan id of state and audit. `who` stands in the audit of the state:
    `controller:NAME`, and who approved. `operation` is what others see who wait for the lock.
    Nothing is done to what is not bound to `binding`, where that is known. `closed` is as in
    LookRequest.
    """

    target: TargetName
    commit: str
    timeout: float
    terms: ApplyTerms
    run_id: str
    who: str
    operation: str = "apply"
    prune: bool = False
    binding: Binding | None = None
    closed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    live_commit: str = ""


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
    target's state says. `calls` counts the rows that were to be done by an apply. `stop_reason` is
    why it was not all begun, "" where it was.
    `is_state_behind`: beside its rows there is something that an apply writes to the state alone,
    such as the outcome of a call that an earlier run left open. `running_jobs` are what a look was
    told of jobs, without their time; None where it asked for none. `binding` is what was planned,
    `targets` what a project file declares.
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


class Workers(Protocol):
    """The child processes that look and apply; one of them serves one source at a time."""

    def look(self, request: LookRequest) -> RunResult:
        """Look at a target, in a child process; waits for it, and never raises for a look.

        A child that takes longer than the timeout is killed (RunOutcome.TIMEOUT).
        """
        ...

    def apply(self, request: ApplyRequest, read_permit: Callable[[], Permit]) -> RunResult:
        """Apply a target, in a child process; waits for it, and never raises for an apply.

        `read_permit` is called on the calling thread, every two seconds until the child ends or
        there is no permit. Without one no call begins; what has begun ends and is recorded. An
        apply that takes longer than the timeout begins no further call, and is killed a minute
        later (RunOutcome.TIMEOUT, with what was done where it could still tell).
        """
        ...

    def ask_applies_to_stop_and_begin_no_more(self) -> None:
        """Let no apply begin another call: what has begun has a few seconds to end.

        Returns at once; `apply` begins nothing any more (RunOutcome.APPLY_STOPPED).
        """
        ...

    def close(self) -> None:
        """End all children: looks at once, applies as when they are asked to stop."""
        ...


class ActionRefused(SynapseApplyError):
    """What somebody asked of the controller is not possible as things are now."""


class PeopleActions(Protocol):
    """What people can ask of the controller; `who` is `proxy:NAME` or `token:NAME`.

    Whether they may is decided before (`rules/access.py`). Each is in the audit, in the transaction
    that does it. Methods may be called from any thread, and raise ActionRefused.
    """

    def reconcile_soon_or_refuse(self, who: str, name: TargetName) -> None:
        """Fetch the source and look at the target at once; a failing one is tried again."""
        ...

    def pause_scope_or_refuse(self, who: str, scope: str, reason: str, until: float) -> PauseRow:
        """Apply nothing to the targets that match `scope` until a wall-clock time.

        Refused for a scope that matches no target, and for a time that has passed.
        """
        ...

    def resume_scope_or_refuse(self, who: str, scope: str) -> None:
        """End the pause of this scope; refused where none is set by a person."""
        ...

    def approve_rows_or_refuse(
        self, who: str, name: TargetName, row_digests: Sequence[str], groups: Sequence[str] = ()
    ) -> None:
        """Approve rows of a target that wait; all or none. Whoever has approved one already has.

        `groups` are those that they are in: whether they may approve is asked again at the apply.

        Refused where one does not wait any more as it was shown, or cannot be approved.
        """
        ...

    def reject_rows_or_refuse(
        self, who: str, name: TargetName, row_digests: Sequence[str], reason: str
    ) -> None:
        """Say that rows of a target are not to be done, and take their approvals back."""
        ...


class RolloutActions(Protocol):
    """What people can ask of rollouts; `who`, audit and ActionRefused as in PeopleActions.

    `number` is that of the revision that was shown: refused where the rollout has another by now.
    """

    def approve_wave_or_refuse(self, who: str, rollout: str, number: int, wave: int) -> None:
        """Let a wave begin; refused where it does not wait for that."""
        ...

    def resume_rollout_or_refuse(self, who: str, rollout: str, number: int) -> None:
        """Go on with a rollout that is stopped: what failed is tried again, and counts anew."""
        ...

    def skip_wave_or_refuse(
        self, who: str, rollout: str, number: int, wave: int, reason: str
    ) -> None:
        """Close the open wave without evidence; its targets that wait for others are moved now."""
        ...

    def abort_rollout_or_refuse(self, who: str, rollout: str, number: int, reason: str) -> None:
        """Bring this revision no further: targets stay where they are until the next head."""
        ...


class LookTrigger(Protocol):
    """What a webhook asks of the loop."""

    def fetch_source_at_next_round(self, source: str) -> None:
        """Fetch a source at the next round, as a webhook asks; without effect if it just was."""
        ...


@frozen
class LoopHealth:
    """How the loop does. Times are in seconds.

    `round_age` is the time since the last round ended, by a clock that only counts; None before the
    first. `interval` is the longest planned time between two rounds. `clock_offset` is how far the
    wall clock is ahead of the forges' `Date`, None where none was seen: that of the forge where it
    is farthest, and `agreed_offset` where it is nearest, None where not two were seen. The counts
    and seconds of looks and applies are those since the start of the process.
    """

    round_age: float | None
    interval: float
    clock_offset: float | None = None
    look_counts: Mapping[RunOutcome, int] = field(default_factory=dict)
    look_seconds: float = 0.0
    apply_counts: Mapping[RunOutcome, int] = field(default_factory=dict)
    apply_seconds: float = 0.0
    agreed_offset: float | None = None


class RunningLoop(LookTrigger, Protocol):
    """The loop of this process, as the page sees it. Methods may be called from any thread."""

    def get_settings(self) -> Controller:
        """What the configuration says that is used now."""
        ...

    def read_health(self) -> LoopHealth: ...

    def get_people_actions(self) -> PeopleActions:
        """What people can ask of this controller."""
        ...

    def get_rollout_actions(self) -> RolloutActions:
        """What people can ask of its rollouts."""
        ...

    def list_authors_of_next_apply_none_if_unreadable(
        self, name: TargetName
    ) -> tuple[str, ...] | None:
        """The authors of the commits that an apply would bring to a target; None if unknown now."""
        ...


class StatusSender(Protocol):
    """Sends one status to a forge; safe for many threads."""

    def send(self, row: StatusRow) -> SendResult:
        """Make the forge show what the row wishes; never raises for what the forge answers."""
        ...

    def read_shown_text_or_wished_if_equivalent_or_none(self, row: StatusRow) -> StatusText | None:
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
