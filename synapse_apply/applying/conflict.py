"""A create that is answered with 409: somebody was first, so what is there is looked at.

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
from synapse_apply.applying.records import adopted, rebased
from synapse_apply.applying.task import Task, Tools
from synapse_apply.model.diagnostic import Diagnostic, Path
from synapse_apply.model.errors import RemoteError
from synapse_apply.model.observed import Lookup, Observed
from synapse_apply.model.plan import Action
from synapse_apply.model.report import Outcome, Result
from synapse_apply.model.state import IntentState


def after_conflict(
    task: Task, tools: Tools, sent: Sent, failure: RemoteError, why: Diagnostic
) -> Outcome:
    """Done or adopted where that can be proved and was allowed, else failed with the next step."""
    found = lookup.by_key(task, tools, sent.intent.natural_key)
    if found is None:
        looked = task.binding.proves(sent.intent.natural_key, tools.capabilities)
        hidden = failures.hidden_conflict(task, why, seen=looked is Lookup.COMPLETE)
        return failed(task, tools, sent, failure, hidden)
    if sent.intent.digest and lookup.digest_of(found) == sent.intent.digest:
        warnings = (failures.made_already(task, why),)
        return done(task, tools, sent, found, failure.request_id, warnings)
    owner = other_owner(task, tools, found)
    if owner is not None:
        return failed(task, tools, sent, failure, failures.recorded_conflict(why, found, owner))
    differing = lookup.not_shown_as_sent(task, sent.ours, found, tools.secrets)
    if tools.adopts and not differing and _is_plain(task, found):
        return _adopt(task, tools, sent, failure, found)
    told = failures.visible_conflict(task, why, found, _names(differing))
    return failed(task, tools, sent, failure, told)


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
