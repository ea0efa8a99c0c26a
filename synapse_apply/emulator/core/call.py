"""One request as a resource sees it, and the answer it gives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synapse_apply.emulator.core.backend import Backend
from synapse_apply.emulator.core.errors import ApiError
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
    request_id: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    is_rehearsal: bool = False  # `?dry_run=true`: what is stored is taken back after the answer

    def asks(self, name: str) -> bool:
        """Whether a query parameter is set to something true."""
        return self.query.get(name, "").lower() in {"true", "1", "yes", "t"}

    def has(self, switch: str, value: str) -> bool:
        """Whether a switch has that value."""
        return self.backend.switches.is_on(switch, value)

    def expands(self) -> set[str]:
        return {part.strip() for part in self.query.get("expand", "").split(",")}


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON answer, a file's bytes when `file` is given, or events when `stream` is.

    `meta` is what API v2 says beside the body.
    """

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    file: Path | None = None
    stream: AsyncIterator[bytes] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


Responder = Callable[[Call], Answer]


def as_it_is(answer: Answer, _call: Call) -> Answer:
    """An answer as API v1 gives it."""
    return answer


def as_rest_framework(error: ApiError, _request_id: str) -> Any:
    """The body of a refusal as API v1 gives it."""
    return error.body


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
    action: str = ""  # what a dry run calls it; else by its method


@dataclass(frozen=True, slots=True)
class ApiVersion:
    """All endpoints below one prefix. `is_logged`: whether the request log keeps them.

    `write` gives answers their form, `refuse` the bodies of refusals. `rehearses`: with
    `?dry_run=true` a request is answered and nothing is changed. `is_guarded`: what
    `core.guards` finds odd is refused.
    """

    name: str
    prefix: str
    endpoints: tuple[Endpoint, ...]
    is_logged: bool = True
    slash_is_optional: bool = False  # of paths, at their end
    rehearses: bool = False
    is_guarded: bool = False
    write: Callable[[Answer, Call], Answer] = as_it_is
    refuse: Callable[[ApiError, str], Any] = as_rest_framework


def version_of(versions: Sequence[ApiVersion], path: str) -> ApiVersion:
    """The API version a path belongs to, also where no endpoint has it: the longest prefix."""
    fitting = [version for version in versions if path.startswith(version.prefix)]
    return max(fitting, key=lambda version: len(version.prefix))
