"""Use case: look after a state. None of it touches the backend."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from synapse_apply.applying.runs import recorded_jobs, started
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.manifests.naming import misnamed
from synapse_apply.model.address import Address
from synapse_apply.model.errors import InputError, StateError
from synapse_apply.model.observed import Capabilities, Lookup
from synapse_apply.model.refactoring import with_members
from synapse_apply.model.state import Binding, Intent, IntentState, Record, State
from synapse_apply.model.values import SecretRef
from synapse_apply.model.verification import RUN
from synapse_apply.secrets.signatures import RunSigner
from synapse_apply.session.context import StateContext
from synapse_apply.session.intents import no_open_call
from synapse_apply.session.state_file import describe, keys, open_store, open_store_at
from synapse_apply.session.unrecorded import check_untold
from synapse_apply.stores.faults import unsettled
from synapse_apply.stores.inventory import inventory as inventory_of
from synapse_apply.stores.migrate import migrate as migrate_store

_EMPTY = "An empty state knows no object."
PROTECTS = (
    f"{_EMPTY} `plan` asks this backend for what exists: storages and "
    "releases, and plugins where it lists them, are found by name and adopted. Where it does not "
    "list them, import what `plan` would create and exists, or apply creates it a second time."
)


def describe_protection(listed: Iterable[str], unlisted: Iterable[str]) -> str:
    """What an empty state cannot protect, of a backend that lists these kinds and not those.

    With neither, what holds for every backend.
    """
    lists, lacks = (" and ".join(f"{kind}s" for kind in kinds) for kinds in (listed, unlisted))
    if lacks:
        return (
            f"{_EMPTY} This backend does not list {lacks}: import those that `plan` would create "
            "and that exist, or apply creates them a second time. All else is found by name and "
            "adopted."
        )
    if lists:
        return (
            f"{_EMPTY} This backend lists {lists}, so `plan` finds what exists, by code or name, "
            "and it is adopted."
        )
    return PROTECTS


def init(
    context: StateContext, binding: Binding, environ: Mapping[str, str], lineage: str = ""
) -> str:
    """Make an empty state and its key, and give its lineage.

    StateError when there is a state, or a pinned lineage forbids an empty one.
    """
    pinned = context.target.state.lineage
    if pinned and lineage != pinned:
        failure = StateError.of(
            "The project file pins the lineage of this state",
            f"Target {context.target.name} is pinned to lineage {pinned}: an empty state would "
            "forget every object it remembers.",
            "Restore it: `synapse-apply state restore FILE`; or import what exists after "
            f"`synapse-apply state init --lineage {pinned}`, which makes an empty one anyway.",
        )
        raise StateError(*failure.diagnostics)
    made = lineage or str(uuid.uuid4())
    context.store.init(binding, made, context.seen.of(made).position)
    keys(context.project, context.target, environ, create=True)
    return made


def read(context: StateContext) -> State:
    """The whole state."""
    return context.store.read()


def show(context: StateContext, address: Address) -> Record:
    """One record; StateError that names near ones when there is none."""
    record = context.store.record(address)
    if record is None:
        raise _unknown(context, address)
    return record


def remove(context: StateContext, addresses: list[Address]) -> None:
    """Forget addresses; the live objects stay. StateError when one is unknown."""
    with context.lock("state rm"):
        for address in addresses:
            if context.store.record(address) is None:
                raise _unknown(context, address)
        context.store.remove(*addresses)
        _note(context, dict.fromkeys(addresses, "forget"))


def move(context: StateContext, old: Address, new: Address) -> dict[Address, Address]:
    """Rename an address in the state, and the members of its series, which carry its name.

    Gives all that was renamed; the live objects stay as they are.
    """
    if old.kind != new.kind:
        raise InputError.of(
            "An address keeps its kind",
            f"{old} cannot become {new}: they are of different kinds.",
            "Give two addresses of one kind.",
        )
    if why := misnamed(new):
        raise InputError.of(
            "No manifest can have this address",
            f"{new}: {why}.",
            "Give it the address that its manifest has.",
        )
    with context.lock("state mv"):
        state = context.store.read()
        renames = with_members(state.records.values(), {old: new})
        waiting = [
            i for i in state.open_intents if i.series == str(old) and i.address not in renames
        ]
        for (
            intent
        ) in waiting:  # a member that has no record yet would be recorded under the old name
            raise unsettled(intent.address, intent.verb)
        context.store.move(renames, RunSigner(context.keys(), state.lineage).moved)
        _note(context, {was: f"move to {now}" for was, now in renames.items()})
    return renames


def _note(context: StateContext, deeds: Mapping[Address, str]) -> None:
    """What was done to the records, as one run of the audit."""
    at, run, actor = context.clock.now(), str(uuid.uuid4()), context.actor
    context.store.note(*(actor.deed(one, verb, at=at, plan_id=run) for one, verb in deeds.items()))


def rebind(context: StateContext, binding: Binding) -> tuple[str, str]:
    """Bind the state to the target as it is now; gives what it was bound to and is, in words."""
    with context.lock("state rebind"):
        before = context.store.binding()
        context.store.rebind(binding)
    return describe(before), describe(binding)


def backup(context: StateContext, path: Path) -> None:
    """A consistent copy of the whole state."""
    context.store.backup(str(path))


def migrate(context: StateContext, url: str | SecretRef, environ: Mapping[str, str]) -> State:
    """Copy the whole state to the store at a url; StateError when there is one already."""
    target = open_store_at(url, context.project, context.target, environ)
    try:
        source = open_store(context.project, context.target, environ)
        try:
            return migrate_store(source, target, context.patience)
        finally:
            source.close()
    finally:
        target.close()


def inventory(context: StateContext) -> list[dict[str, object]]:
    """Address, id, version and digest of every record: what `import -f` reads."""
    return [dict(row) for row in inventory_of(context.store.read())]


def settle_absent(context: StateContext, address: Address, *, at: str) -> Intent:
    """Close an open intent as not done, on the user's word.

    StateError when none is open, or a file tells that it was done.
    """
    with context.lock("state settle"):
        state = context.store.read()
        found = _open_intent(state, address)
        check_untold(context.project, context.target, state, found, keys=context.keys())
        closed = replace(found, state=IntentState.ABSENT)
        entry = context.actor.audit(found, "settled by hand: absent", at=at)
        context.store.settle(closed, state.records.get(address), entry)
    return closed


def settle_job(context: StateContext, address: Address, job: str, *, at: str) -> Intent:
    """Close an open run with the job that it started, which the next apply follows.

    StateError when no run of the address is open, a file tells that it has another job, or the job
    is known to be another run's: what passes here may be let into other targets.
    """
    with context.lock("state settle"):
        state = context.store.read()
        found = _open_intent(state, address)
        if found.verb != RUN:
            raise StateError.of(
                "The open call is no run",
                f"An earlier {found.verb} of {address} is open, which has no job.",
                f"`synapse-apply import {address} ID` if it was done, "
                f"`synapse-apply state settle {address} --absent` if not.",
            )
        check_untold(context.project, context.target, state, found, job, keys=context.keys())
        _check_free(state, address, job)
        closed, record = started(found, state.records.get(address), job, at)
        entry = context.actor.audit(closed, f"settled by hand: job {job}", at=at)
        context.store.settle(closed, record, entry)
    return closed


def can_be_looked_up(intent: Intent) -> bool:
    """Whether the backend, whichever it is, can tell what became of an open call."""
    kind = CATALOGUE.get(intent.address.kind)
    binding = kind.bindings.get(intent.api) if kind else None
    if binding is None or intent.verb != "create":
        return binding is not None
    return binding.proves(intent.natural_key, Capabilities()) is Lookup.COMPLETE


def _check_free(state: State, address: Address, job: str) -> None:
    """StateError when a record has this job as the run that it remembers."""
    other = recorded_jobs(state.records).get(job)
    if other is not None:
        of = "an earlier run of it" if other == address else str(other)
        raise StateError.of(
            "This job is another run's",
            f"Job {job} is recorded as the run of {of}.",
            f"`synapse-apply jobs list` shows which there are. If none is that of {address}: "
            f"`synapse-apply state settle {address} --absent`.",
        )


def _open_intent(state: State, address: Address) -> Intent:
    found = next((i for i in state.open_intents if i.address == address), None)
    if found is None:
        raise no_open_call(address, state)
    return found


def _unknown(context: StateContext, address: Address) -> StateError:
    from difflib import get_close_matches

    known = [str(known) for known in context.store.read().records]
    near = get_close_matches(str(address), known, n=1)
    hint = f"Did you mean {near[0]}?" if near else "`synapse-apply state list` shows what is there."
    failure = StateError.of("The state does not know this address", f"{address}.", hint)
    return StateError(*failure.diagnostics)
