"""Which exit code a command has for what is known of a target, as of the commands by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from synapse_apply.controller.api_types import ListedRun
from synapse_apply.controller.rows import RunRow, RunVerb, TargetCondition
from synapse_apply.controller.settings import Mode
from synapse_apply.model.errors import Exit

# A target that failed may have had good looks since, before what failed was tried again.
MOST_RUNS_OF_FAILURE = 10


def target_exit_code(
    state: TargetCondition, mode: Mode, list_newest_runs: Callable[[], Sequence[RunRow | ListedRun]]
) -> int:
    """As of `plan` and `apply`; OK also for what is held, waits, or is only observed.

    `list_newest_runs` gives the newest MOST_RUNS_OF_FAILURE runs, newest first; it is called for a
    target that fails.
    """
    match state:
        case TargetCondition.UNKNOWN:
            return Exit.UNKNOWN
        case TargetCondition.FAILING:
            return failure_exit_code(list_newest_runs())
        case TargetCondition.REFUSED if mode is not Mode.OBSERVE:
            return Exit.REFUSED
        case TargetCondition.NOT_LOOKED_AT:
            return Exit.ERROR
        case _:
            return Exit.OK


def failure_exit_code(newest_runs: Sequence[RunRow | ListedRun]) -> int:
    """The exit code of the newest run that failed, ERROR for none; the newest come first."""
    run = next((run for run in newest_runs if run.outcome.is_failure), None)
    if run is None or run.verb is RunVerb.LOOK:
        return Exit.ERROR
    if run.calls.unknown:
        return Exit.UNKNOWN
    has_begun = run.calls.done or run.calls.failed or run.calls.skipped
    return Exit.INCOMPLETE if has_begun else Exit.ERROR
