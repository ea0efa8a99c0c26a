"""How a revision becomes the head and how it ends, and what is told of it: statuses, messages."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Literal, NamedTuple

from synapse_apply.controller.ports import Head
from synapse_apply.controller.rows import (
    RevisionEnd,
    RevisionProgress,
    RevisionRow,
    RolloutRow,
    RolloutState,
    SourceRow,
    StatusState,
    StatusText,
    TargetCondition,
    TargetName,
    TargetProgress,
    TargetRow,
)
from synapse_apply.controller.settings import MINUTE, Event, Mode
from synapse_apply.model.frozen import replace
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.views.sanitize import limit_text

_RED_ENDS = frozenset({RevisionEnd.FAILURE, RevisionEnd.ERROR})


class HeadDecision(Enum):
    """What is done about the commit that a ref names."""

    UNCHANGED = "unchanged"
    ACCEPT = "accept"
    """It is the first one, or a descendant of the head."""
    LOOK_AGAIN = "look again"
    """It is no descendant of the head. A Git server that lags shows an old commit for a moment."""
    FOLLOW = "follow"
    """It is no descendant, and becomes the head: the head before it was forced away."""
    HOLD = "hold"
    """It is no descendant, and waits for a person."""


def decide_head(
    source: SourceRow,
    commit: str,
    *,
    is_same_or_descendant: bool,
    rewinds: Literal["hold", "follow"],
    now: float,
    second_look: float = MINUTE,
) -> HeadDecision:
    """What to do about the commit that the ref names; `is_same_or_descendant` of the head is given.

    `second_look` is after how many seconds a commit that is none is believed.
    """
    if commit == source.head:
        return HeadDecision.UNCHANGED
    if not source.head or is_same_or_descendant:
        return HeadDecision.ACCEPT
    if source.accepted == commit:
        return HeadDecision.FOLLOW
    passed = now - source.sideways_since
    # A clock that was set back makes it wait anew, and never be believed early.
    if source.sideways != commit or not passed >= second_look:
        return HeadDecision.LOOK_AGAIN
    return HeadDecision.FOLLOW if rewinds == "follow" else HeadDecision.HOLD


def with_sideways_commit(source: SourceRow, commit: str, now: float) -> SourceRow:
    """The source with a commit that is no descendant of its head; the first sight of it counts.

    A time that lies ahead of now, since the clock was set back, is begun anew.
    """
    if source.sideways == commit and source.sideways_since <= now:
        return source
    return replace(source, sideways=commit, sideways_since=now)


def build_next_revision(source: SourceRow, head: Head, now: float) -> RevisionRow:
    """The revision that a commit becomes as the next head of its source."""
    return RevisionRow(
        source.name, source.head_number + 1, head.commit, now, head.author, head.subject
    )


def build_overtaken_revision(
    revision: RevisionRow, next_commit: str, *, is_forced: bool
) -> RevisionRow:
    """A revision whose source has another head now; one that is red stays red.

    How one ends that is open, `revision_end` says.
    """
    is_red = revision.end in _RED_ENDS
    return replace(
        revision,
        overtaken_by=next_commit,
        forced_away=is_forced,
        is_final=revision.is_final or is_red,
    )


def is_fetch_settled(row: SourceRow) -> bool:
    """Whether no fetch is asked for, and the targets of the head are known or fetches fail."""
    is_compared = row.keyed_number >= row.head_number or row.failures > 0
    return row.answered_number >= row.asked_number and is_compared


# How a revision ends, and the words of its commit status: the targets that it touched, summed up.
#
# Red at the first failure of whatever step; a retry that succeeds turns it green. A revision is
# judged by itself: one that is overtaken while it is open ends without a verdict, one that is
# overtaken while red stays red.

MAX_DESCRIPTION_LENGTH = 140
SHORT_COMMIT_LENGTH = 7
WAITING = "waiting for the first check"


def build_changed_revisions(
    open_revisions: Sequence[RevisionRow],
    progress: RevisionProgress,
    *,
    is_keyed: bool,
    now: float,
    rollouts: Sequence[RolloutRow] = (),
) -> list[RevisionRow]:
    """The revisions of a source that change, of those that are open.

    `progress` is that of the head, whose targets are known only where `is_keyed`. `rollouts` are
    those of the source: one that goes on with an older revision keeps that open.
    """
    changed: list[RevisionRow] = []
    for revision in open_revisions:
        if revision.finding is not None:
            text = f"unusable: {revision.finding.summary}"
            updated = _with_end(revision, RevisionEnd.FAILURE, text, is_final=True)
        elif revision.overtaken_by:
            updated = _overtaken(revision, rollouts)
        else:
            updated = _by_targets(revision, progress, rollouts, is_keyed=is_keyed)
        is_ended = updated.is_final or updated.end is not RevisionEnd.NONE
        if is_ended and (updated.end, updated.is_final) != (revision.end, revision.is_final):
            updated = replace(updated, ended_at=now)
        if updated != revision:
            changed.append(updated)
    return changed


def _by_targets(
    revision: RevisionRow,
    progress: RevisionProgress,
    rollouts: Sequence[RolloutRow],
    *,
    is_keyed: bool,
) -> RevisionRow:
    """The head, by what became of its targets and of their rollouts so far."""
    if not is_keyed:
        return replace(revision, description=WAITING)
    own = _rollouts_with(revision, rollouts)
    done_count = f"{progress.done_count} of {progress.touched_count} done"
    if own.aborted is not None and progress.touched_count:
        text = f"{done_count}; {own.aborted.description}"
        return _with_end(revision, RevisionEnd.FAILURE, text, is_final=True)
    is_done = progress.done_count == progress.touched_count
    # What is live has to soak yet; a commit that concerns nobody waits for nobody.
    if is_done and not (progress.touched_count and own.open):
        text = describe_done_revision(progress)
        return _with_end(revision, RevisionEnd.SUCCESS, text, is_final=True)
    is_red = own.is_any_stopped or progress.failing_count > 0
    end = RevisionEnd.FAILURE if is_red else RevisionEnd.NONE
    # How far it is, such as `3 of 12 done, 1 failing: prod (Unknown field), 1 waiting: eu`.
    reason = f" ({progress.failing_reason})" if progress.failing_reason else ""
    failing = _describe_targets(progress.failing_count, "failing", progress.failing_names)
    parts = [
        failing + reason if failing else "",
        _describe_targets(progress.held_count, "awaiting approval", progress.held_names),
        _describe_targets(progress.waiting_count, "waiting", progress.waiting_names),
        f"{progress.later_wave_count} in later waves" if progress.later_wave_count else "",
        _describe_targets(progress.rolled_back_count, "rolled back", progress.rolled_back_names),
    ]
    text = "; ".join(
        [
            ", ".join([done_count, *filter(None, parts)]),
            *[
                row.description
                if row.number == revision.number
                else f"after {shorten_commit(row.commit)}: {row.description}"
                for row in rollouts
                if not row.state.is_over and row.description
            ],
        ]
    )
    return _with_end(revision, end, text, is_final=False)


class _Rollouts(NamedTuple):
    """Those that bring a revision, and the one that a person aborted with it, None for none."""

    open: Sequence[RolloutRow]
    aborted: RolloutRow | None

    @property
    def is_any_stopped(self) -> bool:
        return any(row.state is RolloutState.STOPPED for row in self.open)


def _rollouts_with(revision: RevisionRow, rollouts: Sequence[RolloutRow]) -> _Rollouts:
    rows = [row for row in rollouts if row.number == revision.number]
    aborted = [row for row in rows if row.state is RolloutState.ABORTED]
    return _Rollouts([row for row in rows if not row.state.is_over], next(iter(aborted), None))


def _overtaken(revision: RevisionRow, rollouts: Sequence[RolloutRow]) -> RevisionRow:
    """A revision that was open when the next one came: what befell it itself, else no verdict."""
    text, own = describe_overtaking(revision), _rollouts_with(revision, rollouts)
    if revision.forced_away:
        return _with_end(revision, RevisionEnd.ERROR, text, is_final=True)
    if own.aborted is not None:
        text = own.aborted.description
        return _with_end(revision, RevisionEnd.FAILURE, text, is_final=True)
    end = RevisionEnd.FAILURE if own.is_any_stopped else RevisionEnd.NONE
    text = "; ".join([text, *(row.description for row in own.open if row.description)])
    return _with_end(revision, end, text, is_final=not own.open)


def describe_overtaking(revision: RevisionRow) -> str:
    """By which commit a revision was overtaken, as a phrase."""
    commit = shorten_commit(revision.overtaken_by)
    if revision.forced_away:
        return f"removed by a force push: the branch is at {commit}, which does not contain it"
    return f"overtaken by {commit}"


def _with_end(revision: RevisionRow, end: RevisionEnd, text: str, *, is_final: bool) -> RevisionRow:
    return replace(
        revision, end=end, description=limit_text(text, MAX_DESCRIPTION_LENGTH), is_final=is_final
    )


def describe_done_revision(progress: RevisionProgress) -> str:
    """What a revision ends with whose targets are done: what was applied, what was only planned."""
    if not progress.touched_count:
        return "affects no target"
    observed_count = progress.touched_count - progress.applied_count
    parts = []
    if progress.applied_count and progress.applied_row_count:
        parts.append(f"applied: {format_count_and_noun(progress.applied_row_count, 'change')}")
    elif progress.applied_count:
        targets = format_count_and_noun(progress.applied_count, "target")
        parts.append(f"applied: no changes, {targets}")
    if observed_count and progress.change_count:
        changes = format_count_and_noun(progress.change_count, "change")
        refused = f", {progress.refused_count} refused" if progress.refused_count else ""
        parts.append(f"planned only: {changes}{refused}")
    elif observed_count:
        targets = format_count_and_noun(observed_count, "target")
        parts.append(f"planned only: no changes, {targets}")
    return "; ".join(parts)


def _describe_targets(count: int, word: str, first_names: Sequence[str]) -> str:
    """Targets in a state by name, such as `2 failing: prod-eu, 1 more`; "" for none."""
    if not count:
        return ""
    hidden_count = count - len(first_names)
    names = [*first_names, *[f"{hidden_count} more"] * bool(hidden_count)]
    return f"{count} {word}: {', '.join(names)}"


def build_status_text(revision: RevisionRow, url: str) -> StatusText:
    """What the commit status of a revision is to show; `url` is the page of it.

    Forges have no word for an end without a verdict: success blocks nothing, and the text tells.
    """
    word = {"": "pending", "overtaken": "success"}.get(revision.end_word, revision.end_word)
    return StatusText(StatusState(word), revision.description or WAITING, url)


def build_status_context(controller_name: str, source: str) -> str:
    """The context under which the commit statuses of a source stand."""
    return f"synapse-apply/{controller_name}/{source}"


def shorten_commit(commit: str) -> str:
    return commit[:SHORT_COMMIT_LENGTH]


# A forge shows a few dozen contexts of a commit; beyond these the summary tells more.
MAX_TARGET_CONTEXTS = 20

_STATES = {
    TargetProgress.OPEN: StatusState.PENDING,
    TargetProgress.DONE: StatusState.SUCCESS,
    TargetProgress.HELD: StatusState.PENDING,
    TargetProgress.WAITING: StatusState.PENDING,
    TargetProgress.REFUSED: StatusState.FAILURE,
    TargetProgress.FAILING: StatusState.FAILURE,
}


def target_context(controller_name: str, name: TargetName) -> str:
    """The context under which the status of one target stands, below that of its source."""
    return f"{build_status_context(controller_name, name.source)}/{name.target}"


def build_target_status_text(
    target: TargetRow, revision: RevisionRow, url: str, *, failing_reason: str = ""
) -> StatusText:
    """What the status of a target is to show on the head; `url` is the page of the target.

    `failing_reason` is the first error of one that fails, "" where none is known. A target whose
    inputs the head does not change shows that it is not concerned.
    """
    if target.touched_number < revision.number:
        return StatusText(StatusState.SUCCESS, "not affected by this commit", url)
    if target.rollback is not None:
        text = limit_text(target.rollback.phrase, MAX_DESCRIPTION_LENGTH)
        return StatusText(StatusState.PENDING, text, url)
    if target.wanted_digest != target.head_digest:
        return StatusText(StatusState.PENDING, "waiting for its wave of the rollout", url)
    text = limit_text(_target_progress(target, failing_reason), MAX_DESCRIPTION_LENGTH)
    return StatusText(_STATES[target.progress], text, url)


def overtaken_status(status: StatusText, revision: RevisionRow) -> StatusText:
    """What a target's status shows on a commit that is the head no more.

    An end stays; one that is pending ends without a verdict once the revision changes no more,
    whatever became of other targets.
    """
    if status.state is not StatusState.PENDING or not revision.is_final:
        return status
    state = StatusState.ERROR if revision.forced_away else StatusState.SUCCESS
    return StatusText(state, describe_overtaking(revision), status.url)


def format_held_rows(row_and_guard_count: int, guard_count: int) -> str:
    """What waits for a person: "2 rows and 1 guard"; `row_and_guard_count` has the guards, too."""
    row_count = row_and_guard_count - guard_count
    parts = [
        format_count_and_noun(number, noun)
        for number, noun in ((row_count, "row"), (guard_count, "guard"))
        if number
    ]
    return " and ".join(parts) or format_count_and_noun(0, "row")


def describe_holds(hold_count: int, guard_count: int, applying_count: int) -> str:
    """What waits for a person of what is held, and what of it an apply does; "" for nothing."""
    count = max(0, hold_count - applying_count)
    waiting = format_held_rows(count, min(guard_count, count))
    phrases = [f"{waiting} await{'s' * (count == 1)} approval"] * bool(count)
    if applying_count:
        is_one = applying_count == 1
        phrases += [f"{applying_count} {'row is' if is_one else 'rows are'} being applied"]
    return "; ".join(phrases)


def _target_progress(target: TargetRow, failing_reason: str) -> str:
    counts = target.counts
    match target.progress:
        case TargetProgress.DONE if target.mode is Mode.OBSERVE:
            count = counts.row_count_without_guards
            changes = format_count_and_noun(count, "change") if count else "no changes"
            return f"planned only: {changes}"
        case TargetProgress.DONE:
            return "live"
        case TargetProgress.HELD:
            waiting = format_held_rows(target.hold_count, target.held_guard_count)
            return f"awaiting approval: {waiting}"
        case TargetProgress.WAITING:
            return f"waiting: {target.waiting_reason}"
        case TargetProgress.REFUSED:
            return f"refused: {format_count_and_noun(counts.refused, 'row')}"
        case TargetProgress.FAILING:
            return f"failing: {failing_reason or 'see its page'}"
        case _:
            return "waiting for a check"


# A fetch that fails once is tried again before anybody is told.
FETCH_FAILURES_BEFORE_MESSAGE = 3

# So many in a row need a person: people are told once more.
FAILURES_BEFORE_PERSON = 5

_EVENTS_BY_STATE = {
    TargetCondition.FAILING: Event.FAILED,
    TargetCondition.UNKNOWN: Event.FAILED,
    TargetCondition.REFUSED: Event.HELD,
    TargetCondition.HELD: Event.HELD,
    TargetCondition.DRIFTED: Event.DRIFT,
}


def list_target_events(before: TargetRow, after: TargetRow) -> list[Event]:
    """What people are told of a target after a run; nothing while nothing changed for them.

    That it recovered is told once of each failure, whatever it waits for then, and of nothing else.
    A pause is told where it is set, not at each target; what failed is closed when it is removed.
    """
    if after.is_gone:
        return []
    events = []
    if is_told_as_failed(before) and not is_told_as_failed(after):
        events.append(Event.RECOVERED)
    if before.failures < FAILURES_BEFORE_PERSON <= after.failures:
        events.append(Event.FAILED)
    elif after.state is not before.state and after.state in _EVENTS_BY_STATE:
        events.append(_EVENTS_BY_STATE[after.state])
    elif after.state is TargetCondition.ROLLED_BACK:
        # The word for drift is not shown then.
        events += [Event.DRIFT] * (after.counts.drifted > 0 and not before.counts.drifted)
    return events


def is_told_as_failed(row: TargetRow) -> bool:
    """Whether people were told that a target failed, and not yet that this is over."""
    is_failed = _EVENTS_BY_STATE.get(row.state) is Event.FAILED
    return is_failed or row.failures >= FAILURES_BEFORE_PERSON


def find_fetch_event(before: SourceRow, after: SourceRow) -> Event | None:
    """What people are told of a source after a fetch."""
    limit = FETCH_FAILURES_BEFORE_MESSAGE
    if before.failures < limit <= after.failures:
        return Event.FAILED
    return Event.RECOVERED if before.failures >= limit and not after.failures else None


def find_head_event(before: RevisionRow | None, after: RevisionRow) -> Event | None:
    """What people are told when the targets of a head are known, or the head cannot be used."""
    if after.finding is not None:
        return Event.FAILED
    return Event.RECOVERED if before is not None and before.finding is not None else None
