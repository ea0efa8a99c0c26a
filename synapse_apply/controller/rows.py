"""What the controller remembers, as values: one a row of its store.

Times are wall-clock seconds since the epoch (float) where people read them. What is due is
counted in seconds of the same clock and looked at again after each jump of it (`rules/due.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum
from typing import Any, NamedTuple

from synapse_apply.controller.planned_rows import MANY_FIELDS, Binding, HeldRow, PlannedRow
from synapse_apply.controller.settings import Mode
from synapse_apply.model.command import Command
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.phrases import format_count_and_noun


class TargetName(NamedTuple):
    """`SOURCE/TARGET`, as pages, messages and commands name it."""

    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.source}/{self.target}"


class RunVerb(Enum):
    """What a run did: it planned, or it planned and applied under the lock."""

    LOOK = "look"
    APPLY = "apply"


class RunOutcome(Enum):
    """What a look at a target found, or what became of an apply."""

    IN_SYNC = "in_sync"
    CHANGES = "changes"
    """The plan has changes, refusals or guards."""
    PLAN_ERROR = "plan_error"
    """There was no usable plan: a broken manifest, a wrong token, a missing secret."""
    TIMEOUT = "timeout"
    WORKER_LOST = "worker_lost"
    """The child process ended without an answer."""
    APPLIED = "applied"
    """All rows that were permitted are done."""
    APPLY_FAILED = "apply_failed"
    """A row that was permitted is not done, or it is unknown whether it is."""
    APPLY_STOPPED = "apply_stopped"
    """The permit ended in the middle: a window, a pause, the end of the controller."""

    @property
    def is_failure(self) -> bool:
        return self in {
            RunOutcome.PLAN_ERROR,
            RunOutcome.TIMEOUT,
            RunOutcome.WORKER_LOST,
            RunOutcome.APPLY_FAILED,
        }


# What people read instead of a value that the store, the API and metrics keep.
_WORDS = {
    "held": "awaiting approval",
    "look": "check",
    "not looked at": "not checked",
    "shown": "healthy",
    "waiting for approval": "awaiting approval",
    "waits for approval": "awaiting approval",
}


def say(value: str) -> str:
    """The words for a condition, state or verb in a sentence, a table or a badge."""
    return _WORDS.get(value, value)


class TargetCondition(Enum):
    """The state word of a target, in the order in which they need a person."""

    FAILING = "failing"
    UNKNOWN = "unknown"
    """Nobody knows whether a call had an effect; a person settles it."""
    REFUSED = "refused"
    HELD = "held"
    """Rows wait for a person's approval."""
    PAUSED = "paused"
    """There is something to do, and a person has paused the target."""
    WAITING = "waiting"
    """There is something to do, and it is done by itself later: a window, a verification."""
    ROLLED_BACK = "rolled back"
    """A person has rolled it back: it stays at an earlier commit than the head."""
    DRIFTED = "drifted"
    PENDING = "pending"
    """Git has changes that are not live."""
    IN_SYNC = "in sync"
    NOT_LOOKED_AT = "not looked at"


@frozen
class ChangeCounts:
    """How many rows a plan has of each sort."""

    add: int = 0
    change: int = 0
    destroy: int = 0
    import_: int = 0
    forget: int = 0
    refused: int = 0
    drifted: int = 0
    """Rows, among the above, with a cause in the live object."""
    guards: int = 0

    @property
    def row_count_without_guards(self) -> int:
        """Rows that ask for something to be done or decided."""
        return self.add + self.change + self.destroy + self.import_ + self.forget + self.refused


# The counts in words, by their name in documents; how guards are told, says who tells it.
COUNT_WORDS = {
    "add": "to add",
    "change": "to change",
    "destroy": "to destroy",
    "import": "to import",
    "forget": "to forget",
    "refused": "refused",
    "drifted": "drifted",
}


