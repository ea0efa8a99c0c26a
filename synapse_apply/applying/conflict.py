"""A create that is refused since its natural key may be taken: what is there is looked at.

Servers say so with 409, or with 400 and words on the fields of the key. The words decide nothing:
whether it is there is looked up. Nothing is ever sent a second time.

Bytes that tell they are ours are what was wanted. Whatever else is as it was declared is taken over
where that was asked for; it is ours from then on, and its bytes are unverified. What differs, or
would be run or locked as if it were ours, is left for a plan that shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from synapse_apply.applying import failures, lookup
from synapse_apply.applying.calls import (
    Sent,
    done,
    entry_of,
    failed,
    other_owner,
    outcome_of,
    settled,
)
from synapse_apply.applying.forms import BAD_REQUEST, refused_fields
from synapse_apply.applying.records import adopted, rebased
from synapse_apply.applying.task import Task, Tools
from synapse_apply.kinds.search import search
from synapse_apply.model.diagnostic import Diagnostic, Path
from synapse_apply.model.errors import RemoteError
from synapse_apply.model.observed import Lookup, Observed
from synapse_apply.model.plan import Action
from synapse_apply.model.report import Outcome, Result
from synapse_apply.model.state import IntentState

_INVALID = frozenset({BAD_REQUEST, 422})


def after_conflict(
    task: Task, tools: Tools, sent: Sent, failure: RemoteError, why: Diagnostic
) -> Outcome:
    """Done or adopted where that can be proved and was allowed, else failed with the next step."""
    found, is_absent = _look_up(task, tools, sent.intent.natural_key)
    if found is None:
        told = _not_found(task, sent, failure, why, is_absent=is_absent)
        return failed(task, tools, sent, failure, told)
    if sent.intent.digest and lookup.digest_of(found) == sent.intent.digest:
        warnings = (failures.made_already(task, why),)
        return done(task, tools, sent, found, failure.request_id, warnings)
    owner = other_owner(task, tools, found)
    if owner is not None:
        return failed(task, tools, sent, failure, failures.recorded_conflict(why, found, owner))
    differing = [
        path
        for path in lookup.not_shown_as_sent(task, sent.ours, found, tools.secrets)
        if not lookup.tells_nothing(task, path, found)
    ]
    if tools.adopts and not differing and _is_plain(task, found):
        return _adopt(task, tools, sent, failure, found)
    told = failures.visible_conflict(task, why, found, _names(differing))
    return failed(task, tools, sent, failure, told)


def may_be_taken(task: Task, failure: RemoteError) -> bool:
    """Whether a refused create may have met an object with its natural key."""
    if failure.status_code == failures.CONFLICT:
        return True
    names = refused_fields(failure)
    return failure.status_code in _INVALID and bool(names & {*task.type.key_fields, ""})


def _look_up(task: Task, tools: Tools, key: str) -> tuple[Observed | None, bool]:
    """The one object with this key, and whether it is certain that this token sees none."""
    try:
        hits = search(
            tools.api, task.binding, key, tools.capabilities, tools.marks.for_address(task.address)
        )
    except RemoteError:
        return None, False
    if hits:
        return (hits[0] if len(hits) == 1 else None), False
    return None, task.binding.proves(key, tools.capabilities) is Lookup.COMPLETE


def _not_found(
    task: Task, sent: Sent, failure: RemoteError, why: Diagnostic, *, is_absent: bool
) -> Diagnostic:
    """What to say where the look-up showed no one object: a 400 may have any other reason."""
    if failure.status_code == failures.CONFLICT:
        return failures.hidden_conflict(task, why, seen=is_absent)
    form = sent.intent.natural_key.partition("=")[0]
    if is_absent and form in task.type.global_keys and form in refused_fields(failure):
        return failures.maybe_taken(task, why, form)
    return why


def _is_plain(task: Task, found: Observed) -> bool:
    """Whether adopting is all there is: no other bytes, no run or lock of what is not ours."""
    package = task.desired.package if task.desired else None
    told = lookup.digest_of(found)
    others = told is not None and package is not None and told != package.digest
    return not (others or task.carries or task.seals or task.change.verification)


def _adopt(task: Task, tools: Tools, sent: Sent, failure: RemoteError, found: Observed) -> Outcome:
    tools.saw(task.address, found)
    change = replace(task.change, action=Action.ADOPT, fields=())
    task = replace(task, change=change, observed=found, natural_key=sent.intent.natural_key)
    record = rebased(task, adopted(task, found, tools), tools)
    closed = replace(sent.intent, state=IntentState.FAILED, remote_id=found.remote_id)
    told = failures.adopted_instead(task, found, failure.request_id)
    outcome = outcome_of(task, Result.DONE, (told,), found.remote_id, failure.request_id)
    entry = entry_of(tools, closed, "adopted", failure.request_id)
    return settled(tools, closed, record, entry, outcome)


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(".".join(map(str, path)) for path in paths)
