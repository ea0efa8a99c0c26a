"""How a call of unknown outcome is looked up once more before a run ends.

After a gateway timeout, or on a server that shows changes late: an object that is as it was sent is
proof within the same run. Any other proves nothing until the intent is old enough, which is for the
next run to decide.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from synapse_apply.applying import lookup
from synapse_apply.applying.settle import IntentResolver
from synapse_apply.applying.step import CREATES, ApplyTools, LiveObjects, Step
from synapse_apply.applying.steps.request_body import build_declared_fields_without_final_call
from synapse_apply.model.diagnostic import warning_finding
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.observed import Lookup
from synapse_apply.model.report import Outcome, Result
from synapse_apply.model.state import CREATE_VERB, Intent

_PARTS = (1, 2, 4, 8, 16)
_SLICE = 0.25  # seconds between two checks of whether the run shall end


def can_look_show_effect(step: Step, tools: ApplyTools, live: LiveObjects) -> bool:
    """Whether a look can show that a step's call was done: a create must be found by its key."""
    if step.change.action not in CREATES:
        return True
    key = lookup.resolve_natural_key_or_empty(step, live)
    return step.binding.determine_search_proof(key, tools.capabilities) is Lookup.COMPLETE


def settle_unknown_call_if_done(
    step: Step, tools: ApplyTools, live: LiveObjects, previous: Outcome
) -> Outcome:
    """A DONE outcome, and the intent settled, if the object is as it was sent; else `previous`."""
    try:
        return _close_intent_if_object_is_as_sent(step, tools, live, previous)
    except SynapseApplyError:  # the state failed: the intent stays open for the next run
        return previous


def _close_intent_if_object_is_as_sent(
    step: Step, tools: ApplyTools, live: LiveObjects, previous: Outcome
) -> Outcome:
    intent = _find_open_intent(step, tools)
    if intent is None:
        return previous
    observed, record = None, tools.store.find_record(step.address)
    if intent.verb == CREATE_VERB:
        record = step.record
        observed = lookup.find_only_object_by_key_or_none_on_failure(
            step, tools, intent.natural_key
        )
        if observed is None or not lookup.may_be_object_of_create(
            step, build_declared_fields_without_final_call(step, live), observed, tools.secrets
        ):
            return previous
    resolver = IntentResolver(
        tools.api,
        # Only this kind is needed, as only this intent is resolved.
        {step.address.kind: step.type},
        tools.secrets,
        tools.marks.with_address(step.address),
        tools.capabilities,
        tools.clock.utc_now(),
        tools.settle_after,
        find_other_owner=lambda observed, address: (
            tools.claimed_ids.claim_object_or_find_other_owner(tools.store, observed, address)
        ),
    )
    resolved = resolver.resolve_intent(intent, record)
    # Anything else proves nothing yet, as the call may still be carried out.
    if not resolved.is_done or resolved.reason:
        return previous
    if observed is not None:
        tools.on_observed(step.address, observed)
    entry = tools.actor.build_audit_entry(
        resolved.intent,
        f"settled: {resolved.intent.state.outcome}",
        moment=tools.clock.utc_now(),
        plan_id=tools.plan_id,
    )
    tools.store.close_ended_intent(resolved.intent, resolved.record, entry)
    found = "it was there" if intent.verb == CREATE_VERB else "its effect was there"
    recheck_warning = warning_finding(
        "The outcome of a call was looked up",
        f"Nobody saw how {intent.verb} of {step.address} ended, but {found} when it was "
        f"looked up again (id {resolved.intent.remote_id}): the call was done.",
        address=str(step.address),
        request_id=previous.request_id or None,
    )
    return replace(
        previous,
        result=Result.DONE,
        remote_id=resolved.intent.remote_id,
        diagnostics=(recheck_warning,),
    )


def sleep_and_yield_after_each_recheck_pause(
    tools: ApplyTools, should_stop: Callable[[], object]
) -> Iterator[None]:
    """Yield after ever longer pauses, `settle_after` seconds in all; ends when `should_stop`."""
    for part in _PARTS if tools.settle_after > 0 else ():
        seconds = tools.settle_after * part / sum(_PARTS)
        slices = math.ceil(seconds / _SLICE)
        # In slices, so that an interrupt ends the wait soon.
        for _ in range(slices):
            if should_stop():
                return
            tools.sleep(seconds / slices)
        yield


def _find_open_intent(step: Step, tools: ApplyTools) -> Intent | None:
    opened = tools.store.read_state().open_intents
    return next((intent for intent in opened if intent.address == step.address), None)
