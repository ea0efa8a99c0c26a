"""What is done of what people ask for: only what they have a right to."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from synapse_apply.controller.page.entry.refusals import RequestRefused
from synapse_apply.controller.page.entry.visitor import Visitor
from synapse_apply.controller.page.people.action_requests import RIGHTS, ActionRequest, Verb
from synapse_apply.controller.ports import ActionRefused, PeopleActions


def carry_out_action(request: ActionRequest, visitor: Visitor, actions: PeopleActions) -> None:
    """Do what somebody asks for. RequestRefused where they may not, or it cannot be done now."""
    right = RIGHTS[request.verb]
    if request.name is not None:
        visitor.require_right_on(request.name, right)
    elif visitor.person is None or not visitor.can_pause_scope(request.scope):
        raise visitor.scope_refusal(right, request.scope)
    try:
        _call_action_of_verb(request, visitor.identity, visitor.groups, actions)
    except ActionRefused as problem:
        raise RequestRefused(HTTPStatus.CONFLICT, *problem.diagnostics) from None


def _call_action_of_verb(
    request: ActionRequest, who: str, groups: Sequence[str], actions: PeopleActions
) -> None:
    name = request.name
    match request.verb:
        case Verb.PAUSE:
            actions.pause_scope_or_refuse(who, request.scope, request.reason, request.until)
        case Verb.RESUME:
            actions.resume_scope_or_refuse(who, request.scope)
        case Verb.RECONCILE if name is not None:
            actions.reconcile_soon_or_refuse(who, name)
        case Verb.APPROVE if name is not None:
            actions.approve_rows_or_refuse(who, name, request.row_digests, groups)
        case Verb.REJECT if name is not None:
            actions.reject_rows_or_refuse(who, name, request.row_digests, request.reason)
        case _:
            raise ValueError(f"{request.verb.value} needs a target")
