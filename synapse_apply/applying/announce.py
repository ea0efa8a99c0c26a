"""Announces a call: its intents are durable before anything of the call leaves."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from synapse_apply.applying.task import NotBegun, Tools
from synapse_apply.model.errors import StateError
from synapse_apply.model.state import Intent, IntentState

# A call begins so many seconds after the time its intents have at the latest; the next run counts
# the call's age from that time.
BEGINS_WITHIN = 5.0


def announced(tools: Tools, *intents: Intent, ahead: bool = False) -> tuple[Intent, ...]:
    """The intents of one call as the state has them now, stamped with this moment.

    Packing may have taken minutes since they were made, and a state may be slow to commit.
    StateError when they cannot be written, or it took too long: nothing may be sent then. `ahead`:
    they are written while a place for the call may still be waited for. NotBegun when the run
    ended meanwhile: they are closed again.
    """
    addresses = [intent.address for intent in intents]
    if not ahead:
        tools.take_place()
    begun = tools.clock.seconds()
    tools.begun.update(addresses)
    noted = _noted(tools, intents)
    if not ahead:
        return noted
    try:
        tools.take_place()
    except NotBegun:
        # Where the state cannot take it, the next run finds that it was not done.
        if not (tools.store.broken() or tools.store.lost()):
            with suppress(StateError):
                _close(tools, noted)
        tools.begun.difference_update(addresses)
        raise
    if tools.clock.seconds() - begun > BEGINS_WITHIN and not tools.store.lost():
        # The place came late, and the next run counts from the time that is noted.
        _close(tools, noted)
        noted = _noted(tools, intents)
    return noted


def _noted(tools: Tools, intents: tuple[Intent, ...]) -> tuple[Intent, ...]:
    begun, now, up = tools.clock.seconds(), tools.clock.now(), tools.uptime()
    longest = max(intent.deadline for intent in intents) + BEGINS_WITHIN
    intents = tuple(
        replace(intent, sent_at=now, sent_up=up, deadline=longest) for intent in intents
    )
    for intent in intents:
        tools.store.begin(intent)
    took = tools.clock.seconds() - begun
    # Without the lock nothing leaves, however fast it was: that is told where it would.
    if took <= BEGINS_WITHIN or tools.store.lost():
        return intents
    _close(tools, intents)
    what = " and ".join(f"{intent.verb} of {intent.address}" for intent in intents)
    raise StateError.of(
        "The state is slow",
        f"It took {took:.0f} s to note that {what} is about to be sent. So it was not sent: the "
        "next run tells by that time whether a call may still be acted on.",
        "See what keeps the disk or the database busy, then apply again.",
        address=str(intents[0].address),
    )


def _close(tools: Tools, intents: tuple[Intent, ...]) -> None:
    """Nothing was sent: the records stay as they are."""
    for intent in intents:
        closed = replace(intent, state=IntentState.FAILED)
        entry = tools.actor.audit(closed, "not sent", at=tools.clock.now(), plan_id=tools.plan_id)
        tools.store.settle(closed, tools.store.record(intent.address), entry)
