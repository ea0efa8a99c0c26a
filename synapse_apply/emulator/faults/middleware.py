"""How each kind of fault is carried out on a request; without rules requests pass unchanged."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from synapse_apply.emulator.core.backend import DataSetBackend
from synapse_apply.emulator.core.call import ApiVersion, select_version
from synapse_apply.emulator.core.fields import refusal
from synapse_apply.emulator.core.listener import TRANSPORT
from synapse_apply.emulator.core.store import KINDS
from synapse_apply.emulator.core.v2 import build_error_body
from synapse_apply.emulator.faults.rules import BEFORE, FaultRule

OWN_PREFIX = "/_emulator/"
_RESET_LINGER = struct.pack("ii", 1, 0)  # SO_LINGER with 0 seconds: close(2) sends RST
_PIECES_PER_SECOND = 20
_KINDS_DURING_UPLOAD = frozenset({"cut", "narrow"})
_MIN_PAUSE_SECONDS = 0.005  # a shorter pause is added to the next one


@dataclass(slots=True)
class FaultMiddleware:
    """Applies the rule that is due to each request, except those of the server's own endpoints."""

    app: ASGIApp
    backend: DataSetBackend
    versions: Sequence[ApiVersion]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        faults, rule = self.backend.fault_schedule, None
        # Its own endpoints stay usable: they are how a test takes the faults away again.
        if faults.rules and not scope["path"].startswith(OWN_PREFIX):
            rule = faults.count_request_in_all_rules_and_get_first_due(
                scope["method"], scope["path"]
            )
        if rule is None:
            await self.app(scope, receive, send)
            return
        fault = _Fault(self, rule, scope, receive, send)
        # These faults read the body by themselves; for all others it is received completely first.
        if rule.action.kind in _KINDS_DURING_UPLOAD or await fault.receive_body():
            await getattr(fault, rule.action.kind)()

    def build_refusal_body(self, scope: Scope, status: int) -> Any:
        error = refusal(status, f"Fault: {status}.")
        is_v2 = select_version(self.versions, scope["path"]).is_v2
        return build_error_body(error, scope["request_id"]) if is_v2 else error.body


