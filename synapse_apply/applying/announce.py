"""Announces a call: its intent is durable before anything of the call leaves."""

from __future__ import annotations

from dataclasses import replace

from synapse_apply.applying.task import Tools
from synapse_apply.model.errors import StateError
from synapse_apply.model.state import Intent, IntentState

# A call begins so many seconds after the time its intent has at the latest; the next run counts
# the call's age from that time.
BEGINS_WITHIN = 5.0


def announced(intent: Intent, tools: Tools) -> Intent:
    """The intent as the state has it now: stamped with this moment, not with that of its plan.

    Packing may have taken minutes, and a state may be slow to commit. StateError when it cannot be
    written, or took too long: nothing may be sent then.
    """
    begun = tools.clock.seconds()
    intent = replace(
        intent,
        sent_at=tools.clock.now(),
        sent_up=tools.uptime(),
        deadline=intent.deadline + BEGINS_WITHIN,
    )
    tools.store.begin(intent)
    took = tools.clock.seconds() - begun
    if took <= BEGINS_WITHIN:
        return intent
    closed = replace(intent, state=IntentState.FAILED)
    entry = tools.actor.audit(closed, "not sent", at=tools.clock.now(), plan_id=tools.plan_id)
    tools.store.settle(closed, tools.store.record(intent.address), entry)
    raise StateError.of(
        "The state is slow",
        f"It took {took:.0f} s to note that {intent.verb} of {intent.address} is about to be sent. "
        "So it was not sent: the next run tells by that time whether a call may still be acted on.",
        "See what keeps the disk or the database busy, then apply again.",
        address=str(intent.address),
    )