def describe_first_checks(unchecked: int, total: int) -> str:
    """How far a first start is, by how many targets are not checked yet; "" once all are."""
    if not unchecked:
        return ""
    return (
        f"{total - unchecked:,} of {format_count_and_noun(total, 'target')} checked so far. The "
        "controller spreads first checks over each target's interval, and checks targets of a "
        f"later wave when the wave opens. {Command('controller reconcile')} checks targets now."
    )


@frozen
class SourceRow:
    """What is known of a source.

    `head` is the newest accepted commit ("" before the first fetch) and `head_number` its number,
    which only grows. `sideways` is a commit that the ref named at the last fetch and that is no
    descendant of the head, first seen at `sideways_since`; `accepted` one that an operator lets
    become the head all the same. `finding` is why the last fetch failed,
    a warning where that commit waits for a person, None else; `failures` counts failed fetches in a
    row. `keyed_number` is the number of the newest head whose targets were found and compared.
    `is_removed` says that the configuration no longer has it. `change_number` grows with what
    may end one of its revisions. It is fetched at once where `asked_number`, which grows each time
    that somebody asks for that, is greater than `answered_number`: that of when the last fetch
    began. `credentials` are the variables and files that targets of any head named for their own
    credentials, each before the targets of a head that were the first to name it, then again before
    those that a later head added. `followed` are
    the full names of branches and tags that its settings have meant.
    """

    name: str
    head: str = ""
    head_number: int = 0
    sideways: str = ""
    sideways_since: float = 0.0
    fetched_at: float = 0.0
    due_at: float = 0.0
    failures: int = 0
    finding: Diagnostic | None = None
    keyed_number: int = 0
    is_removed: bool = False
    change_number: int = 0
    asked_number: int = 0
    answered_number: int = 0
    credentials: tuple[tuple[str, ...], ...] = ()
    followed: tuple[str, ...] = ()
    accepted: str = ""


@frozen
class RunningJob:
    """A job that runs a plugin of a target.

    `owner` is the address of that plugin or release, `id` and `version` are as the server writes
    them. `progress` is in percent, None where the server gives none; `since` a wall-clock time, 0
    where the server gives none.
    """

    id: str
    owner: str
    version: str = ""
    progress: float | None = None
    since: float = 0.0


@frozen
class RunningJobsSeen:
    """The jobs of a target's plugins that were running at `seen_at`, 0 where nobody asked.

    `is_cut` says that there may be more; `unread_reason` is a phrase why they are not known, ""
    where they are.
    """

    jobs: tuple[RunningJob, ...] = ()
    is_cut: bool = False
    unread_reason: str = ""
    seen_at: float = 0.0


class RevisionEnd(Enum):
    """How a revision ended; NONE while it has not, and where it was overtaken before that."""

    NONE = ""
    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"


@frozen
class RevisionRow:
    """A commit that was a source's head.

    `finding` is what of the commit itself cannot be used (its project file), None for nothing.
    `overtaken_by` is the commit of the next head, "" for the newest. `forced_away` says that the
    next head is no descendant of it. `is_final` says that its end changes no more: a failure may
    still turn into a success while it is False.
    """

    source: str
    number: int
    commit: str
    seen_at: float
    author: str = ""
    subject: str = ""
    end: RevisionEnd = RevisionEnd.NONE
    description: str = ""
    ended_at: float = 0.0
    finding: Diagnostic | None = None
    overtaken_by: str = ""
    forced_away: bool = False
    is_final: bool = False

    @property
    def end_word(self) -> str:
        """Its end, for people and scripts: "overtaken" for one without a verdict, "" for none."""
        is_neutral = self.is_final and self.end is RevisionEnd.NONE
        return "overtaken" if is_neutral else self.end.value


