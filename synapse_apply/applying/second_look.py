"""Looks once more for what a create of unknown outcome made, before a run ends.

A gateway that gave up, or a server that shows late what it did: what is found is proof within
the same run. That nothing is found proves nothing until the intent is old enough, which is for
the next run to say (design section 7).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from synapse_apply.applying import lookup
from synapse_apply.applying.body import wanted
from synapse_apply.applying.settle import Settler
from synapse_apply.applying.task import CREATES, Live, Task, Tools
from synapse_apply.model.diagnostic import warning
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.observed import Lookup
from synapse_apply.model.report import Outcome, Result
from synapse_apply.model.state import Intent, IntentState

_PARTS = (1, 2, 4, 8, 16)
_SLICE = 0.25  # seconds between two looks at whether the run shall end


def may_show(task: Task, tools: Tools, live: Live) -> bool:
    """Whether an object of this task would be found by its natural key, once it is there."""
    if task.change.action not in CREATES:
        return False
    key = lookup.key_now(task, live)
    return task.binding.proves(key, tools.capabilities) is Lookup.COMPLETE


def look_again(task: Task, tools: Tools, live: Live, before: Outcome) -> Outcome:
    """DONE when the object is there by now as it was sent, else the outcome as it was."""
    try:
        return _looked(task, tools, live, before)
    except SynapseApplyError:  # of the state: the intent is still open there
        return before


def _looked(task: Task, tools: Tools, live: Live, before: Outcome) -> Outcome:
    intent = _open_intent(task, tools)
    found = lookup.by_key(task, tools, intent.natural_key) if intent else None
    if intent is None or found is None:
        return before
    if not lookup.made_so(task, wanted(task, live), found, tools.secrets):
        return before
    settler = Settler(
        tools.api,
        {task.address.kind: task.type},
        tools.secrets,
        tools.marks.for_address(task.address),
        tools.capabilities,
        tools.clock.now(),
        tools.settle_after,
        owner_of=lambda found, address: tools.claims.claim(tools.store, found, address),
    )
    settled = settler.settle(intent, task.record)
    if settled.intent.state is not IntentState.DONE:
        return before
    tools.saw(task.address, found)
    entry = tools.actor.audit(
        settled.intent, settled.told, at=tools.clock.now(), plan_id=tools.plan_id
    )
    tools.store.settle(settled.intent, settled.record, entry)
    told = warning(
        "The outcome of a call was looked up",
        f"Nobody saw how {intent.verb} of {task.address} ended, but it was there when it was "
        f"looked up again (id {settled.intent.remote_id}): the call was done.",
        address=str(task.address),
        request_id=before.request_id or None,
    )
    return replace(
        before, result=Result.DONE, remote_id=settled.intent.remote_id, diagnostics=(told,)
    )


def pauses(tools: Tools, stop: Callable[[], object]) -> Iterator[None]:
    """Waits ever longer between looks, `settle_after` seconds in all; ends early when asked to."""
    for part in _PARTS if tools.settle_after > 0 else ():
        seconds = tools.settle_after * part / sum(_PARTS)
        slices = math.ceil(seconds / _SLICE)
        for _ in range(slices):
            if stop():
                return
            tools.pause(seconds / slices)
        yield


def _open_intent(task: Task, tools: Tools) -> Intent | None:
    opened = tools.store.read().open_intents
    return next((intent for intent in opened if intent.address == task.address), None)
