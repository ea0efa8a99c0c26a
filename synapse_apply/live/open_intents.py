"""How open calls of earlier runs are looked up and closed, and how a run under way is noticed."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from functools import partial
from itertools import starmap
from typing import TYPE_CHECKING

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.compare import is_same_value
from synapse_apply.kinds.descriptor import UpdateMode
from synapse_apply.live.live_reader import LiveReader
from synapse_apply.live.named_secrets import with_named_secrets
from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.errors import RemoteError, StateError, SynapseApplyError
from synapse_apply.model.frozen import replace
from synapse_apply.model.job import RUN_VERB
from synapse_apply.model.phrases import format_field_path, format_short_list, format_time_after
from synapse_apply.model.plan import CONCURRENT_RUN_SUMMARY
from synapse_apply.model.resource import Capabilities, Lookup, ObjectKey, Observed
from synapse_apply.model.secrets.secret_marks import SecretMarks
from synapse_apply.model.state import CREATE_VERB, REPLACE_VERB, Intent, IntentState, Record, State
from synapse_apply.workspace.target_session import TargetSession

if TYPE_CHECKING:
    from synapse_apply.applying.settle import ResolvedIntent
    from synapse_apply.stores.sql import SqlStore

_UNRECORDED_NOTE = (
    "The state may not record its objects yet: no unrecorded object is treated as an import, and "
    "no "
    "open call as lost."
)


def live_reader_of_state(session: TargetSession, state: State) -> LiveReader:
    """A reader of the session's backend for one run that started from this state."""
    return LiveReader(
        session.api,
        session.catalogue,
        session.target.api,
        build_known_marks(session, state.records, state.calls),
        session.parallelism,
    )


def build_known_marks(
    session: TargetSession, records: Mapping[Address, Record], intents: Iterable[Intent] = ()
) -> SecretMarks:
    """Which fields are secret, those of single objects included."""
    marks = session.declared_target.manifests.marks
    return with_named_secrets(session, marks, session.desired, records, intents)


def look_up_outcomes(
    session: TargetSession, state: State, live_reader: LiveReader | None = None
) -> list[ResolvedIntent]:
    """The outcome of every open call, as far as the backend shows it; writes nothing."""
    if not state.open_intents:
        return []
    lists = (live_reader or live_reader_of_state(session, state)).lists
    # Here, not above: most runs meet no open call.
    from synapse_apply.applying.lookup import index_owners
    from synapse_apply.applying.settle import IntentResolver, known_jobs

    # Before any list is read: absence from a list says nothing of what came after it.
    now, current_uptime = session.clock.utc_now(), session.uptime()

    def find_other_owner(observed: Observed, address: Address) -> Address | None:
        owner = owners.get(ObjectKey(address.kind, observed.api, observed.remote_id))
        return None if owner == address else owner

    resolver = IntentResolver(
        session.api,
        session.catalogue,
        session.secrets,
        lists.marks,
        lists.capabilities({intent.address.kind for intent in state.open_intents}),
        now,
        session.target.settle_after,
        current_uptime,
        lambda: known_jobs(session.store),
        find_other_owner,
        lists.observe_with_key,
        partial(read_published_digest, session),
        session.target.owners,
    )
    records: dict[Address, Record] = dict(state.records)
    owners = index_owners(records)
    results = []
    for intent in state.open_intents:
        result = resolver.resolve_intent(intent, records.get(intent.address))
        if not result.is_open and result.record is not None:
            records[intent.address] = result.record
            owners |= index_owners({intent.address: result.record})
        results.append(result)
    return results


def read_published_digest(session: TargetSession, intent: Intent) -> str | None:
    """The digest of the bytes that an object has; "": they cannot be read, None: nothing shows."""
    from synapse_apply.live.packages import read_published

    binding = session.catalogue[intent.address.kind].bindings[intent.api]
    with suppress(RemoteError, SynapseApplyError):
        raw = binding.read_object(session.api, intent.remote_id)
        published = read_published(session, binding, raw, intent.address)
        return published.digest if published is not None else None
    return ""