@frozen
class RevisionProgress:
    """How far the targets are that a revision touched: how many, and the first that fail, by name.

    A target is done as TargetProgress says; `failing_names` has those that are refused, too.
    `change_count` and `refused_count` are rows of the plans of those that are done in mode observe.
    """

    touched_count: int = 0
    done_count: int = 0
    failing_count: int = 0
    failing_names: tuple[str, ...] = ()
    failing_reason: str = ""
    """The first error of the first of those, "" where that has none."""
    change_count: int = 0
    refused_count: int = 0
    held_count: int = 0
    held_names: tuple[str, ...] = ()
    waiting_count: int = 0
    waiting_names: tuple[str, ...] = ()
    applied_count: int = 0
    """Targets, of those done, whose rule lets the controller apply."""
    applied_row_count: int = 0
    """Rows that applies of this revision have done."""
    later_wave_count: int = 0
    """Targets that stay at an older revision until their wave of a rollout comes."""
    rolled_back_count: int = 0
    rolled_back_names: tuple[str, ...] = ()


class TargetProgress(Enum):
    """How far a target is with the inputs that it is to have."""

    OPEN = "open"
    DONE = "done"
    """In sync, or what is left is no matter of Git: held drift. In mode observe: planned."""
    HELD = "held"
    WAITING = "waiting"
    """For a window, the end of a pause, or a verification."""
    REFUSED = "refused"
    FAILING = "failing"


# In `due_detail` of a target whose pause, rollback or brake has ended.
END_OF_PAUSE = "the end of a pause"
END_OF_ROLLBACK = "the end of a rollback"
END_OF_BRAKE = "the end of a brake"
# In `due_detail` of a target in mode observe that a person has asked to apply, for one check.
APPLY_NOW = "apply now"


class RunCause(Enum):
    """Why a target was looked at, or applied."""

    PUSH = "push"
    INTERVAL = "interval"
    RETRY = "retry"
    ASKED = "asked"
    APPROVED = "approved"
    RESUMED = "resumed"
    """What held it up may be over: a pause, a window, its rule of controller.yaml, a target that it
    waits for. The row says which."""
    APPLIED = "applied"
    """An apply ended just before: what is live now?"""


@frozen
class CallCounts:
    """The results of an apply's rows."""

    done: int = 0
    failed: int = 0
    unknown: int = 0
    skipped: int = 0


@frozen
class BegunApply:
    """An apply that has no run row yet; its fields are of that row, `rows` what was approved."""

    run: str
    commit: str
    cause: RunCause
    began_at: float
    approved_by: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()


@frozen
class CallProgress:
    """A row that a running apply has begun: `number` of the `total` that it may do.

    `result` is "" and `seconds` 0 until its calls have ended.
    """

    number: int
    total: int
    address: str
    action: str
    began_at: float
    result: str = ""
    seconds: float = 0.0


@frozen
class ApplyLog:
    """The newest rows of an apply that runs, in the order of their begin."""

    run: str
    calls: tuple[CallProgress, ...] = ()


@frozen
class Rollback:
    """Where a person has rolled a target back to, and what that ends with.

    It stays at `commit`, where its inputs have `digest`, until a head declares something else for
    it than `left_commit`, the head until then, whose inputs have `left_digest`. `wanted_commit` and
    `wanted_digest` are what it was to be at; a rollout may not have come to it yet. `was_live` says
    that a run has seen all of `commit` live there.
    """

    commit: str
    digest: str
    left_commit: str
    left_digest: str
    wanted_commit: str
    wanted_digest: str
    who: str
    reason: str
    since: float
    was_live: bool = False

    @property
    def phrase(self) -> str:
        """For people: "rolled back to 1a2b3c4 by proxy:ann: release freeze"."""
        return f"rolled back to {self.commit[:7]} by {self.who}: {self.reason}"


