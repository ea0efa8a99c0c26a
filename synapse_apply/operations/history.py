"""Which runs `state history` lists, from the audit entries of a state."""

from __future__ import annotations

from collections import Counter

from synapse_apply.applying.step import Actor
from synapse_apply.model.command import Command, Text
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.state import AuditEntry
from synapse_apply.workspace.state_access import build_missing_state_error
from synapse_apply.workspace.target_session import TargetSession

_PAGE_SIZE = 1000
_ALL = 2**31
_NOT_KNOWN = "not known yet"
_LAST = {"done", _NOT_KNOWN}


@frozen
class PastRun:
    """The audit entries of one plan, the oldest first; never empty."""

    plan_id: str
    calls: tuple[AuditEntry, ...]

    @property
    def ended_at(self) -> str:
        """When its last call ended, RFC 3339 UTC."""
        return self.calls[-1].at

    @property
    def actor_name(self) -> str:
        return self.calls[0].who

    @property
    def run_url(self) -> str:
        """The CI run's URL, "" where there was none."""
        return self.calls[0].run

    @property
    def commit_id(self) -> str:
        return self.calls[0].commit

    @property
    def command(self) -> str:
        """The command words (`apply`, `state accept`), "" for an entry of an earlier version."""
        return self.calls[0].command

    @property
    def dirty_files(self) -> tuple[str, ...]:
        """The first of the files in the checkout that differed from the commit."""
        return self.calls[0].dirty

    @property
    def trace_parent(self) -> str:
        """The TRACEPARENT of the run, "" where there was none."""
        return self.calls[0].trace

    @property
    def call_counts(self) -> dict[str, int]:
        """Counts by verb, with the result behind the verb where a call did not succeed.

        The most frequent first: `{"create": 2, "update failed": 1}`.
        """
        counts: Counter[str] = Counter()
        for call in self._told_once():
            verb = call.verb.partition(" to ")[0]  # a move names where to
            counts[verb if call.result == "done" else f"{verb} {call.result}"] += 1
        return dict(sorted(counts.items(), key=lambda row: (-row[1], row[0])))

    @property
    def result_counts(self) -> dict[str, int]:
        """Counts by result, the most frequent first."""
        return dict(Counter(call.result for call in self._told_once()).most_common())

    def _told_once(self) -> list[AuditEntry]:
        """One entry of each call: none of how it was settled, where it ended otherwise since.

        Its answer may be recorded later, and `state rm` opens it again.
        """
        counted, told = list[AuditEntry](), set[tuple[str, str]]()
        calls = sorted(self.calls, key=lambda call: call.result in _LAST)
        for call in reversed(calls):
            kind = call.address.partition("/")[0]
            # An address may have changed: then the object tells.
            names = {call.address, f"{kind} {call.remote_id}" if call.remote_id else call.address}
            keys = {(call.verb, name) for name in names}
            is_settled = call.result.startswith("settled")
            if not (is_settled and told & keys):
                counted.append(call)
            if is_settled or call.result in _LAST:
                told |= keys
        return counted[::-1]


def list_runs(session: TargetSession, limit: int) -> list[PastRun]:
    """As `OpenTarget.history`."""
    size = _PAGE_SIZE
    while True:
        entries, runs = _read_runs(session, size)
        # One more run than was asked for is needed to know that the last one is whole.
        if entries < size or len(runs) > limit:
            return runs[:limit]
        size *= 4


def require_run(session: TargetSession, plan_id: str) -> PastRun:
    """As `OpenTarget.find_run`; InputError for "", too."""
    _, runs = _read_runs(session, _ALL)
    # One that only settled calls of other runs is found there.
    matches = [run for run in runs if run.plan_id.startswith(plan_id)] or [
        run for run in runs if any(f" {plan_id}" in call.settled_by for call in run.calls)
    ]
    # It would be the beginning of the only run, which nobody named.
    if not plan_id and len(matches) == 1:
        raise InputError.from_summary(
            "The plan id is empty", hint=Text(Command("state history"), " lists the plans.")
        )
    # A full id wins over longer ids that begin with it.
    exact_matches = [run for run in matches if run.plan_id == plan_id]
    if len(exact_matches or matches) == 1:
        return (exact_matches or matches)[0]
    raise InputError.from_summary(
        "Several plan ids begin with this"
        if matches
        else "No plan with this id changed anything here",
        f"{plan_id}: {', '.join(run.plan_id for run in matches[:5])}."
        if matches
        else f"{plan_id} is not in the audit of this state.",
        "Specify more characters of the id."
        if matches
        else Text(Command("state history"), " lists its plans."),
    )


def _read_runs(session: TargetSession, size: int) -> tuple[int, list[PastRun]]:
    """How many entries there are, of the newest `size` calls, and their runs, the newest first.

    A call whose outcome is not known yet has an entry, too.
    """
    store = session.store
    if not store.exists():
        raise build_missing_state_error(session.target, session.seen_place)
    entries = store.list_audit_entries_newest_first(size)
    opened = [
        Actor("").build_audit_entry(call, _NOT_KNOWN, moment=call.sent_at)
        for call in store.read_state().open_intents
    ]
    if opened:
        entries = sorted([*entries, *opened], key=lambda entry: entry.at, reverse=True)
    calls: dict[str, list[AuditEntry]] = {}
    for entry in entries:
        calls.setdefault(entry.plan_id, []).append(entry)
    return len(entries), [PastRun(plan_id, tuple(reversed(run))) for plan_id, run in calls.items()]