def close_known_intents(
    session: TargetSession,
    resolved_intents: Iterable[ResolvedIntent],
    plan_id: str = "",
    sent_again: Collection[Address] = (),
) -> None:
    """Record the outcomes that are known; other calls stay open.

    The caller holds the lock. `plan_id` is that of the run that settles them. Of the calls of
    `sent_again`, which are about to be sent as they were, it will never be known.
    """
    for resolved in resolved_intents:
        intent = resolved.intent
        if resolved.is_open and intent.address in sent_again:
            intent = replace(intent, state=IntentState.UNKNOWN)
        if intent.state is not IntentState.OPEN:
            entry = session.actor.build_audit_entry(
                intent,
                f"settled: {intent.state.outcome}",
                moment=session.clock.utc_now(),
                plan_id=plan_id,
            )
            session.store.close_ended_intent(intent, resolved.record, entry)


def other_run_warnings(store: SqlStore, serial_when_read: int) -> tuple[Diagnostic, ...]:
    """A warning where another run has written to the state since that serial, or locks it.

    Nothing where this process holds the lock and is that run itself.
    """
    if store.holds_lock() or store.is_lock_lost():
        return ()
    owner_warnings = tuple(
        warning_finding(
            CONCURRENT_RUN_SUMMARY, f"{owner_note.detail} {_UNRECORDED_NOTE}", owner_note.hint
        )
        for owner_note in store.list_lock_held_findings_unless_owner_ended()
    )
    if owner_warnings or store.read_serial() == serial_when_read:
        return owner_warnings
    detail = "The state changed during every read of the backend."
    return (
        warning_finding(
            CONCURRENT_RUN_SUMMARY, f"{detail} {_UNRECORDED_NOTE}", "Plan again when it has ended."
        ),
    )


def list_acting_calls(
    session: TargetSession, state: State, *, with_answered: bool = False
) -> list[tuple[float, Intent]]:
    """The open and given-up calls that may still act, with the seconds for which each may.

    Not runs. Other values wait for UNKNOWN ones, and for none that was settled by hand as not done
    (ABSENT). `with_answered`: also those that a recovery journal has the answer of.
    """
    now, uptime = session.clock.utc_now(), session.uptime()
    settle_after = session.target.settle_after
    open_ids = {intent.id for intent in state.open_intents}
    given_up = [
        replace(call, address=address)  # the record may have moved since
        for address, record in state.records.items()
        for call in record.given_up
        if call.id not in open_ids and not _is_sealed(record, call)
    ]
    recorded = {call.id for record in state.records.values() for call in record.given_up}
    given_up += [call for call in state.forgotten_calls if call.id not in recorded]
    return [
        (seconds, call)
        for call in (*state.open_intents, *given_up)
        if call.verb != RUN_VERB
        and (with_answered or call.id not in session.answered_ids)
        and (seconds := call.seconds_left(settle_after, now, uptime)) > 0
    ]


def _is_sealed(record: Record, call: Intent) -> bool:
    """Whether a call could only do what was done since, after which nothing changes, as a lock."""
    kind = CATALOGUE.get(record.address.kind)
    seal = kind.bindings[call.api].final_call if kind and call.api in kind.bindings else None
    return seal is not None and call.verb == seal.verb and record.applied.get((seal.name,)) is True


def list_call_ends(session: TargetSession, state: State) -> dict[str, str]:
    """Until when each call may act that still may (RFC 3339, UTC), by its id."""
    now = session.clock.utc_now()
    acting = list_acting_calls(session, state)
    return {call.id: format_time_after(now, seconds) for seconds, call in acting}


def map_calls_to_records(
    calls: Iterable[Intent], records: Mapping[Address, Record]
) -> dict[str, Address]:
    """The address of the record of a call's object, else the call's own, by the call's id."""
    from synapse_apply.applying.lookup import index_owners

    owners = index_owners(records)
    return {
        call.id: owners.get(ObjectKey(call.address.kind, call.api, call.remote_id), call.address)
        for call in calls
    }


