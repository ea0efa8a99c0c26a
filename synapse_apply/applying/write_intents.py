"""How a call's intents are stored before it is sent, and when they have to be stored anew."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from synapse_apply.applying.step import ApplyTools, StepNotStarted
from synapse_apply.model.errors import StateError
from synapse_apply.model.state import Intent, IntentState


# A create is not idempotent, and the API has no idempotency key. So the call is written down first,
# and an unknown outcome is looked up, never sent again. The intent's id is sent as
# `Idempotency-Key` for servers that know it; nothing relies on that.
# The next run counts the age of a call from its intent. Where a call would begin more than the
# store's `seconds_to_start` after it, the intent is closed and made again.
def acquire_slot_and_write_stamped_intents_in_time(
    tools: ApplyTools, *intents: Intent, before_slot: bool = False
) -> tuple[Intent, ...]:
    """Store the intents of one call, and return them with the current time.

    Raises StateError where they cannot be written or writing took too long: nothing may be sent
    then. With `before_slot` they are written before the wait for a slot; raises StepNotStarted,
    with the intents closed again, where the run ends during that wait, or no call may begin.
    """
    addresses = [intent.address for intent in intents]
    tools.require_permit_or_raise_not_started()
    if not before_slot:
        tools.acquire_slot_and_mark_started_or_raise_not_started()
    started_at = tools.clock.monotonic_seconds()
    tools.started_addresses.update(addresses)
    written_intents = _stamp_and_write_intents_in_time(tools, intents)
    if not before_slot:
        return written_intents
    try:
        tools.acquire_slot_and_mark_started_or_raise_not_started()
    except StepNotStarted:
        # If the state cannot be written, the next run finds out that nothing was sent.
        if not (tools.store.has_failed_write() or tools.store.is_lock_lost()):
            with suppress(StateError):
                _close_intents_as_not_sent(tools, written_intents)
        tools.started_addresses.difference_update(addresses)
        raise
    if (
        tools.clock.monotonic_seconds() - started_at > tools.store.seconds_to_start
        and not tools.store.is_lock_lost()
    ):
        # The slot came late, and the next run counts the call's age from the stored time.
        _close_intents_as_not_sent(tools, written_intents)
        written_intents = _stamp_and_write_intents_in_time(tools, intents)
    return written_intents


def _stamp_and_write_intents_in_time(
    tools: ApplyTools, intents: tuple[Intent, ...]
) -> tuple[Intent, ...]:
    started_at, now, up = (
        tools.clock.monotonic_seconds(),
        tools.clock.utc_now(),
        tools.read_uptime(),
    )
    deadline = max(intent.deadline for intent in intents) + tools.store.seconds_to_start
    intents = tuple(
        replace(intent, sent_at=now, sent_up=up, deadline=deadline, sender=tools.actor.facts)
        for intent in intents
    )
    for position, intent in enumerate(intents):
        try:
            tools.store.open_intent_and_use_up_its_approvals(intent)
        except StateError:
            # What was announced of this call with an approval that was used before, or on a disk
            # that is full now: nothing of it is sent.
            if not (tools.store.has_failed_write() or tools.store.is_lock_lost()):
                _close_intents_as_not_sent(tools, intents[:position])
            raise
    seconds = tools.clock.monotonic_seconds() - started_at
    # Without the lock nothing is sent, however fast this was; the sender reports that.
    if seconds <= tools.store.seconds_to_start or tools.store.is_lock_lost():
        return intents
    _close_intents_as_not_sent(tools, intents)
    calls_text = " and ".join(f"{intent.verb} of {intent.address}" for intent in intents)
    raise StateError.from_summary(
        "The state is slow",
        f"It took {seconds:.0f} s to record that {calls_text} is about to be sent. So it was not "
        f"sent: the "
        "next run tells by that time whether a call may still be acted on.",
        "Find out what keeps the disk or the database busy, then apply again.",
        address=str(intents[0].address),
    )


def _close_intents_as_not_sent(tools: ApplyTools, intents: tuple[Intent, ...]) -> None:
    """Close intents whose calls were not sent; the records stay as they are."""
    for intent in intents:
        closed = replace(intent, state=IntentState.FAILED)
        entry = tools.actor.build_audit_entry(
            closed, "not sent", moment=tools.clock.utc_now(), plan_id=tools.plan_id
        )
        tools.store.close_ended_intent(closed, tools.store.find_record(intent.address), entry)
