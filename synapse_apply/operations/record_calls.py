"""Which calls of a recovery journal `state record` writes into the state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.errors import InputError, NotApproved, StateError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.state import Intent, IntentState, Record, State
from synapse_apply.model.verification import RUN_VERB, LastRun
from synapse_apply.workspace.recovery_journal import (
    EndedCall,
    JournalContent,
    read_valid_journal,
)
from synapse_apply.workspace.target_session import TargetSession


@frozen
class RecoveredCalls:
    """Calls that were recorded now, and those that the state had already."""

    recorded_intents: tuple[Intent, ...]
    known_intents: tuple[Intent, ...]


def read_valid_recovery_journal(session: TargetSession, path: Path) -> JournalContent:
    """The calls in a file; InputError for a file that no run wrote, or that was changed since."""
    return read_valid_journal(path, session.target.name, session.state_keys)


def read_and_record_journal_or_raise_not_approved(
    session: TargetSession, path: Path, confirm: Callable[[JournalContent], bool] | None
) -> RecoveredCalls:
    """Read a file and record its calls; NotApproved for an unsigned one that `confirm` refuses.

    Otherwise as `read_valid_recovery_journal` and `record_calls_and_remove_journal`.
    """
    journal = read_valid_recovery_journal(session, path)
    if not journal.is_genuine and (confirm is None or not confirm(journal)):
        raise NotApproved.from_summary(
            "The calls were not recorded", f"{path} cannot be verified: {journal.reason}."
        )
    return record_calls_and_remove_journal(session, path, journal)


def record_calls_and_remove_journal(
    session: TargetSession, path: Path, content: JournalContent
) -> RecoveredCalls:
    """Close each call of the journal that the state does not know yet, then remove the file.

    Takes the state's lock. InputError when the file is of another state, StateError when it
    contradicts the state; the file is not removed then. The caller must have asked the user about
    a file that the state key did not sign.
    """
    recorded_intents, known_intents = [], []
    settle_after = session.target.settle_after
    with session.lock_state_of_own_project("state record"):
        for ended_call in content.calls:
            state = session.store.read_state()
            _require_same_lineage(path, ended_call, state)
            is_open = ended_call.intent.id in {intent.id for intent in state.open_intents}
            settled = None if is_open else _settle_given_up(ended_call, state, settle_after)
            if not (is_open or settled) and _is_known(path, ended_call, state):
                known_intents.append(ended_call.intent)
                continue
            if not is_open:
                # A backup from before the call was restored, or it was given up meanwhile.
                session.store.open_intent_and_use_up_its_approvals(
                    _without_used_approvals(session, ended_call.intent)
                )
            session.store.close_ended_intent(
                ended_call.intent, settled or ended_call.record, ended_call.audit_entry
            )
            recorded_intents.append(ended_call.intent)
    # Last: after a crash the file is read again, and its calls are known then.
    path.unlink(missing_ok=True)
    return RecoveredCalls(tuple(recorded_intents), tuple(known_intents))


def _without_used_approvals(session: TargetSession, intent: Intent) -> Intent:
    """The intent of a call that was made, with the approvals that it has yet to use up."""
    used_ids = {*session.store.list_used_approvals(intent.approvals)}
    return replace(
        intent, approvals=tuple(each for each in intent.approvals if each not in used_ids)
    )


def _require_same_lineage(path: Path, ended_call: EndedCall, state: State) -> None:
    if ended_call.lineage != state.lineage:
        raise InputError.from_summary(
            "This file is of another state",
            f"{path} belongs to lineage {ended_call.lineage}, this state is {state.lineage}.",
            "Name the target whose apply wrote it.",
        )


def _is_known(path: Path, ended_call: EndedCall, state: State) -> bool:
    """Whether the state needs nothing of a call that is not open in it.

    StateError where it recorded another object.
    """
    intent, record = ended_call.intent, state.records.get(ended_call.intent.address)
    if intent.state is not IntentState.DONE or ended_call.record is None:
        return True
    if intent.verb == RUN_VERB:
        return record is None or _get_last_run_time_or_empty(record) >= _get_last_run_time_or_empty(
            ended_call.record
        )
    if intent.verb != "create":
        return True  # the next plan sees what an update left
    if record is None:
        return False
    if record.remote_id != ended_call.record.remote_id:
        raise _build_other_object_error(
            path, intent.address, record.remote_id, ended_call.record.remote_id
        )
    return True


def _settle_given_up(ended_call: EndedCall, state: State, settle_after: float) -> Record | None:
    """The record that has this call as given up, with its answer: it cannot act any more.

    None where there is none, and for a call that got no answer: it was looked up, or sent twice.
    """
    ended = ended_call.intent
    if ended_call.record and ended.id in {call.id for call in ended_call.record.given_up}:
        return None
    for record in state.records.values():
        calls = tuple(
            replace(call, state=ended.state, deadline=-settle_after)
            if call.id == ended.id
            else call
            for call in record.given_up
            if call.id != ended.id or ended.state is IntentState.DONE
        )
        if calls != record.given_up:
            return replace(record, given_up=calls)
    return None


def _get_last_run_time_or_empty(record: Record) -> str:
    last_run = LastRun.from_json_or_none(record.verification)
    return last_run.at if last_run is not None else ""


def _build_other_object_error(
    path: Path, address: Address, recorded_id: str, made_id: str
) -> StateError:
    return StateError.from_summary(
        "The state knows another object under this address",
        f"{address} is recorded as id {recorded_id}; {path} says that id {made_id} was made.",
        Text(
            f"Look at both on the backend. To go on with {made_id}: ",
            Command("state rm", address),
            ", then this command again.",
        ),
        address=str(address),
    )
