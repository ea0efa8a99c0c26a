"""Creates: one object, or an object and the member of another kind that comes along with it.

What one call makes is announced as a whole before it is sent, an intent for each object, and each
is settled and recorded by itself: whatever is cut short in between is looked up by its own key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any
from uuid import uuid4

from synapse_apply.applying import failures, lookup
from synapse_apply.applying.announce import announced
from synapse_apply.applying.body import Part, parts_of, remembered, uploaded, wanted
from synapse_apply.applying.calls import (
    Sent,
    done,
    echo_of,
    entry_of,
    failed,
    finish,
    intent_of,
    other_owner,
    outcome_of,
    unknown,
)
from synapse_apply.applying.conflict import after_conflict, may_be_taken
from synapse_apply.applying.forms import refused_forms
from synapse_apply.applying.task import Live, Task, Tools
from synapse_apply.kinds.descriptor import Raw
from synapse_apply.model.errors import Effect, RemoteError, SynapseApplyError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.observed import Lookup, Observed
from synapse_apply.model.report import Outcome, Result
from synapse_apply.model.state import Intent, IntentState


@frozen
class _Part:
    """One object of a create, and what makes it."""

    task: Task
    sent: Sent
    preferred: Mapping[str, Any]

    def announced(self, intent: Intent) -> _Part:
        """The same, with the intent as the state has it."""
        return replace(self, sent=replace(self.sent, intent=intent))


def create(task: Task, tools: Tools, live: Live) -> tuple[Outcome, ...]:
    """Make the object, and what it carries; an outcome for each, of a failure that of the object.

    What goes along with a call that certainly failed has not been tried.
    """
    parts = [_part(part, tools, live) for part in parts_of(task, live, tools.secrets.resolve)]
    packed = uploaded(task)
    if packed:  # what is packed takes room on the disk: only for so many at once
        tools.take_place()
    with tools.packages.open(packed) if packed else nullcontext() as package:
        return _send(parts, tools, package, live)


def _part(part: Part, tools: Tools, live: Live) -> _Part:
    intent = intent_of(part.task, tools, "create", part.ours, live)
    return _Part(part.task, Sent(part.body, part.ours, intent), part.preferred)


def _send(parts: Sequence[_Part], tools: Tools, package: Any, live: Live) -> tuple[Outcome, ...]:
    """The create, and once more for each field of which the server takes only the plain form.

    Each attempt is announced, settled and audited by itself: the next run counts the age of a call
    from its own time, and history shows every call that was made.
    """
    start = package.tell() if package is not None else 0
    first, plain = parts[0], frozenset[str]()
    preferred = tools.plain_forms.choose(
        first.task.type.prefix, first.task.binding, first.preferred
    )
    while True:
        body = {**first.sent.body, **preferred}
        if package is not None:
            package.seek(start)
            body["file"] = package
        parts = _announce_intents(parts, tools)
        attempt = _attempt(parts, tools, body)
        again = frozenset[str]()
        if isinstance(attempt, RemoteError):
            again = refused_forms(attempt, preferred)
        if not isinstance(attempt, RemoteError) or not again:
            break
        parts = [_prepare_next_attempt(part, tools, attempt) for part in parts]
        preferred = {name: value for name, value in preferred.items() if name not in again}
        plain |= again
    if isinstance(attempt, RemoteError):
        return _after_failure(parts, tools, attempt, live)
    if plain:
        tools.plain_forms.remember(first.task.type.prefix, first.task.binding.api, plain)
    return _after_success(parts, tools, attempt, live)


def _announce_intents(parts: Sequence[_Part], tools: Tools) -> list[_Part]:
    # What the next run could not look up is announced at the last moment: a run that is killed
    # while it waits for a place would leave it unknown.
    ahead = tools.place.is_near and all(_shows(part, tools) for part in parts)
    intents = announced(tools, *(part.sent.intent for part in parts), ahead=ahead)
    return [part.announced(intent) for part, intent in zip(parts, intents, strict=True)]


def _attempt(parts: Sequence[_Part], tools: Tools, body: Mapping[str, Any]) -> Raw | RemoteError:
    task, sent = parts[0].task, parts[0].sent
    try:
        return task.binding.create(tools.api, body, sent.intent.id)
    except RemoteError as failure:
        return failure
    except SynapseApplyError:
        # The package changed while it was read: the body ended early, so nothing was made.
        for part in parts:
            closed = replace(part.sent.intent, state=IntentState.FAILED)
            entry = entry_of(tools, part.sent.intent, "failed", None)
            tools.store.settle(closed, part.task.record, entry)
        raise


def _prepare_next_attempt(part: _Part, tools: Tools, failure: RemoteError) -> _Part:
    """The part for another attempt, once the state knows that this one did nothing."""
    closed = replace(part.sent.intent, state=IntentState.FAILED)
    entry = entry_of(tools, closed, "refused", failure.request_id)
    tools.store.settle(closed, part.task.record, entry)
    return part.announced(replace(part.sent.intent, id=str(uuid4())))


def _after_success(
    parts: Sequence[_Part], tools: Tools, answer: Raw, live: Live
) -> tuple[Outcome, ...]:
    task, sent = parts[0].task, parts[0].sent
    try:
        echo = echo_of(
            task, tools, sent, task.binding.decode(answer, tools.marks.for_address(task.address))
        )
    except RemoteError as failure:
        return _after_failure(parts, tools, failure, live)
    outcome, shown = finish(task, tools, sent, echo), _shown(task, answer)
    # Not before: all that is live is copied, which would be once for each create.
    return (
        outcome,
        *(_along(part, tools, shown, {**live, task.address: echo.observed}) for part in parts[1:]),
    )


def _shows(part: _Part, tools: Tools) -> bool:
    """Whether a search tells for certain that the object was not made."""
    key = part.sent.intent.natural_key
    return part.task.binding.proves(key, tools.capabilities) is Lookup.COMPLETE


def _shown(task: Task, answer: Raw) -> Raw | None:
    """The member as the owner's answer has it."""
    return task.binding.bootstraps.member(answer) if task.binding.bootstraps else None


