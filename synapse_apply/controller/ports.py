"""What the parts of the controller tell one another: orders, answers, filters, and who sends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import NamedTuple, Protocol

from synapse_apply.controller.planned_rows import ApplyTerms, Binding, PlannedRow
from synapse_apply.controller.rows import (
    ApprovalRow,
    AuditRow,
    CallCounts,
    ChangeCounts,
    HoldRow,
    LeaseRow,
    MessageRow,
    PauseRow,
    ProcessRow,
    RevisionRow,
    RolloutRow,
    RolloutTargetRow,
    RunningJobsSeen,
    RunOutcome,
    RunRow,
    SourceRow,
    StatusRow,
    StatusText,
    TargetCondition,
    TargetName,
    TargetRow,
    WaveRow,
)
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


class ActionRefused(SynapseApplyError):
    """What somebody asked of the controller is not possible as things are now."""


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


class TargetPage(NamedTuple):
    """Some targets, and how many there are in all that match."""

    targets: Sequence[TargetRow]
    matching_count: int


@frozen
class TargetFilter:
    """Which targets a page shows. Empty fields match all; `text` is searched in SOURCE/TARGET.

    `wanted_commit` is the full id of the revision that they want. `patterns` (fnmatch of
    SOURCE/TARGET, case-sensitive) are those of which one has to match; None: all do.
    """

    source: str = ""
    state: TargetCondition | None = None
    text: str = ""
    wanted_commit: str = ""
    patterns: tuple[str, ...] | None = None


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


class ReadableStore(Protocol):
    """What the page reads. All of it is committed, and readers never wait for writers for long."""

    def list_configured_sources(self) -> Sequence[SourceRow]:
        """Every source of the configuration, by name."""
        ...

    def list_target_names(self, source: str) -> Sequence[str]:
        """The names of all targets that a source has and ever had."""
        ...

    def read_page_of_present_targets(
        self, target_filter: TargetFilter, offset: int, limit: int
    ) -> TargetPage:
        """Targets by state (those that need a person first), then by name; none that is gone."""
        ...

    def count_present_targets_in_each_state(
        self, source: str = "", patterns: tuple[str, ...] | None = None
    ) -> Mapping[TargetCondition, int]:
        """How many targets are in each state; of one source, or of all. See TargetFilter."""
        ...

    def find_target_even_if_gone(self, name: TargetName) -> TargetRow | None:
        """A target, None for an unknown one."""
        ...

    def find_run(self, run_id: str) -> RunRow | None:
        """A run, None for an unknown one."""
        ...

    def list_newest_runs_without_documents(self, name: TargetName, limit: int) -> Sequence[RunRow]:
        """The newest runs of a target, newest first, without `plan_json` and `report_json`."""
        ...

    def list_newest_outcomes_oldest_first(
        self, names: Sequence[TargetName], limit: int
    ) -> Mapping[TargetName, Sequence[RunOutcome]]:
        """The outcomes of the newest runs of each target, oldest first, for spark lines."""
        ...

    def newest_findings(self, target_filter: TargetFilter) -> Sequence[TargetFindings]:
        """What the newest run of each matching target found, by name."""
        ...

    def find_newest_revision_of_commit(self, source: str, commit: str) -> RevisionRow | None:
        """The newest revision of a full commit id, None for one that never was the head."""
        ...

    def list_newest_revisions(self, source: str, limit: int) -> Sequence[RevisionRow]:
        """The newest revisions of a source, newest first."""
        ...

    def list_unsent_and_refused_statuses_and_messages(
        self,
    ) -> tuple[Sequence[StatusRow], Sequence[MessageRow]]:
        """Statuses and messages that are still to be sent, or never can be."""
        ...

    def find_status(self, source: str, commit: str, context: str) -> StatusRow | None:
        """The status of a commit and context, None where there is none."""
        ...

    def list_statuses_of_commit(self, source: str, commit: str) -> Sequence[StatusRow]:
        """All statuses of a commit, by context."""
        ...

    def list_audit_newest_first_unless_after(
        self, limit: int, audit_filter: AuditFilter = ALL_AUDIT_ROWS
    ) -> Sequence[AuditRow]:
        """The newest audit rows that match, newest first; with `after` the oldest, oldest first."""
        ...

    def iter_all_audit_rows_oldest_first(self) -> Iterator[AuditRow]:
        """Every audit row, oldest first, a part of them in memory at a time."""
        ...

    def list_holds(self, name: TargetName) -> Sequence[HoldRow]:
        """The rows of a target that wait for a person, in the plan's order."""
        ...

    def list_approvals_even_used_or_expired(self, name: TargetName) -> Sequence[ApprovalRow]:
        """The approvals of a target, newest first; also those that are used or too old."""
        ...

    def list_people_pauses_even_ended(self) -> Sequence[PauseRow]:
        """The pauses that people have set, also those that are over; by scope."""
        ...

    def list_begun_rollouts_even_ended(self) -> Sequence[RolloutRow]:
        """Every rollout that has begun, also those that have ended; by name."""
        ...

    def find_begun_rollout_even_if_ended(self, name: str) -> RolloutRow | None:
        """A rollout with its newest revision, None for one that has not begun."""
        ...

    def list_recorded_waves_of_revision(self, rollout: str, number: int) -> Sequence[WaveRow]:
        """The waves of a rollout of one revision that were opened, approved or closed, in order."""
        ...

    def list_rollout_targets(
        self, rollout: str, wave: int | None = None
    ) -> Sequence[RolloutTargetRow]:
        """The targets of a rollout, or of one wave of it, by wave and name."""
        ...

    def find_rollout_target(self, name: TargetName) -> RolloutTargetRow | None:
        """What a target is in its rollout, None where it is in none."""
        ...

    def find_lease_even_if_over(self, name: str) -> LeaseRow | None:
        """A lease, also one that is over; None for one that nobody ever had."""
        ...

    def list_recorded_processes(self) -> Sequence[ProcessRow]:
        """Every process that has written itself down, by its holder name."""
        ...

    def list_configuration_findings(self) -> Sequence[Diagnostic]:
        """What is wrong with controller.yaml since it was last read again; none while it is used.

        With an error among them the configuration before it is still in use.
        """
        ...
