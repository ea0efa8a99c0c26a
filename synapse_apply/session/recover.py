"""Use case: tell the state what an earlier run did and could not record."""

from __future__ import annotations

from pathlib import Path

from synapse_apply.model.address import Address
from synapse_apply.model.errors import InputError, StateError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.state import Intent, IntentState, Record, State
from synapse_apply.model.verification import RUN, LastRun
from synapse_apply.session.context import StateContext
from synapse_apply.session.unrecorded import Contents, Ended, read


@frozen
class Recovered:
    """`written` are the calls the state knows of now, `known` those it knew of before."""

    written: tuple[Intent, ...]
    known: tuple[Intent, ...]


def look(context: StateContext, path: Path) -> Contents:
    """What a file says; InputError when it is none that a run wrote, or was changed since."""
    return read(path, context.target.name, context.keys())


def recover(context: StateContext, path: Path, found: Contents) -> Recovered:
    """Settle each call of the file, as `look` gave it, that is not settled yet; then remove it.

    Under the state's lock, which is taken here. With nothing removed, InputError when the file is
    of another state, StateError when it says something else than the state does. Whoever calls
    this has asked about a file that the state key did not sign.
    """
    written, known = [], []
    with context.lock("state recover"):
        for ended in found.ended:
            state = context.store.read()
            _check_lineage(path, ended, state)
            if _is_known(path, ended, state):
                known.append(ended.intent)
                continue
            if ended.intent.id not in {intent.id for intent in state.open_intents}:
                context.store.begin(ended.intent)  # a backup from before the call was restored
            context.store.settle(ended.intent, ended.record, ended.entry)
            written.append(ended.intent)
    path.unlink(missing_ok=True)
    return Recovered(tuple(written), tuple(known))


def _check_lineage(path: Path, ended: Ended, state: State) -> None:
    if ended.lineage != state.lineage:
        failure = InputError.of(
            "This file is of another state",
            f"{path} belongs to lineage {ended.lineage}, this state is {state.lineage}.",
            "Name the target whose apply wrote it.",
        )
        raise InputError(*failure.diagnostics)


def _is_known(path: Path, ended: Ended, state: State) -> bool:
    """Whether nothing is left to say of this call: it was settled, or it changed nothing."""
    intent, record = ended.intent, state.records.get(ended.intent.address)
    if intent.id in {opened.id for opened in state.open_intents}:
        return False
    if intent.state is not IntentState.DONE or ended.record is None:
        return True
    if intent.verb == RUN:
        return record is None or _last_run(record) >= _last_run(ended.record)
    if intent.verb != "create":
        return True  # the next plan sees what an update left
    if record is None:
        return False
    if record.remote_id != ended.record.remote_id:
        raise _other_object(path, intent.address, record.remote_id, ended.record.remote_id)
    return True


def _last_run(record: Record) -> str:
    last = LastRun.of(record.verification)
    return last.at if last is not None else ""


def _other_object(path: Path, address: Address, recorded: str, made: str) -> StateError:
    failure = StateError.of(
        "The state knows another object under this address",
        f"{address} is recorded as id {recorded}; {path} says that id {made} was made.",
        f"Look at both on the backend. To go on with {made}: `synapse-apply state rm {address}`, "
        "then this command again.",
        address=str(address),
    )
    return StateError(*failure.diagnostics)
