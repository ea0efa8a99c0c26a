"""What the commit status of each target shows, for sources that ask for a context per target."""

from __future__ import annotations

from synapse_apply.controller.rows import (
    RevisionRow,
    StatusState,
    StatusText,
    TargetName,
    TargetProgress,
    TargetRow,
)
from synapse_apply.controller.rules.revision_end import (
    MAX_DESCRIPTION_LENGTH,
    build_status_context,
    describe_overtaking,
    limit_text,
)
from synapse_apply.controller.settings import Mode
from synapse_apply.model.phrases import format_count_and_noun

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
        return StatusText(StatusState.SUCCESS, "this commit does not concern it", url)
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


def _target_progress(target: TargetRow, failing_reason: str) -> str:
    counts = target.counts
    match target.progress:
        case TargetProgress.DONE if target.mode is Mode.OBSERVE:
            changes = (
                format_count_and_noun(counts.row_count_without_guards, "change")
                if counts.row_count_without_guards
                else "no changes"
            )
            return f"planned only: {changes}"
        case TargetProgress.DONE:
            return "live"
        case TargetProgress.HELD:
            waiting = format_held_rows(target.hold_count, target.held_guard_count)
            return f"held: {waiting} for a person"
        case TargetProgress.WAITING:
            return f"waiting: {target.waiting_reason}"
        case TargetProgress.REFUSED:
            return f"refused: {format_count_and_noun(counts.refused, 'row')}"
        case TargetProgress.FAILING:
            return f"failing: {failing_reason or 'its page says why'}"
        case _:
            return "it is to be looked at"