@frozen
class RestoredField:
    """How often a field of an object was restored that somebody changes outside of Git.

    `field` is "" for the object itself, MANY_FIELDS for more than can be named; `address` is "" for
    what found no place of its own. `times` are when, oldest first, as far as they count; `by`
    is who else writes it, "" where nobody knows. `is_always` says that no brake holds for it.
    `next_at` is when a brake lets it be restored again, 0 for no brake; `is_held` that a person
    decides.
    """

    address: str
    field: str
    times: tuple[float, ...]
    by: str = ""
    is_always: bool = False
    next_at: float = 0.0
    is_held: bool = False

    @property
    def name(self) -> str:
        """For people: "description of plugin/yolo"."""
        if not self.address:
            return "another field"
        is_one_field = self.field not in {"", MANY_FIELDS}
        return f"{self.field} of {self.address}" if is_one_field else self.address

    @property
    def count(self) -> int:
        return len(self.times)

    @property
    def since(self) -> float:
        return self.times[0]

    @property
    def last_at(self) -> float:
        return self.times[-1]

    @property
    def is_braked(self) -> bool:
        return self.is_held or self.next_at > 0


@frozen
class TargetRow:
    """What is known of a target, and when it is looked at next.

    `wanted_commit` is the commit it is to be at, with that head's number and the digest of its
    inputs there (`wanted_digest`); `applied_commit` the last one of which nothing was left to do
    ("": none yet): what drifted is no matter of a commit. `input_digest` is the digest of the
    inputs of the last look that was no failure, "" after one that failed with others: where it is
    not the wanted one, the target is not done.
    `touched_number` is the
    newest head for which it was not done when that came, `looked_number` the head at which it was
    last looked at. `failures` counts failed runs in a row. `due_cause` is why it is looked at
    next, `due_detail` what of RESUMED that is.
    `progress` is that with the wanted digest, OPEN until a run had it. `waiting_reason` is a
    phrase where something is to be done later: "paused by proxy:ann until ...", "outside of a
    window until ...". `applied_at` is when a call was last made, 0 for never. `mode` is that of its
    rule at the last run, `hold_count` how many rows and guards wait for a
    person, `held_guard_count` how many of them are guards. `holder`,
    `lease_until` and `epoch` are the claim of who works on it; `epoch` only grows.
    `is_gone` says that the head no longer declares it. `head_digest` is the digest of its inputs
    at the head of its source, which is the wanted one but where a rollout has not come to it: only
    with those is it done for the head. `running_jobs` are those of the last look with a plan.
    `begun_apply` is there while an apply runs: who claims the target and finds one knows that its
    process ended before it could record it. `binding` is what its rule was given for, None while
    that is not known, and `found_binding` what its last look that had a plan was made of.
    `rollback` is there while a person has rolled it back: then the wanted commit and digest are
    those of the rollback, and heads do not move them. `restored` are the fields that were restored
    lately, `live_digest` is the digest of the inputs that were last seen to be live, "" where an
    apply has begun with others since.
    """

    name: TargetName
    wanted_commit: str = ""
    wanted_number: int = 0
    applied_commit: str = ""
    input_digest: str = ""
    state: TargetCondition = TargetCondition.NOT_LOOKED_AT
    counts: ChangeCounts = ChangeCounts()
    last_run: str = ""
    looked_at: float = 0.0
    changed_at: float = 0.0
    due_at: float = 0.0
    failures: int = 0
    backend_host: str = ""
    holder: str = ""
    lease_until: float = 0.0
    epoch: int = 0
    is_gone: bool = False
    wanted_digest: str = ""
    touched_number: int = 0
    looked_number: int = 0
    due_cause: RunCause = RunCause.INTERVAL
    progress: TargetProgress = TargetProgress.OPEN
    waiting_reason: str = ""
    applied_at: float = 0.0
    mode: Mode = Mode.OBSERVE
    hold_count: int = 0
    held_guard_count: int = 0
    head_digest: str = ""
    running_jobs: RunningJobsSeen = RunningJobsSeen()
    begun_apply: BegunApply | None = None
    binding: Binding | None = None
    found_binding: Binding | None = None
    due_detail: str = ""
    rollback: Rollback | None = None
    restored: tuple[RestoredField, ...] = ()
    live_digest: str = ""

    @property
    def is_applied_now(self) -> bool:
        """Whether a person has asked for an apply in mode observe, which the next check is for."""
        return self.due_cause is RunCause.APPROVED and self.due_detail == APPLY_NOW

    def is_claimed(self, now: float) -> bool:
        """Whether somebody works on it: the claim of one who was killed ends by itself."""
        return bool(self.holder) and now < self.lease_until

    @property
    def is_live(self) -> bool:
        """As in ApplyTerms."""
        return bool(self.live_digest) and self.live_digest == self.wanted_digest

    @property
    def applying(self) -> tuple[str, ...]:
        """The digests of the approved rows and guards that an apply does now."""
        return self.begun_apply.rows if self.begun_apply else ()


