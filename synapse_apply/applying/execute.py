"""Carries out one task: announce it, make the call, compare the answer, settle it.

Every mutating call has an intent that is durable before it is sent and is settled at once after
(design section 7). A call whose effect nobody saw is looked up, never repeated blindly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from synapse_apply.applying import failures, lookup
from synapse_apply.applying.announce import announced
from synapse_apply.applying.body import update_of, wanted
from synapse_apply.applying.calls import (
    Sent,
    done,
    echo_of,
    entry_of,
    failed,
    finish,
    intent_of,
    outcome_of,
    settled,
    unknown,
)
from synapse_apply.applying.create import create
from synapse_apply.applying.records import adopted, rebased
from synapse_apply.applying.task import CREATES, Live, NotBegun, Task, Tools, together
from synapse_apply.model.address import Address
from synapse_apply.model.errors import Effect, NotFound, RemoteError, SynapseApplyError
from synapse_apply.model.plan import Action
from synapse_apply.model.report import Outcome, Result
from synapse_apply.model.state import IntentState


def execute(task: Task, tools: Tools, live: Live) -> tuple[Outcome, ...]:
    """Do one task, and what its call makes along; every way it can end is an Outcome.

    `live` are the objects known by now.
    """
    creates = task.change.action in CREATES

    def work() -> tuple[Outcome, ...]:
        return create(task, tools, live) if creates else (_dispatch(task, tools, live),)

    if not creates:  # a create is announced before it takes its place
        tools.take_place(task.address)
    return _told(task, tools, work)


def seal(task: Task, tools: Tools, live: Live) -> Outcome:
    """Make the call that ends a task and is never taken back; every way to end is an Outcome."""
    last = tuple(one for one in task.change.fields if one not in task.fields)
    change = replace(task.change, action=Action.UPDATE, fields=last)
    ending = replace(task, change=change, carries=None)
    (outcome,) = _told(ending, tools, lambda: (_seal(ending, tools, live),))
    return outcome


def _told(task: Task, tools: Tools, work: Callable[[], tuple[Outcome, ...]]) -> tuple[Outcome, ...]:
    """The outcomes of some work, with the time it took; progress hears of it."""
    started = tools.clock.seconds()
    for one in together(task):
        tools.progress.started(one.address, one.change.action.value)
    try:
        outcomes = work()
    except SynapseApplyError as failure:
        outcomes = (outcome_of(task, Result.FAILED, failure.diagnostics),)
    except RemoteError as failure:
        told = failures.explain(task, failure, tools.marks.for_address(task.address))
        outcomes = (outcome_of(task, Result.FAILED, (told,)),)
    except NotBegun:
        _tell(task, tools, {}, tools.clock.seconds() - started)
        raise
    seconds = tools.clock.seconds() - started
    _tell(task, tools, {outcome.address: outcome for outcome in outcomes}, seconds)
    return tuple(replace(outcome, seconds=seconds) for outcome in outcomes)


def _tell(task: Task, tools: Tools, outcomes: Mapping[Address, Outcome], seconds: float) -> None:
    for one in together(task):
        outcome = outcomes.get(one.address)
        result, remote_id = Result.SKIPPED, ""
        if outcome is not None:
            result, remote_id = outcome.result, outcome.remote_id
        verb = one.change.action.value
        tools.progress.finished(one.address, verb, result.value, seconds, remote_id)


def _dispatch(task: Task, tools: Tools, live: Live) -> Outcome:
    action = task.change.action
    if action is Action.DELETE:
        return _delete(task, tools)
    if action is Action.FORGET:
        tools.store.remove(task.address)
        _note(task, tools)
        return outcome_of(task, Result.DONE)
    record = task.record
    if action is Action.ADOPT:
        if task.observed is None:
            raise ValueError(f"{task.address} is to be adopted but was not seen")
        record = adopted(task, task.observed, tools)
        tools.store.put(record)
        _note(task, tools)
    if task.fields:
        others = replace(task.change, fields=task.fields)
        return _update(replace(task, record=record, change=others), tools, live)
    if record is not None:
        tools.store.put(rebased(task, record, tools))
    return outcome_of(task, Result.DONE, remote_id=record.remote_id if record else "")


def _note(task: Task, tools: Tools) -> None:
    """What no call tells of stands in the audit, too."""
    remote_id = task.observed.remote_id if task.observed is not None else ""
    if not remote_id and task.record is not None:
        remote_id = task.record.remote_id
    verb, at = task.change.action.value, tools.clock.now()
    told = tools.actor.deed(task.address, verb, at=at, plan_id=tools.plan_id, remote_id=remote_id)
    tools.store.note(told)


def _update(task: Task, tools: Tools, live: Live) -> Outcome:
    call, record = task.binding.update, task.record
    if call is None or record is None:
        raise ValueError(f"{task.address} cannot be updated, yet its plan says so")
    fresh = lookup.read(task, tools, record.remote_id)
    body, ours = update_of(task, fresh.spec, live, tools.secrets.resolve)
    (intent,) = announced(tools, intent_of(task, tools, "update", ours, live))
    sent = Sent(body, ours, intent)
    for last in (False, True):
        try:
            answer = call(tools.api, record.remote_id, body)
            echo = echo_of(
                task,
                tools,
                sent,
                task.binding.decode(answer, tools.marks.for_address(task.address)),
            )
        except RemoteError as failure:
            outcome = _after_failed_update(task, tools, sent, failure, last=last)
            if outcome is not None:
                return outcome
        else:
            return finish(task, tools, sent, echo)
    raise AssertionError("an update is sent at most twice")


def _after_failed_update(
    task: Task, tools: Tools, sent: Sent, failure: RemoteError, *, last: bool
) -> Outcome | None:
    """None asks for a second try: a PUT that a re-read shows not done may be sent again."""
    why = failures.explain(task, failure, tools.marks.for_address(task.address))
    if failure.effect is Effect.NONE:
        return failed(task, tools, sent, failure, why)
    try:
        found = lookup.by_id(task, tools, sent.intent.remote_id)
    except RemoteError:
        found = None
    if found is not None and lookup.changed_so(task, sent.ours, found, tools.secrets):
        return done(task, tools, sent, found, failure.request_id, (failures.recovered(task, why),))
    if found is not None and not last:
        return None
    return unknown(task, failure, why)


def _seal(task: Task, tools: Tools, live: Live) -> Outcome:
    made, record = task.binding.seal, tools.store.record(task.address)
    if made is None or record is None:
        raise ValueError(f"{task.address} cannot be sealed, yet its plan says so")
    task = replace(task, record=record)
    ours = {**wanted(task, live), (made.name,): True}
    (intent,) = announced(tools, intent_of(task, tools, made.verb, ours, live))
    sent = Sent({}, ours, intent)
    try:
        answer = made.call(tools.api, record.remote_id)
        echo = echo_of(
            task, tools, sent, task.binding.decode(answer, tools.marks.for_address(task.address))
        )
    except RemoteError as failure:
        ended = _after_failed_update(task, tools, sent, failure, last=True)
        if ended is None:
            raise AssertionError("a last try is over") from failure
        return ended
    return finish(task, tools, sent, echo)


def _delete(task: Task, tools: Tools) -> Outcome:
    call, record = task.binding.delete, task.record
    if call is None or record is None:
        raise ValueError(f"{task.address} cannot be deleted, yet its plan says so")
    (intent,) = announced(tools, intent_of(task, tools, "delete", {}, {}))
    sent = Sent({}, {}, intent)
    try:
        call(tools.api, record.remote_id)
    except NotFound:
        pass  # what is to be gone is gone
    except RemoteError as failure:
        why = failures.explain(task, failure, tools.marks.for_address(task.address))
        if failure.effect is Effect.NONE:
            return failed(task, tools, sent, failure, why)
        if not _is_gone(task, tools, record.remote_id):
            return unknown(task, failure, why)
    closed = replace(intent, state=IntentState.DONE)
    entry = entry_of(tools, intent, "done", tools.request_id())
    return settled(
        tools, closed, None, entry, outcome_of(task, Result.DONE, remote_id=record.remote_id)
    )


def _is_gone(task: Task, tools: Tools, remote_id: str) -> bool:
    try:
        return lookup.by_id(task, tools, remote_id) is None
    except RemoteError:
        return False
