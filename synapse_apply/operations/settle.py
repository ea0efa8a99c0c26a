"""How open calls of earlier runs are looked up, waited for and settled, or read from a journal.

A call counts as lost once it can no longer arrive. Until then its effect may show at any time: the
backend is asked now and then, with pauses that double, and no lock is held while time passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from synapse_apply.applying.settle import ResolvedIntent
from synapse_apply.live.open_intents import (
    acting_call_warning,
    build_no_open_call_error,
    can_tell_outcome,
    close_known_intents,
    list_acting_calls,
    list_call_ends,
    look_up_outcomes,
    other_run_warnings,
)
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text, join_texts
from synapse_apply.model.diagnostic import Diagnostic, Severity, warning_finding
from synapse_apply.model.errors import InputError, RemoteError, StateError, advising
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.job import RUN_VERB
from synapse_apply.model.phrases import format_short_list
from synapse_apply.model.state import CREATE_VERB, Intent, IntentState, State
from synapse_apply.planning.open_call_refusals import WAIT_HINT, outcome_unknown_refusal
from synapse_apply.planning.package import iter_untold_packages
from synapse_apply.workspace.recovery_journal import EndedCall, JournalContent, JournaledDoneCall
from synapse_apply.workspace.selection import Names
from synapse_apply.workspace.target_session import TargetSession


@frozen
class OpenCall:
    """A call of unknown outcome, and how it can be settled: sentences without a full stop."""

    intent: Intent
    advice: str


@frozen
class OpenCalls:
    """The open calls of a state, by address; warnings of acting calls and of files with calls.

    `untold` are warnings of releases whose package nobody can tell.
    """

    calls: tuple[OpenCall, ...]
    findings: tuple[Diagnostic, ...]
    untold: tuple[Diagnostic, ...] = ()


@frozen
class SettledCall:
    """A call that was looked up; `ways_out` of one that is still open, or of a forgotten object."""

    resolved: ResolvedIntent
    ways_out: tuple[str, ...]


@frozen
class SettledCalls:
    """The calls that were looked up, and warnings of other runs and of files that know of calls."""

    calls: tuple[SettledCall, ...]
    findings: tuple[Diagnostic, ...]

    @property
    def has_open_calls(self) -> bool:
        return any(call.resolved.is_open for call in self.calls)


def read_open_calls(session: TargetSession) -> tuple[State, OpenCalls]:
    """As `TargetState.read_with_open_calls`."""
    state = session.store.read_state()
    journals = session.journals(state.lineage)
    journal_files, findings = journals.done_calls(state), journals.warn(lambda: state)
    other_run = other_run_warnings(session.store, state.serial)
    calls = (
        OpenCall(
            intent,
            "The run in progress may have sent it, and may still get its answer"
            if other_run
            else _advise(intent, journal_files, state),
        )
        for intent in sorted(state.open_intents, key=lambda intent: intent.address)
    )
    acting = (
        acting_call_warning(seconds, call)
        for seconds, call in list_acting_calls(session, state)
        if not (call.state is IntentState.OPEN and other_run)
    )
    untold = tuple(iter_untold_packages([*state.records.values()]))
    return state, OpenCalls(tuple(calls), (*other_run, *findings, *acting), untold)


# Lets the first number of seconds pass, says for which calls, and after how many none can act.
WaitCallback = Callable[[float, Sequence[Intent], float], None]

_FIRST_PAUSE = 2.0


class Settling:
    """Looks up the open calls of a state; without `wait` what is too recent stays open."""

    def __init__(self, session: TargetSession, wait: WaitCallback | None = None) -> None:
        self._session, self._wait = session, wait

    def settle(self, names: Sequence[str]) -> SettledCalls:
        """As `TargetState.settle`; who interrupts it is told that what was settled stays."""
        history = Command("state history", target=self._session.target.name)
        with advising(f"Calls that were settled before that are recorded: {history} shows them."):
            return self._settle(names)

    def _settle(self, names: Sequence[str]) -> SettledCalls:
        session = self._session
        state = session.store.read_state()
        open_addresses = {intent.address for intent in state.open_intents}
        acting = {call.address for _, call in list_acting_calls(session, state)}
        # A name with `*` gives those with such a call, else an error.
        addresses = Names.of_state(state).choose_all(
            names, (open_addresses | acting).__contains__, "has an open call"
        )
        acting -= open_addresses
        sought = [address for address in addresses if address not in acting]
        resolved_intents = [] if addresses and not sought else self.look_up(sought)
        other_findings: tuple[Diagnostic, ...] = ()
        if self._wait is not None:
            resolved_intents, others = self.wait_and_look_up(resolved_intents)
            if others:
                detail = f"{format_short_list(others)}: the state records their outcomes."
                other_findings = (
                    warning_finding("Another run settled calls in the meantime", detail),
                )
            self._wait_for_acting_calls(session.store.read_state(), addresses)
        # The state is read again: what was settled just now is not told of any more.
        state = session.store.read_state()
        journals = session.journals(state.lineage)
        journal_files, findings = journals.done_calls(state), journals.warn(lambda: state)
        told = {resolved.intent.id for resolved in resolved_intents}
        other_findings += tuple(
            acting_call_warning(seconds, call)
            for seconds, call in list_acting_calls(session, state)
            # Of one that was sent twice and found done, the first try may still act.
            if (call.id not in told or call.is_doubted)
            and (not addresses or call.address in addresses)
        )
        ends = list_call_ends(session, state)
        calls = (
            SettledCall(
                resolved,
                _list_ways_to_settle(resolved, journal_files, ends.get(resolved.intent.id, "")),
            )
            for resolved in resolved_intents
        )
        return SettledCalls(tuple(calls), (*other_findings, *findings))

    def look_up(self, addresses: Collection[Address] = ()) -> list[ResolvedIntent]:
        """Look up the open calls (of these addresses, all by default) and record known outcomes."""
        session = self._session
        # Under the lock: while another run is at work, a call that is open is one under way.
        with session.lock_state_of_own_project("settle"):
            state = session.store.read_state()
            chosen = tuple(one for one in state.open_intents if one.address in addresses)
            for address in set(addresses).difference(one.address for one in chosen):
                raise build_no_open_call_error(session, address, state)
            state = replace(state, open_intents=chosen) if addresses else state
            resolved_intents = look_up_outcomes(session, state)
            close_known_intents(session, resolved_intents)
        return resolved_intents

    def wait_until_certain(self, selected: Collection[Address] | None = None) -> None:
        """Return when no call is too recent any more to be settled, or given up; writes nothing.

        With `selected`, only calls of these, of what they need, and of what is not declared: it may
        have been renamed.
        """
        session = self._session
        state = session.store.read_state()
        if selected is not None:
            needed, queue = set[Address](), list(selected)
            while queue:
                address = queue.pop()
                if address not in needed and (desired := session.desired.get(address)):
                    queue += desired.needs
                needed.add(address)
            others = session.desired.keys() - needed
            records = {one: record for one, record in state.records.items() if one not in others}
            opened = tuple(one for one in state.open_intents if one.address not in others)
            state = replace(state, records=records, open_intents=opened)
        self._wait_for_acting_calls(state)
        if state.open_intents:
            looked_up = self._look_up({intent.id for intent in state.open_intents})
            self._wait_for_outcomes(_too_recent(looked_up))

    def _wait_for_acting_calls(self, state: State, only: Collection[Address] = ()) -> None:
        """Return when no given-up call (of these addresses) may act that others wait for."""
        acting = [
            one
            for one in list_acting_calls(self._session, state)
            if one[1].state is IntentState.UNKNOWN and (not only or one[1].address in only)
        ]
        if acting and self._wait is not None:
            longest = max(seconds for seconds, _ in acting)
            self._wait(longest, [call for _, call in acting], longest)

    def wait_and_look_up(
        self, first_resolved: Iterable[ResolvedIntent]
    ) -> tuple[list[ResolvedIntent], tuple[Address, ...]]:
        """Wait for those of the looked-up calls that are too recent, then settle them.

        Returns the calls, and the addresses of those that another run settled meanwhile.
        """
        resolved_by_id = {resolved.intent.id: resolved for resolved in first_resolved}
        other_addresses: list[Address] = []
        while calls := _too_recent(resolved_by_id.values()):
            self._wait_for_outcomes(calls)
            ids = {call.id for call in calls}
            # The lock is taken only after the wait, which may last minutes.
            with self._session.lock_state_of_own_project("settle"):
                new_resolved = self._look_up(ids)
                close_known_intents(self._session, new_resolved)
            resolved_by_id.update({resolved.intent.id: resolved for resolved in new_resolved})
            gone_ids = ids - {resolved.intent.id for resolved in new_resolved}
            other_addresses += [resolved_by_id.pop(gone_id).intent.address for gone_id in gone_ids]
        return list(resolved_by_id.values()), tuple(sorted(other_addresses))

    def _wait_for_outcomes(self, calls: Sequence[Intent]) -> None:
        """Return when a look has told of each call what became of it, or it cannot act any more."""
        session, pause = self._session, _FIRST_PAUSE
        while calls and self._wait is not None:
            now, uptime = session.clock.utc_now(), session.uptime()
            longest = max(
                call.seconds_left(session.target.settle_after, now, uptime) for call in calls
            )
            if longest <= 0:
                return
            self._wait(min(pause, longest), calls, longest)
            if pause < longest:
                with suppress(RemoteError):  # a backend that is away for a while proves nothing
                    open_ids = {
                        one.intent.id
                        for one in self._look_up({call.id for call in calls})
                        if one.is_open
                    }
                    calls = [call for call in calls if call.id in open_ids]
            pause *= 2

    # Open creates of a kind share one list, read after the moment by which their age is judged.
    def _look_up(self, ids: Collection[str]) -> list[ResolvedIntent]:
        """What the backend shows of those of the calls that are still open."""
        state = self._session.store.read_state()
        open_intents = tuple(intent for intent in state.open_intents if intent.id in ids)
        return look_up_outcomes(self._session, replace(state, open_intents=open_intents))


def _list_ways_to_settle(
    resolved: ResolvedIntent, journal_files: Mapping[str, JournaledDoneCall], until: str
) -> tuple[str, ...]:
    if not resolved.is_open:
        untold = iter_untold_packages([resolved.record] if resolved.record else [])
        return (*filter(None, [resolved.import_hint]), *(found.hint for found in untold))
    intent = resolved.intent
    recovery_hint = journal_files[intent.id].recovery_hint if intent.id in journal_files else ""
    seconds = resolved.seconds_until_resolvable
    retry = f"run again in {math.ceil(seconds)} s" if seconds is not None else ""
    is_recorded = resolved.record is not None
    ways_out = outcome_unknown_refusal(
        intent, retry, recovery_hint, until=until, is_recorded=is_recorded
    ).ways_out
    can_repeat = intent.verb == "update" and is_recorded
    again = "; an apply that sends the same fields again does not" * can_repeat
    wait = Text(Command("state settle", intent.address, "--wait"), f" waits for it{again}")
    return tuple(wait if way is WAIT_HINT else way for way in ways_out)


def _advise(intent: Intent, files: Mapping[str, JournaledDoneCall], state: State) -> str:
    """Which command says how an open call ended."""
    if intent.id in files:
        return files[intent.id].recovery_hint
    if can_tell_outcome(intent):
        return "The next apply looks it up"
    refusal = outcome_unknown_refusal(intent, is_recorded=intent.address in state.records)
    return Text(
        "Not every backend can tell what happened: ",
        Command("state settle", intent.address),
        " asks this one. If it cannot: ",
        join_texts(refusal.ways_out),
    )


def _too_recent(resolved_intents: Iterable[ResolvedIntent]) -> list[Intent]:
    return [
        resolved.intent
        for resolved in resolved_intents
        if resolved.is_open and resolved.seconds_until_resolvable is not None
    ]


@frozen
class RecoveredCalls:
    """Calls that were recorded now, and those that the state had already, and warnings.

    `given_up_ids` are of recorded calls that were given up before: records keep their values.
    """

    recorded_intents: tuple[Intent, ...]
    known_intents: tuple[Intent, ...]
    findings: tuple[Diagnostic, ...] = ()
    given_up_ids: frozenset[str] = frozenset()


def record_journal(session: TargetSession, path: Path, content: JournalContent) -> RecoveredCalls:
    """Close each call of the journal that the state does not know yet, then remove the file.

    Takes the state's lock. InputError when the file is of another state, StateError when it
    contradicts the state; the file is not removed then. The caller must have asked the user about
    a file that the state key did not sign.
    """
    with session.lock_state_of_own_project("state record"):
        return _record_under_lock(session, path, content)


def record_signed_journals(
    session: TargetSession, tell: Callable[[tuple[Diagnostic, ...]], None]
) -> None:
    """Record what runs before could not, of each file that the state key signed; `tell` says it.

    Takes the state's lock where there is such a file. Any other file is left to `state record`.
    """
    store, told = session.store, list[Diagnostic]()
    journals = session.journals(store.read_lineage())
    warned = journals.warn(store.read_state, only_genuine=True)
    if not (warned and journals.unrecorded(store.read_state())):
        return
    with session.lock_state_of_own_project("state record"):
        # Read again under the lock: the run that wrote a file may have held it.
        for path, content in journals.unrecorded(store.read_state()):
            recovered = _record_under_lock(session, path, content)
            calls = [
                f"{'the outcome of ' * (intent.id in recovered.given_up_ids)}{intent.verb} of "
                f"{intent.address} (id {intent.remote_id or 'none'})"
                for intent in recovered.recorded_intents
            ]
            summary = "The state now records what an earlier run could not record"
            detail = f"Recorded from {path}: {format_short_list(calls)}."
            told += [Diagnostic(Severity.NOTE, summary, detail), *recovered.findings]
    others = tuple(one for one in session.diagnostics if one not in warned)
    left = journals.warn(store.read_state, only_genuine=True)
    session.diagnostics = (*others, *left)
    tell(tuple(told))


def _record_under_lock(
    session: TargetSession, path: Path, content: JournalContent
) -> RecoveredCalls:
    recorded_intents, known_intents, found = [], [], list[Diagnostic]()
    given_up_ids = set[str]()
    settle_after = session.target.settle_after
    for ended_call in content.calls:
        state = session.store.read_state()
        if ended_call.lineage != state.lineage:
            raise InputError.from_summary(
                "This file belongs to a different state",
                f"{path} belongs to lineage {ended_call.lineage}; this state has "
                f"lineage {state.lineage}.",
                "Specify the target whose apply wrote the file.",
            )
        is_open = ended_call.intent.id in {intent.id for intent in state.open_intents}
        settled = None if is_open else ended_call.settle_given_up(state, settle_after)
        if not (is_open or settled):
            _require_same_object(path, ended_call, state)
            if ended_call.is_told_by_records(state):
                known_intents.append(ended_call.intent)
                continue
        if not is_open:
            # A backup from before the call was restored, or it was given up meanwhile. What
            # approved it may be used up already.
            intent = ended_call.intent
            used_ids = session.store.list_used_approvals(intent.approvals)
            left_ids = tuple(each for each in intent.approvals if each not in used_ids)
            session.store.open_intent_and_use_up_its_approvals(replace(intent, approvals=left_ids))
        ended, own = ended_call.intent, state.records.get(ended_call.intent.address)
        record = settled or ended_call.record
        # What was forgotten meanwhile, or is another object now, its call does not record.
        is_object = is_open and ended.verb not in {CREATE_VERB, RUN_VERB}
        if is_object and (own is None or not own.is_object_of(ended)):
            record, hint = own, ResolvedIntent(ended, own).import_hint
            told = (
                f"The outcome of {ended.verb} of {ended.address} is recorded, but not the object."
            )
            found.append(warning_finding("An object was forgotten", told, hint))
        session.store.close_ended_intent(ended, record, ended_call.audit_entry)
        # The object may have another address by now.
        address = settled.address if settled else ended.address
        given_up_ids.update(
            call.id
            for call in (state.records[address].given_up if settled else ())
            if call.id == ended.id and not call.makes_another
            if call.state is not IntentState.DONE
        )
        recorded_intents.append(replace(ended, address=address))
    # Last: after a crash the file is read again, and its calls are known then.
    path.unlink(missing_ok=True)
    return RecoveredCalls(
        tuple(recorded_intents), tuple(known_intents), tuple(found), frozenset(given_up_ids)
    )


def _require_same_object(path: Path, ended_call: EndedCall, state: State) -> None:
    """StateError where the state recorded another object than the one that a call made."""
    intent, record = ended_call.intent, state.records.get(ended_call.intent.address)
    made = ended_call.record if intent.state is IntentState.DONE else None
    if intent.verb == CREATE_VERB and record and made and record.remote_id != made.remote_id:
        raise StateError.from_summary(
            "The state records a different object under this address",
            f"{intent.address} is recorded as id {record.remote_id}; {path} says that id "
            f"{made.remote_id} was created.",
            Text(
                f"Check both on the backend. To keep {made.remote_id}: ",
                Command("state rm", intent.address),
                ", then run this command again.",
            ),
            address=str(intent.address),
        )
