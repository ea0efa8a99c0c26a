"""What the loop, the senders and the page need of one another, as Protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import field
from typing import NamedTuple, Protocol

from synapse_apply.controller.rows import (
    AuditRow,
    ChangeCounts,
    LookOutcome,
    MessageRow,
    RevisionProgress,
    RevisionRow,
    RunRow,
    SourceRow,
    StatusRow,
    StatusText,
    TargetCondition,
    TargetName,
    TargetRow,
)
from synapse_apply.controller.settings import Controller
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.frozen import frozen


class SourceUnavailable(SynapseApplyError):
    """The repository of a source cannot be reached or read."""


class Head(NamedTuple):
    """What a ref names after a fetch: a commit, its first author and the first line it says."""

    commit: str
    author: str
    subject: str


class Mirror(Protocol):
    """The bare copy of one source's repository. Methods raise SourceUnavailable for a failure."""

    def fetch_head(self) -> Head:
        """Fetch the source's ref; returns what it names now."""
        ...

    def is_descendant(self, commit: str, ancestor: str) -> bool:
        """Whether `ancestor` is reached from `commit`; True for the same commit."""
        ...

    def keep_commits(self, commits: Sequence[str]) -> None:
        """Protect these commits from pruning, and no others."""
        ...

    def list_targets(self, commit: str) -> tuple[str, ...]:
        """The names of the targets that the project file at a commit declares, sorted.

        InputError with every finding where the project file cannot be used.
        """
        ...

    def compute_input_digest(self, commit: str, target: str) -> str:
        """A digest over what of Git a look at this target reads; no file's content is read.

        Equal digests mean equal project file, manifests, packages and pins, and the same version
        of this program. InputError where the project file cannot be used.
        """
        ...


@frozen
class LookRequest:
    """One look that a worker is asked for. `timeout` is in seconds."""

    target: TargetName
    commit: str
    timeout: float


@frozen
class LookResult:
    """What a worker found. `plan_json`, `result_digest`: as in RunRow.

    `held_up_by_run` is set where another run had the state's lock for the whole look, so that its
    plan may already be old ("" else): who holds it.
    """

    outcome: LookOutcome
    counts: ChangeCounts = ChangeCounts()
    findings: tuple[Diagnostic, ...] = ()
    plan_json: str = ""
    result_digest: str = ""
    backend_host: str = ""
    held_up_by_run: str = ""


class Workers(Protocol):
    """The child processes that look; one of them serves one source at a time."""

    def look(self, request: LookRequest) -> LookResult:
        """Look at a target, in a child process; waits for it, and never raises for a look.

        A child that takes longer than the timeout is killed (LookOutcome.TIMEOUT).
        """
        ...

    def close(self) -> None:
        """End all children."""
        ...


class TargetPage(NamedTuple):
    """Some targets, and how many there are in all that match."""

    targets: Sequence[TargetRow]
    matching_count: int


@frozen
class TargetFilter:
    """Which targets a page shows. Empty fields match all; `text` is searched in SOURCE/TARGET.

    `wanted_commit` is the full id of the revision that they want.
    """

    source: str = ""
    state: TargetCondition | None = None
    text: str = ""
    wanted_commit: str = ""


class ReadableStore(Protocol):
    """What the page reads. All of it is committed, and readers never wait for writers for long."""

    def list_sources(self) -> Sequence[SourceRow]:
        """Every source of the configuration, by name."""
        ...

    def list_targets(self, target_filter: TargetFilter, offset: int, limit: int) -> TargetPage:
        """Targets by state (those that need a person first), then by name; none that is gone."""
        ...

    def count_targets_by_state(self, source: str = "") -> Mapping[TargetCondition, int]:
        """How many targets are in each state; of one source, or of all."""
        ...

    def find_target(self, name: TargetName) -> TargetRow | None:
        """A target, None for an unknown one."""
        ...

    def find_run(self, run_id: str) -> RunRow | None:
        """A run, None for an unknown one."""
        ...

    def list_runs(self, name: TargetName, limit: int) -> Sequence[RunRow]:
        """The newest runs of a target, newest first, without `plan_json`."""
        ...

    def list_outcomes(
        self, names: Sequence[TargetName], limit: int
    ) -> Mapping[TargetName, Sequence[LookOutcome]]:
        """The outcomes of the newest runs of each target, oldest first, for spark lines."""
        ...

    def find_revision(self, source: str, commit: str) -> RevisionRow | None:
        """A revision by its full id, None for one that never was the head."""
        ...

    def list_revisions(self, source: str, limit: int) -> Sequence[RevisionRow]:
        """The newest revisions of a source, newest first."""
        ...

    def list_unsent(self) -> tuple[Sequence[StatusRow], Sequence[MessageRow]]:
        """Statuses and messages that are still to be sent, or never can be."""
        ...

    def find_status(self, source: str, commit: str, context: str) -> StatusRow | None:
        """The status of a commit and context, None where there is none."""
        ...

    def list_audit(self, limit: int) -> Sequence[AuditRow]:
        """The newest audit rows, newest first."""
        ...

    def list_configuration_findings(self) -> Sequence[Diagnostic]:
        """What is wrong with controller.yaml since it was last read again; none while it is used.

        With an error among them the configuration before it is still in use.
        """
        ...