def _along(part: _Part, tools: Tools, shown: Raw | None, live: Live) -> Outcome:
    """The member of a call that was acknowledged."""
    task, request_id = part.task, tools.request_id()
    if shown is not None:
        found: Observed | None = task.binding.decode(shown, tools.marks.for_address(task.address))
    else:
        found = lookup.by_key(task, tools, part.sent.intent.natural_key)
    if found is None:
        told = (failures.not_shown(task),)
        return outcome_of(task, Result.UNKNOWN, told, request_id=request_id)
    sent = _whole(part, tools, live)
    try:
        echo = echo_of(task, tools, sent, found)
    except RemoteError as failure:
        return unknown(
            task, failure, failures.explain(task, failure, tools.marks.for_address(task.address))
        )
    return finish(task, tools, sent, echo)


def _whole(part: _Part, tools: Tools, live: Live) -> Sent:
    """What was sent of a member, its owner's id among it now that there is one."""
    ours = wanted(part.task, live)
    fields = remembered(ours, part.task.salt, tools.secrets)
    return replace(part.sent, ours=ours, intent=replace(part.sent.intent, fields=fields))


def _after_failure(
    parts: Sequence[_Part], tools: Tools, failure: RemoteError, live: Live
) -> tuple[Outcome, ...]:
    whys = [
        failures.explain(part.task, failure, tools.marks.for_address(part.task.address))
        for part in parts
    ]
    task, sent = parts[0].task, parts[0].sent
    if failure.effect is Effect.NONE:
        for part, why in zip(parts[1:], whys[1:], strict=True):
            failed(part.task, tools, part.sent, failure, why)
        if may_be_taken(task, failure):
            return (after_conflict(task, tools, sent, failure, whys[0]),)
        return (failed(task, tools, sent, failure, whys[0]),)
    found = _found(parts, tools)
    if len(found) < len(parts):
        together = zip(parts, whys, strict=True)
        return tuple(unknown(part.task, failure, why) for part, why in together)
    live = {**live, task.address: found[0]}
    outcomes = []
    for part, one, why in zip(parts, found, whys, strict=True):
        told = (failures.recovered(part.task, why),)
        sent = part.sent if part is parts[0] else _whole(part, tools, live)
        outcomes.append(done(part.task, tools, sent, one, failure.request_id, told))
    return tuple(outcomes)


def _found(parts: Sequence[_Part], tools: Tools) -> list[Observed]:
    """The objects that are there as they were sent, as long as none of them is missing."""
    found: list[Observed] = []
    for part in parts:
        one = lookup.by_key(part.task, tools, part.sent.intent.natural_key)
        if one is None or not lookup.made_so(part.task, part.sent.ours, one, tools.secrets):
            break
        if other_owner(part.task, tools, one) is not None:
            break
        found.append(one)
    return found
