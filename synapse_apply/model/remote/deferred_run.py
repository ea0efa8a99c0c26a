"""A run whose result comes later: what tells it, and how the vendor's tools ask for the result.

An action that serves (`method: serve`) waits a few seconds for its result. Then it answers an
envelope with a ticket, and a run of the same action that sends the ticket gives the result, or the
envelope again. Only an envelope that has the mark says that the action knows such questions: to
another one they would be a second run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_apply.model.secrets.masked_text import MaskedText

DEFERRED_MARK = "__synapse_deferred__"
_POLL = "__synapse_poll__"
_PENDING = "pending"
_LONGEST_TICKET = 200
# What else of a run's parameters leads to the process that has the ticket.
_ROUTING = ("model",)


def is_deferred_envelope(answer: Mapping[str, Any]) -> bool:
    """Whether an answer is such an envelope, and not the result of the action itself."""
    return answer.get(DEFERRED_MARK) is True


def is_pending_envelope(answer: Mapping[str, Any]) -> bool:
    """Whether an envelope says that the action still works."""
    return is_deferred_envelope(answer) and answer.get("status") == _PENDING


# Only after the vendor's mark: to an action that does not know such questions, one would be a
# second run.
def build_poll_request(body: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any] | None:
    """The run that asks for the result of the run of `body`; None where nothing can be asked."""
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