@dataclass(slots=True)
class _Fault:
    """One request and the rule that is due; there is a method for each of `rules.ACTION_KINDS`."""

    middleware: FaultMiddleware
    rule: FaultRule
    scope: Scope
    receive: Receive
    send: Send
    body: list[Message] = field(default_factory=list)  # empty while it still arrives

    async def receive_body(self) -> bool:
        """Receive the complete body of the request; False if the client disconnected before."""
        while (message := await self.receive())["type"] == "http.request":
            self.body.append(message)
            if not message.get("more_body", False):
                return True
        return False

    async def latency(self) -> None:
        self.rule.applied_count += 1
        await asyncio.sleep(self.rule.action.value / 1000)
        await self._answer_to(self.send)

    async def hang(self) -> None:
        answer = await self._commit_if_after()
        await asyncio.sleep(self.rule.action.value)
        if answer is None:
            await self._answer_to(self.send)
        else:
            await self._send_all(answer)

    async def status(self) -> None:
        await self._commit_if_after()
        await self._refuse(self.rule.action.value)

    async def bucket(self) -> None:
        if self.rule.take_token_if_any(time.monotonic()):
            await self._answer_to(self.send)
            return
        self.rule.applied_count += 1
        await self._refuse(429)

    async def reset(self) -> None:
        await self._commit_if_after()
        await self._close_connection(reset=True)

    async def cut(self) -> None:
        bytes_left = self.rule.action.value
        while bytes_left > 0:
            message = await self.receive()
            if message["type"] != "http.request":
                return
            bytes_left -= len(message.get("body", b""))
            if not message.get("more_body", False):
                break
        self.rule.applied_count += 1
        # A client that still sends meets the reset in the middle of its body.
        await asyncio.sleep(self.rule.action.wait_seconds)
        await self._close_connection(reset=True)

    async def narrow(self) -> None:
        self.rule.applied_count += 1
        started_at, bytes_read = time.monotonic(), 0

        async def receive_paced() -> Message:
            nonlocal bytes_read
            message = await self.receive()
            bytes_read += len(message.get("body", b""))
            # By the time since the start, so that pauses that were too long are made up for.
            pause = started_at + bytes_read / self.rule.action.value - time.monotonic()
            if pause > _MIN_PAUSE_SECONDS:
                await asyncio.sleep(pause)
            return message

        await self.middleware.app(self.scope, receive_paced, self.send)

    async def truncate(self) -> None:
        bytes_left: int = self.rule.action.value
        is_cut = False

        async def send_truncated(message: Message) -> None:
            nonlocal bytes_left, is_cut
            if is_cut or await self._is_start_sent(message):
                return
            text, has_more = message.get("body", b""), message.get("more_body", False)
            # At least the last byte is dropped, however short the answer is.
            part = text[: bytes_left if has_more else min(bytes_left, max(len(text) - 1, 0))]
            bytes_left -= len(part)
            await self._send_piece(part)
            if bytes_left <= 0 or not has_more:
                is_cut = True
                await self._close_connection(reset=False)

        await self._answer_to(send_truncated)

    async def slow(self) -> None:
        # Small pieces at short intervals, so that a client's read timeout is not reached.
        rate = self.rule.action.value
        size = max(1, rate // _PIECES_PER_SECOND)

        async def send_slowly(message: Message) -> None:
            if await self._is_start_sent(message):
                return
            text, has_more = message.get("body", b""), message.get("more_body", False)
            for offset in range(0, len(text), size):
                piece = text[offset : offset + size]
                await asyncio.sleep(len(piece) / rate)
                await self._send_piece(piece)
            if not has_more:
                await self._send_piece(b"", has_more=False)

        await self._answer_to(send_slowly)

    async def page_shift(self) -> None:
        answer = await self._capture_answer()
        self._change_first_item(b"".join(message.get("body", b"") for message in answer[1:]))
        await self._send_all(answer)

    def _change_first_item(self, text: bytes) -> None:
        """Delete the stored object that is the first item of an answered page, or copy it."""
        # The last word of the list's path, as in /v2/plugin-releases/.
        listed = self.scope["path"].strip("/").removeprefix("v2/").replace("_", "-").split("-")[-1]
        kind = next((kind for kind in KINDS if listed == f"{kind}s"), None)
        try:
            page: Any = json.loads(text)
        except ValueError:
            page = None
        results = page.get("results") or page.get("data") if isinstance(page, dict) else None
        backend = self.middleware.backend
        row = backend.store.find_by_id(kind, results[0]["id"]) if kind and results else None
        if not kind or row is None:
            return
        self.rule.applied_count += 1
        if self.rule.action.value == "delete":
            backend.store.delete(kind, row.id)
            return
        # A natural key is unique, so that the copy needs its own.
        key = f"shift-{uuid.uuid4().hex}" if row.key else None
        body = {**row.body, "name": f"shifts the pages {self.rule.matched_count}"}
        if kind == "plugin":
            body["code"] = key
        now = backend.clock.now()
        backend.store.insert(kind, row.tenant, body, created=now, key=key, parent=row.parent)

    async def _commit_if_after(self) -> list[Message] | None:
        """Count the fault; if it comes after the commit, handle the request and return its answer.

        None if the fault comes before the request is handled.
        """
        is_before = self.rule.action.commit_point == BEFORE
        answer = None if is_before else await self._capture_answer()
        self.rule.applied_count += 1
        return answer

    async def _answer_to(self, send: Send) -> None:
        """Let the application handle the request, its answer going to `send`.

        The received body is replayed, so that the request completes even if the client is gone.
        """
        pending = list(self.body)

        async def replay_body() -> Message:
            return pending.pop(0) if pending else await self.receive()

        await self.middleware.app(self.scope, replay_body, send)

    async def _capture_answer(self) -> list[Message]:
        """Let the application handle the request, and return its answer without sending it.

        Of a stream of events, only the head: it would not end.
        """
        messages: list[Message] = []
        stream_started = asyncio.Event()

        async def capture_message(message: Message) -> None:
            messages.append(message)
            headers = dict(message.get("headers", ()))
            if headers.get(b"content-type", b"").startswith(b"text/event-stream"):
                stream_started.set()
                await asyncio.Event().wait()  # never returns; the task is cancelled below

        app_task = asyncio.ensure_future(self._answer_to(capture_message))
        stream_task = asyncio.ensure_future(stream_started.wait())
        await asyncio.wait((app_task, stream_task), return_when=asyncio.FIRST_COMPLETED)
        stream_task.cancel()
        if not stream_started.is_set():
            await app_task
            return messages
        # A stream would go on until its job has ended; its head is all that a fault needs.
        app_task.cancel()
        await asyncio.wait((app_task,))
        return [*messages, {"type": "http.response.body", "body": b""}]

    async def _is_start_sent(self, message: Message) -> bool:
        """Send a message that is the start of the answer, and count the fault."""
        is_start: bool = message["type"] == "http.response.start"
        if is_start:
            self.rule.applied_count += 1
            await self.send(message)
        return is_start

    async def _send_piece(self, piece: bytes, *, has_more: bool = True) -> None:
        await self.send({"type": "http.response.body", "body": piece, "more_body": has_more})

    async def _send_all(self, messages: Sequence[Message]) -> None:
        for message in messages:
            await self.send(message)

    async def _refuse(self, status: int) -> None:
        text = json.dumps(self.middleware.build_refusal_body(self.scope, status)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(text))]
        if self.rule.action.retry_after is not None:
            headers.append((b"retry-after", b"%g" % self.rule.action.retry_after))
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send_piece(text, has_more=False)

    async def _close_connection(self, *, reset: bool) -> None:
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
