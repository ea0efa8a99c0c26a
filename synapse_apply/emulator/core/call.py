"""One request as a resource sees it, and the answer it gives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synapse_apply.emulator.core.backend import Backend
from synapse_apply.emulator.core.facts import Mark
from synapse_apply.emulator.core.fields import Body


@dataclass(frozen=True, slots=True)
class Upload:
    """A received file, at `path` until the request ends. `size` in bytes, `sha256` in hex."""

    name: str
    path: Path
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated request."""

    backend: Backend
    tenant: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    root: str  # scheme and host, as the client wrote them
    url: str  # without the query
    body: Body
    uploads: Mapping[str, Upload]

    def asks(self, name: str) -> bool:
        """Whether a query parameter is set to something true."""
        return self.query.get(name, "").lower() in {"true", "1", "yes", "t"}

    def expands(self) -> set[str]:
        return {part.strip() for part in self.query.get("expand", "").split(",")}


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON answer, a file's bytes when `file` is given, or events when `stream` is."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    file: Path | None = None
    stream: AsyncIterator[bytes] | None = None


Responder = Callable[[Call], Answer]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method on one path (Starlette's notation, below the API version's prefix)."""

    method: str
    path: str
    respond: Responder
    mark: Mark
    text: str
    switch: tuple[str, str] | None = None  # served only while this switch has this value
    is_open: bool = False  # answered without a token


@dataclass(frozen=True, slots=True)
class ApiVersion:
    """All endpoints below one prefix. `is_logged`: whether the request log keeps them."""

    name: str
    prefix: str
    endpoints: tuple[Endpoint, ...]
    is_logged: bool = True
    slash_is_optional: bool = False  # of paths, at their end