class WritableStore(ReadableStore, Protocol):
    """The store as the loop has it: one writer, which is the controller's own process."""

    def find_source(self, name: str) -> SourceRow | None:
        """A source, also one that was removed; None for an unknown one."""
        ...

    def list_targets_of_source(self, source: str) -> Sequence[TargetRow]:
        """Every target that ever was of a source, by name; also those that are gone."""
        ...

    def list_open_revisions(self, source: str) -> Sequence[RevisionRow]:
        """The revisions of a source whose end may still change, newest first."""
        ...

    def read_progress(self, source: str, number: int) -> RevisionProgress:
        """How far the targets are that the revision of this number touched."""
        ...

    def list_due_sends(
        self, now: float, limit: int
    ) -> tuple[Sequence[StatusRow], Sequence[MessageRow]]:
        """As `list_unsent`, without those that wait or never can be sent; the oldest first."""
        ...

    def find_message(self, message_id: str) -> MessageRow | None:
        """A message, None for an unknown one."""
        ...

    def find_newest_run_id_or_empty(self) -> str:
        """The greatest id of a run or a message, "" for none."""
        ...

    def list_commits_in_use(self, source: str) -> Sequence[str]:
        """The commits of a source that are the head or beside it, wanted or applied."""
        ...

    def write(self) -> AbstractContextManager[StoreWriter]:
        """A transaction: all that is written in the block is committed at its end, or nothing."""
        ...


class StoreWriter(Protocol):
    """What one transaction can write. Rows replace those with the same key."""

    def put_source(self, row: SourceRow) -> None:
        """Write a source; `accept_head_if_number_unchanged` alone moves its head and number."""
        ...

    def accept_head_if_number_unchanged(
        self, source: str, old_number: int, revision: RevisionRow
    ) -> bool:
        """Make a revision the head if the head's number is still `old_number`; whether it was.

        ValueError unless `revision.number` is `old_number + 1`.
        """
        ...

    def put_revision(self, row: RevisionRow) -> None: ...

    def put_target(self, row: TargetRow) -> None:
        """Write a target; its wanted revision is never moved to a smaller number.

        The claim of a target that is there stays as it is: see `claim_target`.
        """
        ...

    def list_due_targets(self, now: float, limit: int) -> Sequence[TargetRow]:
        """Targets that are due and not claimed, sources in turn.

        Of each source those that a push touched or somebody asked for first, then the longest due.
        """
        ...

    def list_targets_due_after(self, when: float) -> Sequence[TargetRow]:
        """Targets that are due later than a time."""
        ...

    def shift_due_times(self, seconds: float) -> None:
        """Move all due times and claims of the store, after a jump of the wall clock."""
        ...

    def pull_in_sends(self, now: float, longest: float) -> None:
        """Have no status or message due later than `longest` seconds from now."""
        ...

    def claim_target(self, name: TargetName, holder: str, until: float, now: float) -> int:
        """Claim a target that nobody holds at `now`; the new epoch, 0 where somebody holds it."""
        ...

    def is_claim_valid(self, name: TargetName, holder: str, epoch: int) -> bool: ...

    def release_all_targets(self) -> None:
        """End every claim: only for who has the data folder alone, and has no worker yet."""
        ...

    def release_target(self, name: TargetName, holder: str, epoch: int) -> None:
        """End a claim; without effect where it is another's by now."""
        ...

    def put_run(self, row: RunRow) -> None: ...

    def count_repeat(self, run_id: str, when: float) -> None:
        """Count one more look that found what a run found."""
        ...

    def remove_source(self, name: str) -> None:
        """Mark a source that the configuration no longer has, and its targets as gone."""
        ...

    def put_status(self, row: StatusRow) -> None: ...

    def put_message_if_new(self, row: MessageRow) -> bool:
        """Write a message unless one of the same channel, event and fact is there; whether so."""
        ...

    def mark_message(self, row: MessageRow) -> None:
        """Replace a message that is there."""
        ...

    def append_audit(
        self, time: float, who: str, action: str, subject: str, detail: str
    ) -> None: ...

    def put_configuration_findings(self, findings: Sequence[Diagnostic]) -> None:
        """Replace what `list_configuration_findings` gives."""
        ...

    def delete_runs_before(self, when: float) -> int:
        """Delete old runs, but for the newest of each target; how many."""
        ...

    def delete_records_before(self, when: float) -> None:
        """Delete old messages that need no sending, and old revisions with their statuses.

        The head of a source stays, however old it is.
        """
        ...


class LookTrigger(Protocol):
    """What the page can ask of the loop in mode observe."""

    def poll_soon(self, source: str) -> None:
        """Fetch a source at the next round, as a webhook asks; without effect if it just was."""
        ...


@frozen
class LoopHealth:
    """How the loop does. Times are in seconds.

    `round_age` is the time since the last round ended, by a clock that only counts; None before the
    first. `interval` is the longest planned time between two rounds. `clock_offset` is how far the
    wall clock is ahead of the servers' `Date`, None where none was seen. `look_counts` and
    `look_seconds` count since the start of the process.
    """

    round_age: float | None
    interval: float
    clock_offset: float | None = None
    look_counts: Mapping[LookOutcome, int] = field(default_factory=dict)
    look_seconds: float = 0.0


class RunningLoop(LookTrigger, Protocol):
    """The loop of this process, as the page sees it. Methods may be called from any thread."""

    def get_settings(self) -> Controller:
        """What the configuration says that is used now."""
        ...

    def read_health(self) -> LoopHealth: ...


class StatusSender(Protocol):
    """Sends one status to a forge; safe for many threads."""

    def send(self, row: StatusRow) -> SendResult:
        """Make the forge show what the row wishes; never raises for what the forge answers."""
        ...

    def read_shown_text_or_none(self, row: StatusRow) -> StatusText | None:
        """What the forge shows for the row's commit and context, None for nothing.

        `row.wished` itself where that is shown as far as the forge can show it (texts that it cuts,
        one word for failure and error). Raises StatusUnreadable.
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
