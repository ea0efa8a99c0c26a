"""What the loop and the page need of the store, as Protocols."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from synapse_apply.controller.rows import (
    ApprovalRow,
    AuditRow,
    HoldRow,
    LeaseRow,
    MessageRow,
    PauseRow,
    ProcessRow,
    RevisionProgress,
    RevisionRow,
    RolloutRow,
    RolloutTargetRow,
    RunOutcome,
    RunRow,
    SourceRow,
    StatusRow,
    TargetCondition,
    TargetName,
    TargetRow,
    WaveRow,
)
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.frozen import frozen


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


class WritableStore(ReadableStore, Protocol):
    """The store as the loop has it. Writers stand in a row, also those of other processes.

    ControllerStoreError where it cannot be used: StoreUnavailable where it may answer later,
    StoreTooNew where this program is too old to write to it.
    """

    @property
    def is_shared(self) -> bool:
        """Whether several processes may use it at once."""
        ...

    def read_database_clock_or_none_for_file(self) -> float | None:
        """The database's clock, in seconds since the epoch; None for the clock of this machine."""
        ...

    def list_claimed_targets(self, now: float) -> Sequence[TargetRow]:
        """Targets that somebody works on at `now`, by name."""
        ...

    def extend_claims_and_leader_lease(
        self, holder: str, until: float, leader_epoch: int, names: Collection[TargetName]
    ) -> None:
        """Let a holder's claims of these targets last until a time, and its lease `leader`.

        `leader_epoch` is that lease's epoch, 0 for none. No time is made shorter. This waits for no
        other writer, and is no part of a `write`, as `put_process_and_delete_unseen_ones`.
        """
        ...

    def put_process_and_delete_unseen_ones(self, row: ProcessRow, forgotten_before: float) -> None:
        """Write that a process is there, and delete those that were last seen before a time."""
        ...

    def list_targets_of_backend(self, backend: str) -> Sequence[TargetRow]:
        """Targets that are bound to a backend, or mean it now, by name; also gone ones.

        Where one of both has no tenant, their url counts alone.
        """
        ...

    def find_source_even_if_removed(self, name: str) -> SourceRow | None:
        """A source, also one that was removed; None for an unknown one."""
        ...

    def list_present_and_gone_targets_of_source(
        self, source: str, names: Sequence[TargetName] | None = None
    ) -> Sequence[TargetRow]:
        """Every target that ever was of a source, or of `names` there, by name; also gone ones."""
        ...

    def list_present_and_gone_targets_of_wave(self, rollout: str, wave: int) -> Sequence[TargetRow]:
        """What is known of the targets of one wave, by name; also of those that are gone."""
        ...

    def list_revisions_whose_end_may_change(self, source: str) -> Sequence[RevisionRow]:
        """The revisions of a source whose end may still change, newest first."""
        ...

    def read_progress_of_revision(self, source: str, number: int) -> RevisionProgress:
        """How far the targets are that the revision of this number touched."""
        ...

    def due_sends(
        self, now: float, status_sources: Collection[str], limit: int
    ) -> tuple[Sequence[StatusRow], Sequence[MessageRow]]:
        """Those to be sent at `now`, the oldest first; none that waits or never can be sent.

        A message waits for the earlier ones of its channel, source, target and rollout. Statuses of
        some sources alone, and `limit` of each at most.
        """
        ...

    def find_message(self, message_id: str) -> MessageRow | None:
        """A message, None for an unknown one."""
        ...

    def newest_id(self) -> str:
        """The greatest id of a run, a message or an approval, "" for none."""
        ...

    def list_commits_in_use(self, source: str) -> Sequence[str]:
        """The commits of a source that are the head or beside it, wanted, applied or rolled out."""
        ...

    def write(self) -> AbstractContextManager[StoreWriter]:
        """A transaction: all that is written in the block is committed at its end, or nothing."""
        ...


