"""The calls of a plan tried on its backend, and what is told of those that were not."""

from __future__ import annotations

from collections.abc import Iterator

from synapse_apply.applying.trying import Trials, rehearse
from synapse_apply.model.diagnostic import Diagnostic, warning
from synapse_apply.model.ports import Progress
from synapse_apply.model.threads import threads
from synapse_apply.planning.refusals import listing
from synapse_apply.session.context import Context, Planned
from synapse_apply.session.tasks import live_of, tasks_of, tools_of


def trials_of(context: Context, planned: Planned, progress: Progress) -> Trials:
    """Send each call of a plan that can be tried as a dry run; nothing is written.

    Where a guard speaks against the plan, only a backend that is known to make dry runs is asked.
    """
    tools = tools_of(context, planned, progress)
    with threads(context.parallelism) as pool:
        tasks, careful = tasks_of(planned), bool(planned.plan.guards)
        return rehearse(tasks, tools, live_of(planned), pool.map, careful=careful)


def told(trials: Trials) -> tuple[Diagnostic, ...]:
    """What was found on the way, and one warning for all that was not tried."""
    return (*trials.findings, *_untried(trials))


def _untried(trials: Trials) -> Iterator[Diagnostic]:
    reasons: dict[str, list[str]] = {}
    for step, why in trials.untried:
        reasons.setdefault(why, []).append(f"{step.task.address}")
    if not reasons:
        return
    counts = trials.counts
    calls = f"{counts.untried} of {counts.calls} call{'s' if counts.calls != 1 else ''}"
    which = "; ".join(f"{why} ({listing(names)})" for why, names in reasons.items())
    yield warning(
        "Not every call was tried on the backend",
        f"{calls} not tried: {which}.",
        "What the backend says to these shows when they are applied.",
    )