@frozen
class RunRow:
    """An apply, or a check with a new result. One that found the same is `repeats` of it.

    `id` is sorted by time. `plan_json` is the plan (`model.plan`, as `Plan.to_json` gives it), ""
    where there is none; `cause_detail` is what of RESUMED the cause was;
    `report_json` is the report of an apply, `calls` its sums, `approved_by`
    whose approvals it used. `result_digest` is over what it found, without times and ids.
    """

    id: str
    target: TargetName
    commit: str
    cause: RunCause
    began_at: float
    ended_at: float
    outcome: RunOutcome
    counts: ChangeCounts = ChangeCounts()
    findings: tuple[Diagnostic, ...] = ()
    plan_json: str = field(default="", repr=False)
    result_digest: str = ""
    repeats: int = 0
    last_seen_at: float = 0.0
    verb: RunVerb = RunVerb.LOOK
    calls: CallCounts = CallCounts()
    approved_by: tuple[str, ...] = ()
    stop_reason: str = ""
    report_json: str = field(default="", repr=False)
    cause_detail: str = ""


@frozen
class HoldRow:
    """A row of a target that waits for a person since `since`; `commit` and `run` showed it.

    `rejected_by` is who said that it is not to be done, "" for nobody, with `rejected_reason`. It
    is gone as soon as the row differs, or is done. `number` is its place in the plan.
    """

    target: TargetName
    row_digest: str
    held_row: HeldRow
    commit: str
    run: str
    since: float
    number: int = 0
    rejected_by: str = ""
    rejected_reason: str = ""


@frozen
class ApprovalRow:
    """What one person said of one row: it may be done. Counts for seven days.

    `id` is a UUID that is sorted by time, of version 8 where it is for an apply on request alone.
    `row` is as it was shown, `row_digest` its digest. `groups` are those that the person was in
    then, by which they could approve. `used_at` is when an apply used it up, 0 while it is unused;
    the target's own state is what keeps it from being used twice.
    `approved_reason` is what the person wrote, "" for nothing.
    """

    id: str
    target: TargetName
    row_digest: str
    row: PlannedRow
    who: str
    approved_at: float
    used_at: float = 0.0
    used_by_run: str = ""
    groups: tuple[str, ...] = ()
    approved_reason: str = ""

    @property
    def is_of_now(self) -> bool:
        return self.id[14:15] == "8"

    def as_of_now(self) -> ApprovalRow:
        return replace(self, id=f"{self.id[:14]}8{self.id[15:]}")


@frozen
class PauseRow:
    """A pause of all targets that match `scope`, a pattern (fnmatch) of SOURCE/TARGET.

    It ends at `until`, a wall-clock time.
    """

    scope: str
    who: str
    reason: str
    since: float
    until: float


@frozen
class SessionRow:
    """Somebody who logged in on the page, until `until` (wall clock).

    `token_name` is that of a token of `access`, or `oidc:NAME`. Neither the cookie nor the token is
    stored: `digest` is the cookie's, and `proof` is an HMAC of the token, or of what `access` says
    of the provider, under the cookie, so that a session ends when that is another one.
    """

    digest: str
    token_name: str
    proof: str
    until: float


class StatusState(Enum):
    """States of a commit status, in the words of both forges' common part."""

    PENDING = "pending"
    SUCCESS = "success"
    FAILURE = "failure"
    ERROR = "error"


