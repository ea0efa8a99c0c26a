"""Open calls of earlier runs: looked up before anything is planned, closed under the lock."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from synapse_apply.applying.claims import owners_of
from synapse_apply.applying.runs import known_jobs
from synapse_apply.applying.settle import Settled, Settler
from synapse_apply.model.address import Address
from synapse_apply.model.errors import StateError
from synapse_apply.model.marks import SecretMarks
from synapse_apply.model.observed import Observed
from synapse_apply.model.state import Intent, Record, State
from synapse_apply.session.context import Context
from synapse_apply.session.named_secrets import add_named_secrets
from synapse_apply.session.observe import Observer


def observing(context: Context, state: State) -> Observer:
    """A view of the context's backend for one run, which began with this state."""
    return Observer(
        context.api,
        context.catalogue,
        context.target.api,
        build_marks(context, state.records, state.open_intents),
        context.parallelism,
    )


def build_marks(
    context: Context, records: Mapping[Address, Record], intents: Iterable[Intent] = ()
) -> SecretMarks:
    """Which fields are secret, those of single objects among them."""
    return add_named_secrets(
        context.loaded.marks,
        context.catalogue,
        context.target.api,
        context.desired,
        records,
        intents,
    )


def look_up(context: Context, state: State, observer: Observer) -> list[Settled]:
    """What became of every open intent, as far as the backend can tell; nothing is written."""
    if not state.open_intents:
        return []
    # Before any list is read: absence from a list says nothing of what came after it.
    now, up = context.clock.now(), context.uptime()
    settler = Settler(
        context.api,
        context.catalogue,
        context.secrets,
        observer.marks,
        observer.probed(intent.address.kind for intent in state.open_intents),
        now,
        context.target.settle_after,
        up,
        lambda: known_jobs(context.store),
        lambda found, address: _other(owners, found, address),
        observer.listed_with_key,
    )
    records: dict[Address, Record] = dict(state.records)
    owners = owners_of(records)
    results = []
    for intent in state.open_intents:
        result = settler.settle(intent, records.get(intent.address))
        if result.is_done and result.record is not None:
            records[intent.address] = result.record
            owners |= owners_of({intent.address: result.record})
        results.append(result)
    return results


def _other(
    owners: Mapping[tuple[str, str, str], Address], found: Observed, address: Address
) -> Address | None:
    owner = owners.get((address.kind, found.api, found.remote_id))
    return None if owner == address else owner


def close(context: Context, settled: Iterable[Settled], plan_id: str = "") -> None:
    """Write what was looked up, so that the state says what is known; open ones stay open.

    The caller holds the lock. `plan_id` is that of the run that settles them.
    """
    for item in settled:
        if not item.is_open:
            entry = context.actor.audit(
                item.intent, item.told, at=context.clock.now(), plan_id=plan_id
            )
            context.store.settle(item.intent, item.record, entry)


def no_open_call(address: Address, state: State) -> StateError:
    """What to say of an address that has nothing to settle."""
    opened = ", ".join(str(intent.address) for intent in state.open_intents) or "none"
    failure = StateError.of(
        "No call of this address is open",
        f"{address} has no open call. Open: {opened}.",
        "`synapse-apply plan` shows what is refused and why.",
    )
    return StateError(*failure.diagnostics)
