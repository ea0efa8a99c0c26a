"""What one call is, and which endpoints an API version has."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from synapse_apply.emulator.core.backend import DataSetBackend
from synapse_apply.emulator.core.fields import Body, not_found
from synapse_apply.emulator.core.store import Kind, ObjectQuery, ObjectStore, StoredObject

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Upload:
    """A received file, at `path` until the request ends; `size` in bytes, `sha256` in hex."""

    name: str
    path: Path
    size: int
    sha256: str

    def describe(self) -> dict[str, Any]:
        """What a release keeps of its package."""
        return {"name": self.name, "size": self.size, "sha256": self.sha256}


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

    @property
    def store(self) -> ObjectStore:
        return self.backend.store

    def has(self, switch: str, value: str) -> bool:
        """Whether a switch of the server has this value."""
        return self.backend.switches.has_value(switch, value)

    def now(self) -> float:
        """Seconds since the epoch by the data set's clock."""
        return self.backend.clock.now()

    def find(self, kind: Kind, parameter: str = "id") -> StoredObject | None:
        """The tenant's object whose id is in the path."""
        return self.store.find_by_id(kind, parse_id(self.path[parameter]), self.tenant)

    def list_query(self) -> ObjectQuery:
        """The tenant's objects of a kind, in the order of lists."""
        return ObjectQuery(self.tenant, newest_first=self.has("list_order", "newest"))

    def is_query_true(self, name: str) -> bool:
        """Whether a query parameter has the value true, 1, yes or t, in any case."""
        return self.query.get(name, "").lower() in {"true", "1", "yes", "t"}

    def parse_expanded_fields(self) -> set[str]:
        """The names in `?expand=`, separated by commas."""
        return {part.strip() for part in self.query.get("expand", "").split(",")}


def parse_id(text: str) -> int:
    """The id in a text; 0, which no object has, for what cannot be one."""
    return int(text) if text.isdecimal() and len(text) < 20 else 0


def require_found(value: T | None) -> T:
    """The value that was looked for. Raises ApiError (404) for None."""
    if value is None:
        raise not_found()
    return value


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


# An answer, or its JSON alone where it has the endpoint's status.
Responder = Callable[[EmulatorRequest], Any]


def read(
    require: Callable[[EmulatorRequest], T], show: Callable[[EmulatorRequest, T], Any]
) -> Responder:
    """The responder that shows the object in the path, which `require` finds."""
    return lambda request: show(request, require(request))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One method on one path (Starlette's notation, below the API version's prefix)."""

    method: str
    path: str
    respond: Responder
    status: int = 200  # of an answer that is given as its JSON alone
    switch: tuple[str, str] | None = None  # served only while this switch has this value
    is_open: bool = False  # answered without a token
    dry_run_action: str = ""  # what a dry run calls it; else by its method

    def answer(self, request: EmulatorRequest) -> EmulatorAnswer:
        """Carry the request out. Raises ApiError."""
        answer = self.respond(request)
        return answer if isinstance(answer, EmulatorAnswer) else EmulatorAnswer(answer, self.status)


@dataclass(frozen=True, slots=True)
class ApiVersion:
    """All endpoints below one path prefix. `is_logged`: requests appear in the request log."""

    name: str
    prefix: str
    endpoints: tuple[Endpoint, ...]
    is_logged: bool = True
    slash_is_optional: bool = False  # of paths, at their end
    is_v2: bool = False  # guards, dry runs and envelopes apply (core/v2.py)


def select_version(versions: Sequence[ApiVersion], path: str) -> ApiVersion:
    """The API version with the longest prefix of this path; ValueError if none has one."""
    matches = [version for version in versions if path.startswith(version.prefix)]
    return max(matches, key=lambda version: len(version.prefix))