class StoreWriter(Protocol):
    """What one transaction can write. Rows replace those with the same key."""

    def put_source_except_head_and_counters(self, row: SourceRow) -> None:
        """Write a source, but for its head and its counters where it is known already.

        `accept_head_and_put_revision_if_number_unchanged` alone moves the head.
        """
        ...

    def accept_head_and_put_revision_if_number_unchanged(
        self, source: str, old_number: int, revision: RevisionRow
    ) -> bool:
        """Make a revision the head if the head's number is still `old_number`; whether it was.

        ValueError unless `revision.number` is `old_number + 1`.
        """
        ...

    def put_revision(self, row: RevisionRow) -> None: ...

    def put_target_keeping_claim_and_newer_revision(self, row: TargetRow) -> None:
        """Write a target; its wanted revision is never moved to a smaller number.

        The claim of a target that is there stays as it is: only a claim moves it.
        """
        ...

    def list_due_unclaimed_targets_by_turn(self, now: float, limit: int) -> Sequence[TargetRow]:
        """Targets that are due and not claimed, sources in turn.

        Of each source those that a push touched or somebody asked for first, then the longest due.
        """
        ...

    def list_present_targets_due_after(self, when: float) -> Sequence[TargetRow]:
        """Targets that are due later than a time."""
        ...

    def shift_due_times_claims_and_leases(self, seconds: float) -> None:
        """Move all due times and claims of the store, after a jump of the wall clock."""
        ...

    def hasten_sends(self, now: float, longest: float) -> None:
        """Have statuses and messages due at once that are due later than `longest` from `now`."""
        ...

    def claim_target_and_get_epoch_or_zero(
        self, name: TargetName, holder: str, until: float, now: float
    ) -> int:
        """Claim a target that nobody holds at `now`; the new epoch, 0 where somebody holds it."""
        ...

    def is_claim_still_own_even_if_over(
        self, name: TargetName, holder: str, epoch: int
    ) -> bool: ...

    def release_all_claims(self) -> None:
        """End every claim: only for who has the data folder alone, and has no worker yet."""
        ...

    def release_claims_of_holder(self, holder: str) -> None:
        """End every claim of one holder."""
        ...

    def take_or_renew_lease_and_get_epoch_or_zero(
        self, name: str, holder: str, until: float, now: float
    ) -> int:
        """Take a lease that nobody else has at `now`, or renew it; its epoch, 0 where another has.

        A lease that is the holder's keeps its epoch, also where it was over; else the epoch grows.
        """
        ...

    def is_lease_still_own_even_if_over(self, name: str, holder: str, epoch: int) -> bool:
        """Whether nobody has taken a lease since, be it over or not.

        Nobody takes it before the end of this transaction.
        """
        ...

    def release_lease_if_own(self, name: str, holder: str, epoch: int) -> None:
        """End a lease; without effect where it is another's by now."""
        ...

    def delete_process(self, holder: str) -> None: ...

    def increment_change_number_of_source(self, name: str) -> None:
        """Count a change that may end a revision in `change_number`."""
        ...

    def request_fetch_at_once(self, source: str) -> None:
        """Have a source fetched at once, by `asked_number`; without effect on an unknown one."""
        ...

    def release_claim_if_own(self, name: TargetName, holder: str, epoch: int) -> None:
        """End a claim; without effect where it is another's by now."""
        ...

    def put_run(self, row: RunRow) -> None: ...

    def count_repeated_look(self, run_id: str, when: float) -> None:
        """Count one more look that found what a run found."""
        ...

    def mark_source_removed(self, name: str) -> None:
        """Mark a source that the configuration no longer has, and its targets as gone."""
        ...

    def replace_holds(self, name: TargetName, rows: Sequence[HoldRow]) -> None:
        """Have these rows of a target wait, and no others, in this order."""
        ...

    def put_approval(self, row: ApprovalRow) -> None: ...

    def delete_unused_approvals_of_row(self, name: TargetName, row_digest: str) -> None:
        """Take back the unused approvals of a row."""
        ...

    def mark_approvals_used(self, ids: Sequence[str], run_id: str, when: float) -> None:
        """Say that an apply used these approvals up; without effect on those that are used."""
        ...

    def delete_approvals_given_and_pauses_ended_before(self, when: float) -> None:
        """Delete approvals that were given, and pauses that ended, before a time."""
        ...

    def put_pause(self, row: PauseRow) -> None:
        """Write a pause; one of the same scope is replaced."""
        ...

    def delete_pause(self, scope: str) -> None: ...

    def put_rollout(self, row: RolloutRow) -> None: ...

    def put_wave(self, row: WaveRow) -> None: ...

    def put_rollout_targets(self, rows: Sequence[RolloutTargetRow]) -> None: ...

    def delete_rollout_with_waves_and_targets(self, name: str) -> None:
        """Forget a rollout, what was said of its waves, and what its targets have shown."""
        ...

    def delete_from_rollouts(self, names: Sequence[TargetName]) -> None:
        """Have these targets be in no rollout."""
        ...

    def put_status(self, row: StatusRow) -> None: ...

    def put_message_if_new(self, row: MessageRow) -> bool:
        """Write a message unless one of the same channel, event and fact is there; whether so."""
        ...

    def replace_existing_message(self, row: MessageRow) -> None:
        """Replace a message that is there."""
        ...

    def append_audit(
        self, time: float, who: str, action: str, subject: str, detail: str
    ) -> None: ...

    def replace_configuration_findings(self, findings: Sequence[Diagnostic]) -> None:
        """Replace what `list_configuration_findings` gives."""
        ...

    def delete_old_runs_except_newest_of_each_target(self, when: float) -> int:
        """Delete old runs, but for the newest of each target; how many."""
        ...

    def delete_old_ended_messages_revisions_and_statuses(self, when: float) -> None:
        """Delete old messages that need no sending, and old revisions with their statuses.

        The head of a source stays, however old it is.
        """
        ...
