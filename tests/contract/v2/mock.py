"""A server made of the description alone: it takes what is allowed and answers examples."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from contract.v2.description import DESCRIPTION, FORM, JSON, Description, Operation, Sent, example
from unit.client.scripted import Received, ScriptedServer, Step, answer
from unit.client.test_uploads import parts


@dataclass
class Mock:
    """`findings` is what was asked against the description, `asked` the operations asked for.

    `is_enveloped` decides the form of successes; `status` is answered instead of the success.
    """

    description: Description = DESCRIPTION
    is_enveloped: bool = True
    status: str = ""
    findings: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.server = ScriptedServer(route=self._route)

    def _route(self, request: Received) -> Step:
        operation = self.description.find(request.method, request.path)
        if operation is None:
            self.findings.append(f"there is no {request.method} {request.path}")
            return answer(404, refused(404))
        self.asked.append(operation.raw["operationId"])
        found = list(operation.problems_of(read(request)))
        self.findings += [f"{request.method} {request.path}: {one}" for one in found]
        if found or self.status:
            return answer(int(self.status or 400), refused(self.status or 400))
        if operation.answer is None:
            return answer(int(operation.success), b"")
        return answer(int(operation.success), self._written(operation))

    def _written(self, operation: Operation) -> Any:
        body = example_of(operation)
        if not self.is_enveloped:
            return body
        meta: dict[str, Any] = {"request_id": "r-1"}
        if not operation.is_list:
            return {"data": body, "meta": meta}
        pagination = {"next_cursor": None, "previous_cursor": None, "per_page": 50}
        return {"data": body["results"], "meta": {**meta, "pagination": pagination}}


def example_of(operation: Operation) -> Any:
    """An answer of success; of a list the only page."""
    body = example(operation.answer)
    return {**body, "next": None, "previous": None} if operation.is_list else body


def refused(status: Any) -> dict[str, Any]:
    fault = {"code": "SOME_CODE", "message": f"no: {status}", "details": None}
    return {"error": fault, "meta": {"request_id": "r-2"}}


def read(request: Received) -> Sent:
    """A request as it came over the wire."""
    content_type = request.headers.get("content-type", "")
    fields, files = None, frozenset[str]()
    if content_type.startswith(FORM):
        texts: dict[str, Any] = {}
        for name, filename, content in parts(request):
            if filename is not None:
                files |= {name}
            else:
                texts.setdefault(name, []).append(content.decode())
        fields = {name: got[0] if len(got) == 1 else got for name, got in texts.items()}
    elif content_type == JSON:
        fields = json.loads(request.body) if request.body else None
    elif request.body:
        fields = {name: got[-1] for name, got in parse_qs(request.body.decode()).items()}
    return Sent(
        request.method, request.path, request.query, request.headers, content_type, fields, files
    )
