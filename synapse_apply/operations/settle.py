"""How open calls of earlier runs are looked up and settled, and what is advised about the rest."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from synapse_apply.applying.settle import ResolvedIntent
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.live.open_intents import (
    build_acting_call_warning,
    build_live_reader_with_marks_of_state,
    build_no_open_call_error,
    close_intents_with_known_outcome,
    list_acting_calls,
    look_up_outcomes_of_open_intents,
)
from synapse_apply.live.other_runs import build_warning_if_other_run_is_writing
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text, join_texts
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.frozen import frozen
from synapse_apply.model.observed import Capabilities, Lookup
from synapse_apply.model.phrases import format_short_list
from synapse_apply.model.state import REPLACE_VERB, Intent, IntentState, State
from synapse_apply.operations.wait_for_outcomes import (
    WaitCallback,
    wait_and_settle_recent_calls,
    wait_for_acting_calls,
)
from synapse_apply.planning.open_call_refusals import WAIT_HINT, build_outcome_unknown_refusal
from synapse_apply.workspace.recovery_journal import JournaledDoneCall
from synapse_apply.workspace.selection import (
    build_state_selectable,
    choose_named_addresses_and_suitable_wildcard_matches,
)
from synapse_apply.workspace.target_session import TargetSession


@frozen
class OpenCall:
    """A call of unknown outcome, and how it can be settled: sentences without a full stop."""

    intent: Intent
    advice: str


@frozen
class OpenCalls:
    """The open calls of a state, by address; warnings of acting calls and of files with calls."""

    calls: tuple[OpenCall, ...]
    findings: tuple[Diagnostic, ...]


@frozen
class SettledCall:
    """A call that was looked up; `ways_out` of one that is still open, () of a settled one."""

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


def read_state_and_advice_on_open_calls(session: TargetSession) -> tuple[State, OpenCalls]:
    """The state, and how each of its open calls can be settled. Asks no backend."""
    state = session.store.read_state()
    journals = session.journals(state)
    journal_files, findings = journals.done_calls(state), journals.warn()
    other_run = build_warning_if_other_run_is_writing(session.store, state.serial)
    calls = (
        OpenCall(
            intent,
            "The run that is under way may have sent it, and may yet get its answer"
            if other_run
            else _advise_on_open_call(intent, journal_files),
        )
        for intent in sorted(state.open_intents, key=lambda intent: intent.address)
    )
    acting = (
        build_acting_call_warning(seconds, call)
        for seconds, call in list_acting_calls(session, state)
        if not (other_run and call.state is IntentState.OPEN)
    )
    return state, OpenCalls(tuple(calls), (*other_run, *findings, *acting))


def look_up_and_settle_named_or_all_calls(
    session: TargetSession, names: Sequence[str], wait: WaitCallback | None
) -> SettledCalls:
    """Look up the open calls of these names (of all, without any), and record known outcomes.

    `wait` lets time pass until the outcomes of calls that are too recent can be determined; None
    leaves these open. InputError where a name has no call open.
    """
    state = session.store.read_state()
    open_addresses = {intent.address for intent in state.open_intents}
    acting = {call.address for _, call in list_acting_calls(session, state)}
    # A name with `*` gives those with such a call, else an error.
    addresses = choose_named_addresses_and_suitable_wildcard_matches(
        build_state_selectable(state),
        names,
        (open_addresses | acting).__contains__,
        "has a call open",
    )
    acting -= open_addresses
    sought = [address for address in addresses if address not in acting]
    resolved_intents = (
        [] if addresses and not sought else look_up_and_settle_open_calls(session, sought)
    )
    other_findings: tuple[Diagnostic, ...] = ()
    if wait is not None:
        resolved_intents, others = wait_and_settle_recent_calls(session, resolved_intents, wait)
        if others:
            detail = f"{format_short_list(others)}: the state knows how they ended."
            other_findings = (warning_finding("Another run settled calls meanwhile", detail),)
        wait_for_acting_calls(session, session.store.read_state(), wait)
    # The state is read again: what was settled just now is not told of any more.
    state = session.store.read_state()
    journals = session.journals(state)
    journal_files, findings = journals.done_calls(state), journals.warn()
    told = {resolved.intent.id for resolved in resolved_intents}
    other_findings += tuple(
        build_acting_call_warning(seconds, call)
        for seconds, call in list_acting_calls(session, state)
        # Of one that was sent twice and found done, the first try may still act.
        if (call.id not in told or call.state is IntentState.UNKNOWN)
        and (not addresses or call.address in addresses)
    )
    calls = (
        SettledCall(resolved, _list_ways_to_settle(resolved, journal_files))
        for resolved in resolved_intents
    )
    return SettledCalls(tuple(calls), (*other_findings, *findings))


def _list_ways_to_settle(
    resolved: ResolvedIntent, journal_files: Mapping[str, JournaledDoneCall]
) -> tuple[str, ...]:
    if not resolved.is_open:
        return ()
    intent = resolved.intent
    recovery_hint = journal_files[intent.id].recovery_hint if intent.id in journal_files else ""
    seconds = resolved.seconds_until_resolvable
    retry = f"run again in {math.ceil(seconds)} s" if seconds is not None else ""
    ways_out = build_outcome_unknown_refusal(intent, retry, recovery_hint).ways_out
    can_repeat = intent.verb == "update" and resolved.record is not None
    again = "; an apply that sends the same fields again does not" * can_repeat
    wait = Text(Command("state settle", intent.address, "--wait"), f" waits for it{again}")
    return tuple(wait if way is WAIT_HINT else way for way in ways_out)


def _advise_on_open_call(intent: Intent, journal_files: Mapping[str, JournaledDoneCall]) -> str:
    """Which command says how an open call ended."""
    if intent.id in journal_files:
        return journal_files[intent.id].recovery_hint
    if can_every_backend_tell_outcome(intent):
        return "The next apply looks it up"
    return Text(
        "Not every backend can tell: ",
        Command("state settle", intent.address),
        " asks this one. If it cannot: ",
        join_texts("; ", build_outcome_unknown_refusal(intent).ways_out),
    )


def can_every_backend_tell_outcome(intent: Intent) -> bool:
    """Whether a backend with this API can tell the outcome of an open call."""
    kind = CATALOGUE.get(intent.address.kind)
    binding = kind.bindings.get(intent.api) if kind else None
    if binding is None or intent.verb != "create":
        return binding is not None and intent.verb != REPLACE_VERB
    # With no capability at all: what holds then holds for every backend of this API.
    return binding.determine_search_proof(intent.natural_key, Capabilities()) is Lookup.COMPLETE


def look_up_and_settle_open_calls(
    session: TargetSession, addresses: Collection[Address] = ()
) -> list[ResolvedIntent]:
    """Look up the open calls (of these addresses, all by default) and record known outcomes."""
    # Under the lock: while another run is at work, a call that is open is one under way.
    with session.lock_state_of_own_project("settle"):
        state = session.store.read_state()
        chosen = tuple(one for one in state.open_intents if one.address in addresses)
        for address in set(addresses).difference(one.address for one in chosen):
            raise build_no_open_call_error(session, address, state)
        state = replace(state, open_intents=chosen) if addresses else state
        resolved_intents = look_up_outcomes_of_open_intents(
            session, state, build_live_reader_with_marks_of_state(session, state)
        )
        close_intents_with_known_outcome(session, resolved_intents)
    return resolved_intents