@frozen
class StatusText:
    """What one context of a commit shows: at most 140 characters, and a link."""

    state: StatusState
    description: str
    url: str


@frozen
class StatusRow:
    """A register: what a context of a commit is to show, and what was last sent there.

    `refusal` says why the forge will never take it (a 403), "" while it may. `read_at` is when it
    was last read back.
    """

    source: str
    commit: str
    context: str
    wished: StatusText
    sent: StatusText | None = None
    sent_at: float = 0.0
    try_at: float = 0.0
    failures: int = 0
    refusal: str = ""
    read_at: float = 0.0


@frozen
class MessageRow:
    """A message that is to be sent once; sent again after a crash, with the same `id`.

    `fact` names what it is about: one fact is told once. `fields` is the body, JSON values.
    """

    id: str
    channel: str
    event: str
    fact: str
    fields: Mapping[str, Any]
    created_at: float
    sent_at: float = 0.0
    try_at: float = 0.0
    failures: int = 0
    refusal: str = ""


@frozen
class AuditRow:
    """One thing that was done: by whom, to what. `digest` is over this row and the one before."""

    number: int
    time: float
    who: str
    action: str
    subject: str
    detail: str = ""
    digest: str = ""

    @property
    def is_of_rollout(self) -> bool:
        """Whether `subject` is SOURCE/ROLLOUT: the words of no action of a target say so."""
        return not {"rollout", "wave", "waves"}.isdisjoint(self.action.split())


# What the controller remembers of rollouts, as values: one a row of its store.
#
# Times are wall-clock seconds since the epoch, as in `rows.py`.


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
    `description` is how far it is, for people: "wave 2 of 3: 4 of 10 healthy, 1 failing: prod-eu".
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
    yet): until its wave comes, those of an older revision. It is "" with a time where the rollout
    was aborted before the target was seen to have them: nothing is applied. All that follows was
    shown with `moved_digest`, and stays as long as that stays. `moved_epoch` is the epoch of the
    target's claim when it was moved: only runs that were claimed later count. `arrived_at` is when
    it was first seen to have its inputs. `good_since` and `good_until` are the first and the last
    of its good looks in a row (0: none), `soaked` the seconds between these that count. `failed_at`
    is when it last failed, 0 for never or since somebody resumed the rollout.
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


# What the processes of one controller know of one another, as values: one a row of its store.
#
# Times are wall-clock seconds since the epoch, as in `rows.py`.

LEADER_LEASE = "leader"
"""The lease of the replica that follows sources, hands out work, sends and ends revisions."""


@frozen
class OwnerRow:
    """That a target manages an object; `thing`, `remote_id` and `is_recorded` as in Claim.

    `url` is that of `backend`, which has the tenant behind it; both and `token` and `lineage` are
    as in Binding. `since` is the wall-clock time of the first look that found it so.
    """

    url: str
    thing: str
    name: TargetName
    backend: str
    lineage: str
    token: str = ""
    remote_id: str = ""
    is_recorded: bool = True
    since: float = 0.0


@frozen
class LeaseRow:
    """Who alone has certain duties until a time. `holder` is "" where nobody has them.

    `epoch` grows with each new holder and never goes back.
    """

    name: str
    holder: str = ""
    until: float = 0.0
    epoch: int = 0


class ProcessRole(Enum):
    """What a process of the controller is for."""

    REPLICA = "replica"
    """It can lead, has a page, and works on targets."""
    WORKER = "worker"
    """It works on targets, and nothing else."""


@frozen
class ProcessRow:
    """A process of the controller, on any machine. `holder` is its own name in claims and leases.

    It works on at most `slots` targets at a time.
    `settings_digest` is over the configuration that it uses. A process that ended without a word
    is known by `seen_at`, which the others renew at short intervals.
    """

    holder: str
    host: str
    process_id: int
    role: ProcessRole
    version: str
    settings_digest: str
    slots: int
    started_at: float
    seen_at: float