def keep_acting_calls(
    session: TargetSession,
    state: State,
    addresses: Collection[Address],
    records: Mapping[Address, Record],
) -> list[Diagnostic]:
    """Keep those calls of a state that may still act and whose record goes; warnings of them.

    One that was given up, or whose record is gone already, goes into that of `records` for its
    object. Others stay open, or are opened again, until it is certain that they cannot act; but
    one that was settled by hand as not done is only kept: nobody answers for it twice.
    """
    from synapse_apply.applying.settle import ResolvedIntent

    kept, warnings = dict(records), list[Diagnostic]()
    open_intents = session.store.read_state().open_intents
    open_ids = {intent.id for intent in open_intents}
    open_addresses = {intent.address for intent in open_intents}
    acting = list_acting_calls(session, state, with_answered=True)
    # An open one is looked up however late it is: it may have been done.
    now, uptime = session.clock.utc_now(), session.uptime()
    listed = {call.id for _, call in acting}
    acting += [
        (call.seconds_left(session.target.settle_after, now, uptime), call)
        for call in state.open_intents
        if call.id not in listed
    ]
    acting = [(seconds, call) for seconds, call in acting if call.address in addresses]
    address_of = map_calls_to_records((call for _, call in acting), records)
    for seconds, call in acting:
        record = kept.get(address_of[call.id])
        if call.verb == RUN_VERB or (
            record and call.verb != CREATE_VERB and not record.is_object_of(call)
        ):
            record = None
        # What live shows may be the deed of a later call, which had the same fields.
        replaced = state.records.get(call.address)
        is_given_up = call.state is not IntentState.OPEN or (
            call.verb != CREATE_VERB
            # It was forgotten, or it is the second try of a call whose first may still act.
            and (replaced is None or call.id in {one.id for one in replaced.given_up})
        )
        if is_given_up and record is not None:
            is_done = call.state is IntentState.DONE
            is_settled = is_done or call.state is IntentState.ABSENT
            ended = call if is_settled else replace(call, state=IntentState.UNKNOWN)
            if call.id not in {one.id for one in record.given_up}:
                kept[record.address] = record = record.with_given_up(
                    ended, session.target.settle_after
                )
                session.store.write_records(record)
            if call.id in open_ids and not is_done:
                close_known_intents(session, [ResolvedIntent(ended, record)])
        elif call.state is IntentState.ABSENT:
            session.store.keep_forgotten_call(call)
        elif call.id not in open_ids:
            address = address_of[call.id]
            # One call of an address is looked at; a run has the id of another kind.
            if address in open_addresses or call.verb == RUN_VERB:
                address = call.address
            opened = replace(call, state=IntentState.OPEN, approvals=(), address=address)
            if records and call.verb == CREATE_VERB:
                opened = replace(opened, remote_id="")  # a restore forgets no object on purpose
            session.store.open_intent_and_use_up_its_approvals(opened)
        if seconds > 0:
            warnings.append(acting_call_warning(seconds, call))
    return warnings


def can_tell_outcome(intent: Intent) -> bool:
    """Whether a backend with this API can tell the outcome of an open call."""
    kind = CATALOGUE.get(intent.address.kind)
    binding = kind.bindings.get(intent.api) if kind else None
    if binding is None or intent.verb != "create":
        return binding is not None and intent.verb != REPLACE_VERB
    # With no capability at all: what holds then holds for every backend of this API.
    return binding.determine_search_proof(intent.natural_key, Capabilities()) is Lookup.COMPLETE


