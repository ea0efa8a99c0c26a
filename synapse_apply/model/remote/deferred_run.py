"""How a run whose result comes later is recognised, and which request asks for the result.

An action with `method: serve` waits a few seconds for its result. Then it answers an
envelope with a ticket, and a run of the same action that sends the ticket gives the result, or the
envelope again. Only an envelope with the mark says that the action knows such requests: to
another action they would be a second run.
"""

from __future__ import annotations

from collections.abc import Mapping

from synapse_apply.model.coding.json_types import JsonObject, RequestBody, ServerAnswer
from synapse_apply.model.secrets.masked_text import MaskedText

DEFERRED_MARK = "__synapse_deferred__"
_POLL = "__synapse_poll__"
_PENDING = "pending"
_LONGEST_TICKET = 200
# Parameters of the run that route the request to the process that has the ticket.
_ROUTING = ("model",)


def is_deferred_envelope(answer: ServerAnswer) -> bool:
    """Whether an answer is such an envelope, and not the action's result."""
    return answer.get(DEFERRED_MARK) is True


def is_pending_envelope(answer: ServerAnswer) -> bool:
    """Whether an answer is an envelope that says that the action still runs."""
    return is_deferred_envelope(answer) and answer.get("status") == _PENDING


# Only after the vendor's mark: to an action that does not know such questions, one would be a
# second run.
def build_poll_request(body: RequestBody, answer: ServerAnswer) -> JsonObject | None:
    """The request body that asks for the result of the run of `body`; None where it cannot be."""
    ticket, params = answer.get("ticket"), body.get("params")
    if isinstance(ticket, int) and not isinstance(ticket, bool):
        ticket = str(ticket)
    if not isinstance(ticket, str) or isinstance(ticket, MaskedText):
        return None
    if (
        not is_pending_envelope(answer)
        or not 0 < len(ticket) <= _LONGEST_TICKET
        or not body.get("action")
    ):
        return None
    parameters = params if isinstance(params, Mapping) else {}
    routing = {name: parameters[name] for name in _ROUTING if name in parameters}
    return {**body, "params": {**routing, "method": "post", "json": {_POLL: ticket}}}
