"""The same client, unable to act: what would change the server is a dry run, or is not sent.

A server that does not know `dry_run` acts all the same. So an answer must say that it was a dry
run; one that does not is an error whose effect is unknown, although its status is a success.
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
    """The reads of API v1. It has no dry run, so that its mutations are never sent."""

    def __init__(self, transport: Transport, tenant: str = "") -> None:
        self._transport = transport
        self.tenant = tenant

    @property
    def v2(self) -> DryRunV2:
        """API v2, over the same connections, unable to act as well."""
        return DryRunV2(self._transport)

    @property
    def dry_run(self) -> DryRunV1:
        """This."""
        return self

    def _send(self, call: ClientCall) -> Answer:
        if call.mutates:
            raise NotSentError(f"{call}: not sent: API v1 has no dry run")
        return super()._send(call)


class DryRunV2(PlatformV2):
    """The operations of API v2, each mutation with `dry_run=true` whatever the caller says."""

    def _send(self, call: ClientCall) -> Answer:
        if not call.mutates:
            return super()._send(call)
        call = replace(call, query={**dict(call.query), **dict(DRY_RUN)})
        answer = super()._send(call)
        # A delete is answered without a body and cannot say it.
        if answer.body.strip() or not call.empty_ok:
            _require_dry_run_answer(call, answer)
        return answer

    def _relax_shape_of_dry_run(self, call: ClientCall, shape: AnswerShape) -> AnswerShape:
        return (
            shape.without_required_fields()
            if call.mutates
            else super()._relax_shape_of_dry_run(call, shape)
        )


def _require_dry_run_answer(call: ClientCall, answer: Answer) -> None:
    if is_dry_run_answer(answer.parsed):
        return
    raise UnconfirmedError(
        f"{call}: {answer.status}: the answer does not say that it was a dry run",
        status_code=answer.status,
        request_id=answer.request_id,
        effect=Effect.UNKNOWN,
    )


def is_dry_run_answer(answer: Any) -> bool:
    """Whether an answer says it was one: in its `meta`, or in what was answered itself."""
    if not isinstance(answer, Mapping):
        return False
    candidates = (answer, answer.get("meta"), answer.get("data"))
    return any(
        isinstance(candidate, Mapping) and candidate.get("dry_run") is True
        for candidate in candidates
    )
