"""What one call is, which endpoints there are, and what a dry run leaves undone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synapse_apply.emulator.core.backend import DataSetBackend
from synapse_apply.emulator.core.fields import ApiError, Body, FactSource
from synapse_apply.emulator.core.store import Kind


@dataclass(frozen=True, slots=True)
class Upload:
    """A received file, at `path` until the request ends; `size` in bytes, `sha256` in hex."""

    name: str
    path: Path
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class EmulatorRequest:
    """One authenticated request; `path` has the parameters in the path, `query` those after it."""

    backend: DataSetBackend
    tenant: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    root_url: str  # scheme and host, as the client wrote them
    url: str  # without the query
    body: Body
    uploads: Mapping[str, Upload]
    request_id: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    is_dry_run: bool = False  # `?dry_run=true`: all writes are rolled back after the answer

    def is_query_true(self, name: str) -> bool:
        """Whether a query parameter has the value true, 1, yes or t, in any case."""
        return self.query.get(name, "").lower() in {"true", "1", "yes", "t"}

    def has_server_switch_value(self, switch: str, value: str) -> bool:
        """Whether a switch of the server has this value."""
        return self.backend.switches.has_value(switch, value)

    def parse_expanded_fields(self) -> set[str]:
        """The names in `?expand=`, separated by commas."""
        return {part.strip() for part in self.query.get("expand", "").split(",")}


@dataclass(frozen=True, slots=True)
class EmulatorAnswer:
    """An answer: JSON, or the content of `file`, or the events of `stream`.

    `meta` is added to the envelope of API v2.
    """

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    file: Path | None = None
    stream: AsyncIterator[bytes] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


Responder = Callable[[EmulatorRequest], EmulatorAnswer]


def return_unchanged(answer: EmulatorAnswer, _request: EmulatorRequest) -> EmulatorAnswer:
    """The answer unchanged, as in API v1."""
    return answer


def rest_body(error: ApiError, _request_id: str) -> Any:
    """The body of a refusal in the form of Django REST framework, as in API v1."""
    return error.body


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method on one path (Starlette's notation, below the API version's prefix)."""

    method: str
    path: str
    respond: Responder
    source: FactSource
    text: str
    switch: tuple[str, str] | None = None  # served only while this switch has this value
    is_open: bool = False  # answered without a token
    dry_run_action: str = ""  # what a dry run calls it; else by its method


@dataclass(frozen=True, slots=True)
class ApiVersion:
    """All endpoints below one path prefix.

    `is_logged`: requests appear in the request log. `wrap_answer` and `build_error_body` give
    answers and refusals their form. `supports_dry_run`: `?dry_run=true` is known. `is_guarded`:
    `core.guards` applies.
    """

    name: str
    prefix: str
    endpoints: tuple[Endpoint, ...]
    is_logged: bool = True
    slash_is_optional: bool = False  # of paths, at their end
    supports_dry_run: bool = False
    is_guarded: bool = False
    wrap_answer: Callable[[EmulatorAnswer, EmulatorRequest], EmulatorAnswer] = return_unchanged
    build_error_body: Callable[[ApiError, str], Any] = rest_body


def select_version(versions: Sequence[ApiVersion], path: str) -> ApiVersion:
    """The API version with the longest prefix of this path; ValueError if none has one."""
    matches = [version for version in versions if path.startswith(version.prefix)]
    return max(matches, key=lambda version: len(version.prefix))


def hide_existing_object(request: EmulatorRequest, kind: Kind, key: str) -> None:
    """In a blind dry run, delete the object with a key; the rollback at the end restores it."""
    if not request.is_dry_run or not request.backend.switches.has_value("v2_dry_run", "blind"):
        return
    row = request.backend.store.find_by_key_of_any_tenant(kind, key)
    if row is not None:
        request.backend.store.delete(kind, row.id)