def acting_call_warning(seconds: float, call: Intent) -> Diagnostic:
    """The warning of a call without an answer that may act for so many seconds."""
    wait, ask = Command("state settle --wait"), Command("state settle", call.address)
    settle = (
        Text(wait, " waits until the outcome is certain.")
        if can_tell_outcome(call)
        else Text(
            "Not every backend can show the outcome of the call: ", ask, " asks this backend."
        )
    )
    kind, hint = {
        IntentState.OPEN: ("of unknown outcome", settle),
        IntentState.ABSENT: (
            "that was settled as not done",
            (
                "Nothing waits for the call: it may act after the next apply, and undo or repeat "
                "what that apply does."
            ),
        ),
        IntentState.DONE: ("that was found done", ""),
    }.get(call.state, ("that was given up", Text(wait, " waits for it.")))
    known, again = "outcome unknown", ""
    if call.state is IntentState.DONE:
        known, again = "found done", " again"
    names = [
        format_field_path(path)
        for path in sorted({*call.fields, *call.before})
        if call.verb == "update" and not is_same_value(call.before.get(path), call.fields.get(path))
    ]
    known_kind = CATALOGUE.get(call.address.kind) if names else None
    binding = known_kind.bindings.get(call.api) if known_kind else None
    beside = ""
    if binding is not None and binding.update_mode is UpdateMode.PUT:
        beside = f", and all other fields to their values of {call.sent_at}"
    if call.verb == REPLACE_VERB or (call.verb == CREATE_VERB and call.is_doubted):
        beside = " and replace its package" if call.digest else " and create a second object"
    return warning_finding(
        f"A call {kind} may still act",
        f"{call.verb} of {call.address} (call {call.id} of apply {call.plan_id}, sent at "
        f"{call.sent_at}, {known}) may act for another {math.ceil(seconds)} s{again}"
        f"{f' and set {format_short_list(names)}' if names else ''}{beside}.",
        hint,
        address=str(call.address),
    )


def build_no_open_call_error(session: TargetSession, address: Address, state: State) -> StateError:
    """The error for an address that has no open call; it names given-up ones that may act."""
    open_addresses = ", ".join(str(intent.address) for intent in state.open_intents) or "none"
    error = StateError.from_summary(
        "No call of this address is open",
        f"{address} has no open call. Open: {open_addresses}.",
        Text(Command("state history"), " shows how earlier calls ended."),
    )
    return with_acting_calls(session, state, address, error)


def with_acting_calls(
    session: TargetSession, state: State, address: Address, error: StateError
) -> StateError:
    """The error, with a warning of each call of the address that may still act."""
    acting = [one for one in list_acting_calls(session, state) if one[1].address == address]
    return StateError(*error.diagnostics, *starmap(acting_call_warning, acting))


def require_no_journal(
    session: TargetSession, state: State, open_intent: Intent, remote_id: str = ""
) -> None:
    """StateError when a recovery journal says that a call, to be closed by hand, was done.

    `remote_id` is the id to close it with, "" to close it as not done. An unsigned journal counts
    too: it may be right, and somebody should look first.
    """
    journal_file = (
        session.journals(state.lineage).done_calls(state, only_genuine=False).get(open_intent.id)
    )
    if journal_file is None or (remote_id and journal_file.ended_intent.remote_id == remote_id):
        return
    closed_text = f"with id {remote_id}" if remote_id else "as not done"
    if not journal_file.is_genuine:
        raise StateError.from_summary(
            "A file says that this call was done",
            f"{journal_file.description}; the state key did not sign this file. If you settle "
            f"the call {closed_text} and the file is right, the next apply could repeat the "
            "call.",
            Text(
                "Check the backend. If the file belongs to a run of yours: ",
                journal_file.recover_command,
                " shows its content and asks. If the file is not yours: remove it.",
            ),
            address=str(open_intent.address),
        )
    raise StateError.from_summary(
        "This call was done, but the state does not record it yet",
        f"{journal_file.description}. If you settle the call {closed_text}, the next apply "
        "could repeat it.",
        Text("Record the content of the file: ", journal_file.recover_command, "."),
        address=str(open_intent.address),
    )
