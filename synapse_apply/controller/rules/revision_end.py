"""How a revision ends, and the words of its commit status: the targets that it touched, summed up.

Red at the first failure of whatever step; a retry that succeeds turns it green. A revision is
judged by itself: one that is overtaken while it is open ends without a verdict, one that is
overtaken while red stays red.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from synapse_apply.controller.rows import (
    RevisionEnd,
    RevisionProgress,
    RevisionRow,
    RolloutRow,
    RolloutState,
    StatusState,
    StatusText,
)
from synapse_apply.model.phrases import format_count_and_noun

MAX_DESCRIPTION_LENGTH = 140
SHORT_COMMIT_LENGTH = 7
WAITING = "waiting for the first look"


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
            text = f"it cannot be used: {revision.finding.summary}"
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
    aborted = _aborted_with(rollouts, revision)
    if aborted is not None and progress.touched_count:
        text = f"{_describe_done_count(progress)}; {aborted.description}"
        return _with_end(revision, RevisionEnd.FAILURE, text, is_final=True)
    open_rollouts = _list_open_rollouts_of(rollouts, revision)
    is_done = progress.done_count == progress.touched_count
    # What is live has to soak yet; a commit that concerns nobody waits for nobody.
    if is_done and not (progress.touched_count and open_rollouts):
        return _with_end(
            revision, RevisionEnd.SUCCESS, describe_done_revision(progress), is_final=True
        )
    is_red = _is_any_stopped(open_rollouts) or progress.failing_count > 0
    end = RevisionEnd.FAILURE if is_red else RevisionEnd.NONE
    # How far it is, such as `3 of 12 done, 1 failing: prod (Unknown field), 1 held: prod-us`.
    reason = f" ({progress.failing_reason})" if progress.failing_reason else ""
    failing = _describe_targets(progress.failing_count, "failing", progress.failing_names)
    parts = [
        failing + reason if failing else "",
        _describe_targets(progress.held_count, "held", progress.held_names),
        _describe_targets(progress.waiting_count, "waiting", progress.waiting_names),
        f"{progress.later_wave_count} in later waves" if progress.later_wave_count else "",
    ]
    text = "; ".join(
        [
            ", ".join([_describe_done_count(progress), *filter(None, parts)]),
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


def _aborted_with(rollouts: Sequence[RolloutRow], revision: RevisionRow) -> RolloutRow | None:
    """The rollout that a person aborted with a revision, None for none."""
    return next(
        (
            row
            for row in rollouts
            if row.state is RolloutState.ABORTED and row.number == revision.number
        ),
        None,
    )


def _overtaken(revision: RevisionRow, rollouts: Sequence[RolloutRow]) -> RevisionRow:
    """A revision that was open when the next one came: what befell it itself, else no verdict."""
    text, aborted = describe_overtaking(revision), _aborted_with(rollouts, revision)
    if revision.forced_away:
        return _with_end(revision, RevisionEnd.ERROR, text, is_final=True)
    if aborted is not None:
        text = aborted.description
        return _with_end(revision, RevisionEnd.FAILURE, text, is_final=True)
    open_rollouts = _list_open_rollouts_of(rollouts, revision)
    end = RevisionEnd.FAILURE if _is_any_stopped(open_rollouts) else RevisionEnd.NONE
    text = "; ".join([text, *(row.description for row in open_rollouts if row.description)])
    return _with_end(revision, end, text, is_final=not open_rollouts)


def describe_overtaking(revision: RevisionRow) -> str:
    """By which commit a revision was overtaken, as a phrase."""
    commit = shorten_commit(revision.overtaken_by)
    if revision.forced_away:
        return f"forced away: the branch went to {commit}, which does not contain it"
    return f"overtaken by {commit}"


def _list_open_rollouts_of(
    rollouts: Sequence[RolloutRow], revision: RevisionRow
) -> list[RolloutRow]:
    """The rollouts that bring a revision."""
    return [row for row in rollouts if row.number == revision.number and not row.state.is_over]


def _is_any_stopped(rollouts: Sequence[RolloutRow]) -> bool:
    return any(row.state is RolloutState.STOPPED for row in rollouts)


def _with_end(revision: RevisionRow, end: RevisionEnd, text: str, *, is_final: bool) -> RevisionRow:
    return replace(
        revision, end=end, description=limit_text(text, MAX_DESCRIPTION_LENGTH), is_final=is_final
    )


def describe_done_revision(progress: RevisionProgress) -> str:
    """What a revision ends with whose targets are done: what was applied, what was only planned."""
    if not progress.touched_count:
        return "no target is concerned"
    observed_count = progress.touched_count - progress.applied_count
    parts = [
        *([_describe_applied(progress)] if progress.applied_count else []),
        *([_describe_observed(progress, observed_count)] if observed_count else []),
    ]
    return "; ".join(parts)


def _describe_applied(progress: RevisionProgress) -> str:
    if progress.applied_row_count:
        return f"applied: {format_count_and_noun(progress.applied_row_count, 'change')}"
    return f"applied: no changes, {format_count_and_noun(progress.applied_count, 'target')}"


def _describe_observed(progress: RevisionProgress, observed_count: int) -> str:
    if not progress.change_count:
        return f"planned only: no changes, {format_count_and_noun(observed_count, 'target')}"
    changes = format_count_and_noun(progress.change_count, "change")
    refused = f", {progress.refused_count} refused" if progress.refused_count else ""
    return f"planned only: {changes}{refused}"


def _describe_done_count(progress: RevisionProgress) -> str:
    return f"{progress.done_count} of {progress.touched_count} done"


def _describe_targets(count: int, word: str, first_names: Sequence[str]) -> str:
    """Targets in a state by name, such as `2 held: prod-eu, 1 more`; "" for none."""
    if not count:
        return ""
    hidden_count = count - len(first_names)
    names = [*first_names, *([f"{hidden_count} more"] if hidden_count else [])]
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


def limit_text(text: str, max_length: int) -> str:
    """A text, cut where it is too long."""
    return text if len(text) <= max_length else text[: max_length - 1] + "…"
