"""How a worker is asked for one run, a look or an apply, and what is known of it afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from itertools import chain
from threading import Lock
from typing import NamedTuple

from synapse_apply.controller.loop.claiming import ClaimedTarget
from synapse_apply.controller.loop.parts import LoopParts
from synapse_apply.controller.ports import LookRequest, RunResult, SourceUnavailable
from synapse_apply.controller.rows import RunOutcome, RunVerb, TargetName, TargetRow
from synapse_apply.controller.rules.targets import find_rule
from synapse_apply.controller.settings import Source, TargetRule
from synapse_apply.model.diagnostic import error_finding


class RunCounts:
    """How many runs there were since the start, by verb and outcome, and how long they took."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts = {verb: dict.fromkeys(RunOutcome, 0) for verb in RunVerb}
        self._seconds = dict.fromkeys(RunVerb, 0.0)

    def add_run(self, verb: RunVerb, outcome: RunOutcome, seconds: float) -> None:
        with self._lock:
            self._counts[verb][outcome] += 1
            self._seconds[verb] += seconds

    def read_counts_and_seconds(self, verb: RunVerb) -> tuple[dict[RunOutcome, int], float]:
        """A copy of the counts of a verb, and the seconds."""
        with self._lock:
            return dict(self._counts[verb]), self._seconds[verb]


class FinishedRun(NamedTuple):
    """What a worker found, or did, and when that began and ended by the wall clock."""

    id: str
    verb: RunVerb
    result: RunResult
    began_at: float
    ended_at: float

    @property
    def seconds(self) -> float:
        return self.ended_at - self.began_at


def look_by_worker_and_wait(
    parts: LoopParts, claimed: ClaimedTarget, rule: TargetRule
) -> FinishedRun:
    """Have a worker look at a claimed target; waits for it, and never raises for a look."""
    row, defaults = claimed.row, parts.settings.defaults
    request = LookRequest(
        row.name,
        row.wanted_commit,
        defaults.timeout,
        prune=is_pruned(parts, rule),
        closed=find_closed_credentials(parts, row.name),
        live_commit=row.applied_commit,
    )
    return ask_worker(
        parts, RunVerb.LOOK, parts.make_id(), row, lambda: parts.workers.look(request)
    )


def find_closed_credentials(parts: LoopParts, name: TargetName) -> Mapping[str, tuple[str, ...]]:
    """What targets of a source named for credentials in any commit, but for what is opened.

    Each with the hosts of the rules that the targets which named it first have now, () where one
    of them has none: then those of who named it next count, up to the target itself.
    """
    row = parts.store.find_source_even_if_removed(name.source)
    # Another configuration may have been taken since the target was claimed.
    source = parts.settings.sources.get(name.source, Source(name.source, ""))
    # Earlier versions stored patterns of rules in the place of names.
    patterns = {rule.pattern: rule for rule in source.rules if "[" in rule.pattern}

    @cache
    def hosts_of(target: str) -> tuple[str, ...]:
        rule = patterns.get(target) or find_rule(source, target)
        return rule.hosts if rule is not None else ()

    closed, settled = dict[str, tuple[str, ...]](), set(source.may_read.opened)
    for credential, *targets in row.credentials if row else ():
        if credential in settled:
            continue
        is_own, limits = name.target in targets, [*map(hosts_of, targets)]
        is_limited = all(limits) and not is_own
        closed[credential] = tuple(dict.fromkeys(chain(*limits))) if is_limited else ()
        if is_own or is_limited:
            settled.add(credential)
    return closed


def ask_worker(
    parts: LoopParts, verb: RunVerb, run_id: str, row: TargetRow, ask: Callable[[], RunResult]
) -> FinishedRun:
    """What `ask` gives, with the times; what it raises is a result, too: WORKER_LOST.

    The wanted commit of `row` is fetched before where this machine does not have it; PLAN_ERROR
    where it cannot be. A store that is away is waited for: that is no end of a run.
    """
    counted = parts.clock.read_counter()
    try:
        parts.ask_until_store_answers(lambda: parts.fetch_wanted_commit(row))
        result = ask()
    except SourceUnavailable as problem:
        result = RunResult(RunOutcome.PLAN_ERROR, findings=problem.diagnostics)
    except Exception as problem:  # noqa: BLE001 - one run must not end the controller
        # The text of an unknown exception may hold anything.
        finding = error_finding(
            f"The {verb.value} ended with an internal error",
            f"{type(problem).__name__} was raised.",
            "It is tried again; please report it if it stays.",
        )
        result = RunResult(RunOutcome.WORKER_LOST, findings=(finding,))
    ended_at = parts.clock.read_wall()
    began_at = ended_at - (parts.clock.read_counter() - counted)
    return FinishedRun(run_id, verb, result, began_at, ended_at)


def is_pruned(parts: LoopParts, rule: TargetRule) -> bool:
    """Whether what is no longer declared is deleted."""
    return parts.settings.defaults.prune if rule.prune is None else rule.prune
