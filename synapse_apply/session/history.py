"""Use case: what was done, by whom and when, as the audit of a state has it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.ports import StateStore
from synapse_apply.model.state import AuditEntry
from synapse_apply.session.context import StateContext
from synapse_apply.session.state_file import missing

_PAGE = 1000


@frozen
class PastRun:
    """The mutating calls of one plan, the oldest first; never empty."""

    plan_id: str
    calls: tuple[AuditEntry, ...]

    @property
    def at(self) -> str:
        """When its last call ended, RFC 3339 UTC."""
        return self.calls[-1].at

    @property
    def who(self) -> str:
        return self.calls[0].who

    @property
    def run(self) -> str:
        """The CI run's URL, "" where there was none."""
        return self.calls[0].run

    @property
    def commit(self) -> str:
        return self.calls[0].commit

    @property
    def command(self) -> str:
        """What was typed (`apply`, `state accept`), "" where an earlier version did it."""
        return self.calls[0].command

    @property
    def dirty(self) -> tuple[str, ...]:
        """The first files of the checkout that were not the commit's."""
        return self.calls[0].dirty

    @property
    def counts(self) -> dict[str, int]:
        """How many calls of which verb there were, and how those ended that were not done.

        The most frequent first: `{"create": 2, "update failed": 1}`.
        """
        counted = Counter(map(_verb_and_end, self.calls)).items()
        return dict(sorted(counted, key=lambda row: (-row[1], row[0])))

    @property
    def results(self) -> dict[str, int]:
        """How many calls ended how, the most frequent first."""
        return dict(Counter(call.result for call in self.calls).most_common())


def _verb_and_end(call: AuditEntry) -> str:
    verb = call.verb.partition(" to ")[0]  # a move names where to
    return verb if call.result == "done" else f"{verb} {call.result}"


def history(context: StateContext, limit: int) -> list[PastRun]:
    """The newest runs that called for a change, at most `limit`, the newest first."""
    _check(context)
    size = _PAGE
    while True:
        entries = context.store.audit(size)
        runs = _by_plan(entries)
        # One more run than was asked for is needed to know that the last one is whole.
        if len(entries) < size or len(runs) > limit:
            return runs[:limit]
        size *= 4


def past_run(context: StateContext, plan_id: str) -> PastRun:
    """The run of a plan, named by its id or the beginning of it; InputError without one."""
    _check(context)
    found = [run for run in _by_plan(_all(context.store)) if run.plan_id.startswith(plan_id)]
    exact = [run for run in found if run.plan_id == plan_id]
    if len(exact or found) == 1:
        return (exact or found)[0]
    several = ", ".join(run.plan_id for run in found[:5])
    raise InputError.of(
        "Several plans begin so" if found else "No plan of this id called for a change here",
        f"{plan_id}: {several}." if found else f"{plan_id} is not in the audit of this state.",
        "Give more of the id." if found else "`synapse-apply history` lists what is.",
    )


def _check(context: StateContext) -> None:
    if not context.store.exists():
        raise missing(context.target)


def _all(store: StateStore) -> list[AuditEntry]:
    size = _PAGE
    while len(entries := store.audit(size)) == size:
        size *= 4
    return entries


def _by_plan(newest_first: Iterable[AuditEntry]) -> list[PastRun]:
    calls: dict[str, list[AuditEntry]] = {}
    for entry in newest_first:
        calls.setdefault(entry.plan_id, []).append(entry)
    return [PastRun(plan_id, tuple(reversed(found))) for plan_id, found in calls.items()]
