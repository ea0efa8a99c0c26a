"""Clients that cannot change the server: a mutating call is a dry run (v2) or is not sent (v1).

A server that does not know `dry_run` carries the call out. So an answer must state that it was a
dry run; one that does not is an error with unknown effect, although its status is a success.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from synapse_apply.client.answer_shapes import AnswerShape
from synapse_apply.client.calls import ClientCall
from synapse_apply.client.errors import NotSentError, UnconfirmedError
from synapse_apply.client.http.answers import Answer
from synapse_apply.client.http.transport import Transport
from synapse_apply.client.integration import IntegrationClientMixin
from synapse_apply.client.operations import DRY_RUN
from synapse_apply.client.platform import PlatformV2
from synapse_apply.model.errors import Effect


class DryRunV1(IntegrationClientMixin):
    """The reads of API v1. A mutating call raises NotSentError, since v1 has no dry run."""

    def __init__(self, transport: Transport, tenant: str = "") -> None:
        self._transport = transport
        self.tenant = tenant

    @property
    def v2(self) -> DryRunV2:
        """The dry-run client of API v2, over the same connections."""
        return DryRunV2(self._transport)

    @property
    def dry_run(self) -> DryRunV1:
        """The same object: it is the dry-run client already."""
        return self

    def _send(self, call: ClientCall) -> Answer:
        if call.mutates:
            raise NotSentError(f"{call}: not sent: API v1 has no dry run")
        return super()._send(call)


# A client that cannot act: it adds `dry_run` to every mutation, and DryRunV1 sends none, so that
# each ApiBinding's own calls can be used. To the client a dry run is still a mutation: a server
# that does not know `dry_run` acts, so it is never repeated and a lost answer is unknown.
class DryRunV2(PlatformV2):
    """The operations of API v2; each mutating call is sent with `dry_run=true`."""

    def _send(self, call: ClientCall) -> Answer:
        if not call.mutates:
            return super()._send(call)
        call = replace(call, query={**dict(call.query), **dict(DRY_RUN)})
        answer = super()._send(call)
        # A delete is answered without a body, so that it cannot state anything.
        if answer.body.strip() or not call.empty_ok:
            _raise_unless_answer_says_dry_run(call, answer)
        return answer

    def _relax_shape_if_dry_run(self, call: ClientCall, shape: AnswerShape) -> AnswerShape:
        return (
            shape.without_required_fields()
            if call.mutates
            else super()._relax_shape_if_dry_run(call, shape)
        )


def _raise_unless_answer_says_dry_run(call: ClientCall, answer: Answer) -> None:
    """UnconfirmedError, effect unknown, unless the answer states that it was a dry run."""
    if does_answer_say_dry_run(answer.masked_json_or_none):
        return
    raise UnconfirmedError(
        f"{call}: {answer.status}: the answer does not say that it was a dry run",
        status_code=answer.status,
        request_id=answer.request_id,
        effect=Effect.UNKNOWN,
    )


def does_answer_say_dry_run(answer: Any) -> bool:
    """Whether a parsed answer has `dry_run: true`: at its top, in `meta` or in `data`."""
    if not isinstance(answer, Mapping):
        return False
    candidates = (answer, answer.get("meta"), answer.get("data"))
    return any(
        isinstance(candidate, Mapping) and candidate.get("dry_run") is True
        for candidate in candidates
    )
