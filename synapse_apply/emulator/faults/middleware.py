"""How each kind of fault is carried out on a request; without rules requests pass unchanged."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from synapse_apply.emulator.core.backend import DataSetBackend
from synapse_apply.emulator.core.call import ApiVersion, select_version
from synapse_apply.emulator.core.fields import refusal
from synapse_apply.emulator.core.listener import TRANSPORT
from synapse_apply.emulator.core.store import Kind, StoredObject
from synapse_apply.emulator.core.v2 import build_error_body
from synapse_apply.emulator.faults.rules import BEFORE, FaultRule

OWN_PREFIX = "/_emulator/"
_RESET_LINGER = struct.pack("ii", 1, 0)  # SO_LINGER with 0 seconds: close(2) sends RST
_PIECES_PER_SECOND = 20
_KINDS_DURING_UPLOAD = frozenset({"cut", "narrow"})
_MIN_PAUSE_SECONDS = 0.005  # a shorter pause is added to the next one
_KIND_BY_PATH: dict[str, Kind] = {
    "plugins": "plugin",
    "plugin_releases": "release",
    "storages": "storage",
    "v2/plugins": "plugin",
    "v2/plugin-releases": "release",
}


@dataclass(frozen=True, slots=True)
class _FaultExchange:
    """One request with its connection; `body_messages` is empty if the body still arrives."""

    app: ASGIApp
    scope: Scope
    body_messages: Sequence[Message]
    receive: Receive
    send: Send

    async def run_app_on_request(self, send: Send) -> None:
        """Let the application handle the request, its answer going to `send`.

        The received body is replayed, so that the request completes even if the client is gone.
        """
        pending = list(self.body_messages)

        async def replay_body() -> Message:
            return pending.pop(0) if pending else await self.receive()

        await self.app(self.scope, replay_body, send)

    async def capture_answer_or_stream_head(self) -> list[Message]:
        """Let the application handle the request, and return its answer without sending it.

        Of a stream of events, only the head: it would not end.
        """
        messages: list[Message] = []
        stream_started = asyncio.Event()

        async def capture_message(message: Message) -> None:
            messages.append(message)
            if _is_stream(message):
                stream_started.set()
                await asyncio.Event().wait()  # never returns; the task is cancelled below

        app_task, stream_task = (
            asyncio.ensure_future(self.run_app_on_request(capture_message)),
            asyncio.ensure_future(stream_started.wait()),
        )
        await asyncio.wait((app_task, stream_task), return_when=asyncio.FIRST_COMPLETED)
        stream_task.cancel()
        if not stream_started.is_set():
            await app_task
            return messages
        # A stream would go on until its job has ended; its head is all that a fault needs.
        app_task.cancel()
        await asyncio.wait((app_task,))
        return [*messages, {"type": "http.response.body", "body": b""}]

    async def send_messages(self, messages: Sequence[Message]) -> None:
        for message in messages:
            await self.send(message)

    async def close_connection(self, *, reset: bool) -> None:
        """Close the connection: with RST if `reset`, else with FIN after the written bytes."""
        transport: asyncio.Transport = self.scope["state"][TRANSPORT]
        if transport.is_closing():  # the client was first
            return
        if reset:
            raw_socket = transport.get_extra_info("socket")
            # SO_LINGER of 0 seconds: the kernel sends RST in place of FIN.
            raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_LINGER)
            transport.abort()
        else:
            transport.close()
        # If the application returned without an answer, uvicorn would try to send a 500.
        while (await self.receive())["type"] != "http.disconnect":
            pass


class FaultMiddleware:
    """Applies the rule that is due to each request, except those of the server's own endpoints.

    The method for a kind of fault is `_apply_KIND`, for the kinds in `rules.ACTION_KINDS`.
    """

    def __init__(
        self, app: ASGIApp, backend: DataSetBackend, versions: Sequence[ApiVersion]
    ) -> None:
        self.app = app
        self.backend = backend
        self.versions = versions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        faults = self.backend.fault_schedule
        rule = None
        # Its own endpoints stay usable: they are how a test takes the faults away again.
        if faults.rules and scope["type"] == "http" and not scope["path"].startswith(OWN_PREFIX):
            rule = faults.count_request_in_all_rules_and_get_first_due(
                scope["method"], scope["path"]
            )
        if rule is None:
            await self.app(scope, receive, send)
            return
        # These faults read the body by themselves; for all others it is received completely first.
        acts_during_upload = rule.action.kind in _KINDS_DURING_UPLOAD
        body = [] if acts_during_upload else await _read_request_messages_or_none(receive)
        if body is not None:
            exchange = _FaultExchange(self.app, scope, body, receive, send)
            await getattr(self, f"_apply_{rule.action.kind}")(exchange, rule)

    async def _apply_latency(self, exchange: _FaultExchange, rule: FaultRule) -> None:
        rule.applied_count += 1
        await asyncio.sleep(rule.action.value / 1000)
        await exchange.run_app_on_request(exchange.send)

    async def _apply_hang(self, exchange: _FaultExchange, rule: FaultRule) -> None:
        answer = await self._count_and_capture_answer_if_after(exchange, rule)
        await asyncio.sleep(rule.action.value)
        if answer is None:
            await exchange.run_app_on_request(exchange.send)
        else:
            await exchange.send_messages(answer)

    async def _apply_status(self, exchange: _FaultExchange, rule: FaultRule) -> None:
        await self._count_and_capture_answer_if_after(exchange, rule)
        await self._send_refusal(exchange, rule.action.value, rule.action.retry_after)

    async def _apply_bucket(self, exchange: _FaultExchange, rule: FaultRule) -> None:
        if rule.take_token_if_any(time.monotonic()):
            await exchange.run_app_on_request(exchange.send)
            return
        rule.applied_count += 1
        await self._send_refusal(exchange, 429, rule.action.retry_after)

    async def _send_refusal(
        self, exchange: _FaultExchange, status: int, retry_after: float | None
    ) -> None:
        text = json.dumps(self._build_refusal_body(exchange.scope, status)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(text))]
        if retry_after is not None:
            headers.append((b"retry-after", b"%g" % retry_after))
        start = {"type": "http.response.start", "status": status, "headers": headers}
        await exchange.send_messages([start, {"type": "http.response.body", "body": text}])

    async def _apply_reset(self, exchange: _FaultExchange, rule: FaultRule) -> None:
        await self._count_and_capture_answer_if_after(exchange, rule)
        await exchange.close_connection(reset=True)

    async def _apply_cut(self, exchange: _FaultExchange, rule: FaultRule) -> None:
        bytes_left = rule.action.value
        while bytes_left > 0:
            message = await exchange.receive()
            if message["type"] != "http.request":
                return
            bytes_left -= len(message.get("body", b""))
            if not message.get("more_body", False):
                break
        rule.applied_count += 1
        # A client that still sends meets the reset in the middle of its body.
        await asyncio.sleep(rule.action.wait_seconds)
        await exchange.close_connection(reset=True)

    async def _apply_narrow(self, exchange: _FaultExchange, rule: FaultRule) -> None:
        rule.applied_count += 1
        started_at, bytes_read = time.monotonic(), 0

        async def receive_paced() -> Message:
            nonlocal bytes_read
            message = await exchange.receive()
            bytes_read += len(message.get("body", b""))
            # By the time since the start, so that pauses that were too long are made up for.
            pause = started_at + bytes_read / rule.action.value - time.monotonic()
            if pause > _MIN_PAUSE_SECONDS:
                await asyncio.sleep(pause)
            return message

        await self.app(exchange.scope, receive_paced, exchange.send)

    async def _apply_truncate(self, exchange: _FaultExchange, rule: FaultRule) -> None:
        bytes_left: int = rule.action.value
        is_cut = False

        async def send_truncated(message: Message) -> None:
            nonlocal bytes_left, is_cut
            if is_cut:
                return
            if message["type"] == "http.response.start":
                rule.applied_count += 1
                await exchange.send(message)
                return
            text, has_more = message.get("body", b""), message.get("more_body", False)
            # At least the last byte is dropped, however short the answer is.
            part = text[: bytes_left if has_more else min(bytes_left, max(len(text) - 1, 0))]
            bytes_left -= len(part)
            await exchange.send({"type": "http.response.body", "body": part, "more_body": True})
            if bytes_left <= 0 or not has_more:
                is_cut = True
                await exchange.close_connection(reset=False)

        await exchange.run_app_on_request(send_truncated)

    async def _apply_slow(self, exchange: _FaultExchange, rule: FaultRule) -> None:
        # Small pieces at short intervals, so that a client's read timeout is not reached.
        size = max(1, rule.action.value // _PIECES_PER_SECOND)

        async def send_slowly(message: Message) -> None:
            if message["type"] == "http.response.start":
                rule.applied_count += 1
                await exchange.send(message)
                return
            text, has_more = message.get("body", b""), message.get("more_body", False)
            for offset in range(0, len(text), size):
                piece = text[offset : offset + size]
                await asyncio.sleep(len(piece) / rule.action.value)
                await exchange.send(
                    {"type": "http.response.body", "body": piece, "more_body": True}
                )
            if not has_more:
                await exchange.send({"type": "http.response.body", "body": b""})

        await exchange.run_app_on_request(send_slowly)

    async def _apply_page_shift(self, exchange: _FaultExchange, rule: FaultRule) -> None:
        answer = await exchange.capture_answer_or_stream_head()
        kind = _KIND_BY_PATH.get(exchange.scope["path"].strip("/"))
        row = self._first_item(kind, _split_answer(answer)[1]) if kind else None
        if kind and row:
            rule.applied_count += 1
            if rule.action.value == "delete":
                self.backend.store.delete(kind, row.id)
            else:
                now = self.backend.clock.now()
                # A natural key is unique, so that the copy needs its own.
                key = f"shift-{uuid.uuid4().hex}" if row.key else None
                new_body = {**row.body, "name": f"shifts the pages {rule.matched_count}"}
                if kind == "plugin":
                    new_body["code"] = key
                self.backend.store.insert(
                    kind, row.tenant, new_body, created=now, key=key, parent=row.parent
                )
        await exchange.send_messages(answer)

    def _build_refusal_body(self, scope: Scope, status: int) -> Any:
        error = refusal(status, f"Fault: {status}.")
        is_v2 = select_version(self.versions, scope["path"]).is_v2
        return build_error_body(error, scope["request_id"]) if is_v2 else error.body

    def _first_item(self, kind: Kind, text: bytes) -> StoredObject | None:
        """The stored object that is the first item of an answered page, None without one."""
        try:
            page: Any = json.loads(text)
        except ValueError:
            return None
        results = page.get("results") or page.get("data") if isinstance(page, dict) else None
        return self.backend.store.find_by_id(kind, results[0]["id"]) if results else None

    @staticmethod
    async def _count_and_capture_answer_if_after(
        exchange: _FaultExchange, rule: FaultRule
    ) -> list[Message] | None:
        """Count the fault; if it comes after the commit, handle the request and return its answer.

        None if the fault comes before the request is handled.
        """
        answer = (
            None
            if rule.action.commit_point == BEFORE
            else await exchange.capture_answer_or_stream_head()
        )
        rule.applied_count += 1
        return answer


def _split_answer(answer: Sequence[Message]) -> tuple[Message, bytes]:
    return answer[0], b"".join(message.get("body", b"") for message in answer[1:])


def _is_stream(message: Message) -> bool:
    headers = dict(message.get("headers", ()))
    return bool(headers.get(b"content-type", b"").startswith(b"text/event-stream"))


async def _read_request_messages_or_none(receive: Receive) -> list[Message] | None:
    """The messages of the complete request body; None if the client disconnected before."""
    messages: list[Message] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        messages.append(message)
        if not message.get("more_body", False):
            return messages
