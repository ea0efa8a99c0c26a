"""Lets requests go wrong as the fault schedule says; without rules it only passes them on."""

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

from synapse_apply.emulator.core.backend import Backend
from synapse_apply.emulator.core.call import ApiVersion, version_of
from synapse_apply.emulator.core.errors import ApiError
from synapse_apply.emulator.core.fault_rules import BEFORE, Rule
from synapse_apply.emulator.core.listener import TRANSPORT
from synapse_apply.emulator.core.store import Kind, Row

OWN_PREFIX = "/_emulator/"
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with 0 seconds: close(2) sends RST
_PIECES_PER_SECOND = 20
_WHILE_IT_ARRIVES = frozenset({"cut", "narrow"})
_SHORTEST_PAUSE = 0.005  # seconds; shorter ones are made up for by the next
_KINDS: dict[str, Kind] = {
    "plugins": "plugin",
    "plugin_releases": "release",
    "storages": "storage",
    "v2/plugins": "plugin",
    "v2/plugin-releases": "release",
}


@dataclass(frozen=True, slots=True)
class _Exchange:
    """One request and the ways to answer it; it was received whole, unless it still arrives."""

    app: ASGIApp
    scope: Scope
    body: Sequence[Message]
    receive: Receive
    send: Send

    async def act(self, send: Send) -> None:
        """Let the server do what was asked; a client that has gone changes nothing."""
        left = list(self.body)

        async def replay() -> Message:
            return left.pop(0) if left else await self.receive()

        await self.app(self.scope, replay, send)

    async def answer(self) -> list[Message]:
        """Let the server act, and keep its answer back; of a stream, only that it began."""
        kept: list[Message] = []
        streams = asyncio.Event()

        async def keep(message: Message) -> None:
            kept.append(message)
            if _is_stream(message):
                streams.set()
                await asyncio.Event().wait()  # for ever: what would follow has no end

        acting, waiting = (
            asyncio.ensure_future(self.act(keep)),
            asyncio.ensure_future(streams.wait()),
        )
        await asyncio.wait((acting, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not streams.is_set():
            await acting
            return kept
        acting.cancel()
        await asyncio.wait((acting,))
        return [*kept, {"type": "http.response.body", "body": b""}]

    async def release(self, answer: Sequence[Message]) -> None:
        for message in answer:
            await self.send(message)

    async def cut(self, *, reset: bool) -> None:
        """End the connection: with RST, or with FIN after what was written."""
        transport: asyncio.Transport = self.scope["state"][TRANSPORT]
        if transport.is_closing():  # the client was first
            return
        if reset:
            raw = transport.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            transport.abort()
        else:
            transport.close()
        while (await self.receive())["type"] != "http.disconnect":
            pass


class FaultMiddleware:
    """Stands before the routes; the server's own endpoints are never touched."""

    def __init__(self, app: ASGIApp, backend: Backend, versions: Sequence[ApiVersion]) -> None:
        self.app = app
        self.backend = backend
        self.versions = versions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        faults = self.backend.faults
        rule = None
        if faults.rules and scope["type"] == "http" and not scope["path"].startswith(OWN_PREFIX):
            rule = faults.take(scope["method"], scope["path"])
        if rule is None:
            await self.app(scope, receive, send)
            return
        comes_early = rule.deed.kind in _WHILE_IT_ARRIVES
        body = [] if comes_early else await _whole(receive)
        if body is not None:
            exchange = _Exchange(self.app, scope, body, receive, send)
            await getattr(self, f"_{rule.deed.kind}")(exchange, rule)

    async def _latency(self, exchange: _Exchange, rule: Rule) -> None:
        rule.done += 1
        await asyncio.sleep(rule.deed.value / 1000)
        await exchange.act(exchange.send)

    async def _hang(self, exchange: _Exchange, rule: Rule) -> None:
        answer = await self._when(exchange, rule)
        await asyncio.sleep(rule.deed.value)
        if answer is None:
            await exchange.act(exchange.send)
        else:
            await exchange.release(answer)

    async def _status(self, exchange: _Exchange, rule: Rule) -> None:
        await self._when(exchange, rule)
        await self._refuse(exchange, rule.deed.value, rule.deed.retry_after)

    async def _bucket(self, exchange: _Exchange, rule: Rule) -> None:
        if rule.spend(time.monotonic()):
            await exchange.act(exchange.send)
            return
        rule.done += 1
        await self._refuse(exchange, 429, rule.deed.retry_after)

    async def _refuse(self, exchange: _Exchange, status: int, retry_after: float | None) -> None:
        text = json.dumps(self._refusal(exchange.scope, status)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(text))]
        if retry_after is not None:
            headers.append((b"retry-after", b"%g" % retry_after))
        start = {"type": "http.response.start", "status": status, "headers": headers}
        await exchange.release([start, {"type": "http.response.body", "body": text}])

    async def _reset(self, exchange: _Exchange, rule: Rule) -> None:
        await self._when(exchange, rule)
        await exchange.cut(reset=True)

    async def _cut(self, exchange: _Exchange, rule: Rule) -> None:
        left = rule.deed.value
        while left > 0:
            message = await exchange.receive()
            if message["type"] != "http.request":
                return
            left -= len(message.get("body", b""))
            if not message.get("more_body", False):
                break
        rule.done += 1
        await asyncio.sleep(rule.deed.wait)
        await exchange.cut(reset=True)

    async def _narrow(self, exchange: _Exchange, rule: Rule) -> None:
        rule.done += 1
        begun, read = time.monotonic(), 0

        async def paced() -> Message:
            nonlocal read
            message = await exchange.receive()
            read += len(message.get("body", b""))
            early = begun + read / rule.deed.value - time.monotonic()
            if early > _SHORTEST_PAUSE:
                await asyncio.sleep(early)
            return message

        await self.app(exchange.scope, paced, exchange.send)

    async def _truncate(self, exchange: _Exchange, rule: Rule) -> None:
        left: int = rule.deed.value
        is_cut = False

        async def send(message: Message) -> None:
            nonlocal left, is_cut
            if is_cut:
                return
            if message["type"] == "http.response.start":
                rule.done += 1
                await exchange.send(message)
                return
            text, more = message.get("body", b""), message.get("more_body", False)
            # At least the end is missing, however short the answer is.
            part = text[: left if more else min(left, max(len(text) - 1, 0))]
            left -= len(part)
            await exchange.send({"type": "http.response.body", "body": part, "more_body": True})
            if left <= 0 or not more:
                is_cut = True
                await exchange.cut(reset=False)

        await exchange.act(send)

    async def _slow(self, exchange: _Exchange, rule: Rule) -> None:
        size = max(1, rule.deed.value // _PIECES_PER_SECOND)

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                rule.done += 1
                await exchange.send(message)
                return
            text, more = message.get("body", b""), message.get("more_body", False)
            for at in range(0, len(text), size):
                piece = text[at : at + size]
                await asyncio.sleep(len(piece) / rule.deed.value)
                await exchange.send(
                    {"type": "http.response.body", "body": piece, "more_body": True}
                )
            if not more:
                await exchange.send({"type": "http.response.body", "body": b""})

        await exchange.act(send)

    async def _page_shift(self, exchange: _Exchange, rule: Rule) -> None:
        answer = await exchange.answer()
        kind = _KINDS.get(exchange.scope["path"].strip("/"))
        row = self._first(kind, _parts(answer)[1]) if kind else None
        if kind and row:
            rule.done += 1
            if rule.deed.value == "delete":
                self.backend.store.delete(kind, row.id)
            else:
                now = self.backend.clock.now()
                key = f"shift-{uuid.uuid4().hex}" if row.key else None
                shifted = {**row.body, "name": f"shifts the pages {rule.seen}"}
                if kind == "plugin":
                    shifted["code"] = key
                self.backend.store.insert(
                    kind, row.tenant, shifted, created=now, key=key, parent=row.parent
                )
        await exchange.release(answer)

    def _refusal(self, scope: Scope, status: int) -> Any:
        version = version_of(self.versions, scope["path"])
        return version.refuse(
            ApiError(status, {"detail": f"Fault: {status}."}), scope["request_id"]
        )

    def _first(self, kind: Kind, text: bytes) -> Row | None:
        """The first object of a page that is about to be answered."""
        try:
            page: Any = json.loads(text)
        except ValueError:
            return None
        results = page.get("results") or page.get("data") if isinstance(page, dict) else None
        return self.backend.store.get(kind, results[0]["id"]) if results else None

    @staticmethod
    async def _when(exchange: _Exchange, rule: Rule) -> list[Message] | None:
        """Let the server act first where the deed comes after; then the kept answer."""
        answer = None if rule.deed.commit == BEFORE else await exchange.answer()
        rule.done += 1
        return answer


def _parts(answer: Sequence[Message]) -> tuple[Message, bytes]:
    return answer[0], b"".join(message.get("body", b"") for message in answer[1:])


def _is_stream(message: Message) -> bool:
    headers = dict(message.get("headers", ()))
    return bool(headers.get(b"content-type", b"").startswith(b"text/event-stream"))


async def _whole(receive: Receive) -> list[Message] | None:
    """All of the request's body; None when the client went away meanwhile."""
    messages: list[Message] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        messages.append(message)
        if not message.get("more_body", False):
            return messages
