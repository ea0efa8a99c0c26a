"""A backend at the Api port: objects in memory, and faults that a test asks for."""

from __future__ import annotations

import copy
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from synapse_apply import RemoteError
from synapse_apply.model.errors import Conflict, Effect, Invalid, NotFound, RemoteTimeout


def lost() -> RemoteError:
    """No answer in time: it may have been done."""
    return RemoteTimeout("no complete answer in time", effect=Effect.UNKNOWN)


def refused(status: int = 400, detail: Any = None) -> RemoteError:
    """An answer that says it was not done."""
    kind = {404: NotFound, 409: Conflict}.get(status, Invalid)
    return kind(f"{status}", status_code=status, detail=detail, request_id="req-9")


@dataclass
class Fault:
    """What the next call of a name does: its work first when `done`, then the error."""

    error: BaseException
    done: bool = False


@dataclass
class ScriptedApi:
    """`calls` are the names of calls in order; `bodies` what the mutating ones carried.

    `hides` are top-level fields that answers to writes leave out; `quirk` edits every object
    that is stored, as a server that normalises does. `story` are the statuses that a job shows at
    each look, the last one for good; `tells_context` whether it shows the context of its run.
    """

    objects: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: defaultdict(dict))
    calls: list[str] = field(default_factory=list)
    bodies: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    faults: dict[str, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))
    hides: frozenset[str] = frozenset()
    quirk: Any = None
    number: int = 0
    story: list[str] = field(default_factory=lambda: ["completed"])
    tells_context: bool = True
    logs: list[Any] = field(default_factory=list)
    created: str = "2026-01-01T00:00:00Z"
    tenant: str = ""

    def fail(self, name: str, error: BaseException, *, done: bool = False) -> None:
        self.faults[name].append(Fault(error, done))

    def writes(self) -> list[str]:
        return [name for name, _ in self.bodies]

    def make(self, kind: str, body: Any) -> dict[str, Any]:
        return self._act(f"create_{kind}", body, lambda: self._store(kind, body))

    def change(self, kind: str, pk: Any, body: Any) -> dict[str, Any]:
        return self._act(f"update_{kind}", body, lambda: self._change(kind, pk, body))

    def remove(self, kind: str, pk: Any) -> None:
        def work() -> dict[str, Any]:
            self._get(kind, pk)
            return self.objects[kind].pop(str(pk))

        self._act(f"delete_{kind}", {}, work)

    def get(self, kind: str, pk: Any) -> dict[str, Any]:
        return self._act(f"get_{kind}", None, lambda: self._get(kind, pk))

    def all(self, kind: str) -> list[dict[str, Any]]:
        return self._act(f"list_{kind}", None, lambda: list(self.objects[kind].values()))

    def _act(self, name: str, body: Any, work: Any) -> Any:
        self.calls.append(name)
        if body is not None:
            sent = {k: v for k, v in dict(body).items() if k != "file"}
            self.bodies.append((name, copy.deepcopy(sent)))
        fault = self.faults[name].popleft() if self.faults[name] else None
        if fault is None or fault.done:
            made = copy.deepcopy(work())
        if fault is not None:
            raise fault.error
        if body is not None and isinstance(made, dict):
            made = {key: value for key, value in made.items() if key not in self.hides}
        return made

    def _store(self, kind: str, body: Any) -> dict[str, Any]:
        self.number += 1
        made = {k: copy.deepcopy(v) for k, v in dict(body).items() if k != "file"}
        if kind == "release":  # named by its code or its id, and shown by its id
            owners = {p.get("code"): p["id"] for p in self.objects["plugin"].values()}
            made["plugin"] = owners.get(made["plugin"], made["plugin"])
        return self._keep(kind, {**made, "id": self.number})

    def _change(self, kind: str, pk: Any, body: Any) -> dict[str, Any]:
        return self._keep(kind, {**copy.deepcopy(dict(body)), "id": self._get(kind, pk)["id"]})

    def _keep(self, kind: str, made: dict[str, Any]) -> dict[str, Any]:
        if self.quirk is not None:
            self.quirk(kind, made)
        self.objects[kind][str(made["id"])] = made
        return made

    def _get(self, kind: str, pk: Any) -> dict[str, Any]:
        found = self.objects[kind].get(str(pk))
        if found is None:
            raise refused(404)
        return found

    # The port's own names.
    def get_plugin(self, pk: Any) -> dict[str, Any]:
        return self.get("plugin", pk)

    def create_plugin(self, data: Any, *, idempotency_key: str = "") -> dict[str, Any]:
        return self.make("plugin", data)

    def update_plugin(self, pk: Any, data: Any) -> dict[str, Any]:
        return self.change("plugin", pk, data)

    def list_plugins(self) -> list[dict[str, Any]]:
        raise refused(405)

    def list_plugins_once(
        self, max_pages: int, is_first_page_useful: Any
    ) -> list[dict[str, Any]] | None:
        raise refused(405)

    def get_plugin_release(self, pk: Any, params: Any = None) -> dict[str, Any]:
        return self.get("release", pk)

    def create_plugin_release(self, data: Any, *, idempotency_key: str = "") -> dict[str, Any]:
        return self.make("release", data)

    def get_plugin_release_by_lookup(self, lookup: str, expand: Any = None) -> dict[str, Any]:
        code, _, version = lookup.partition("@")
        for found in self.list_plugin_releases(code):
            if found["version"] == version:
                return found
        raise refused(404)

    def list_plugin_releases(self, plugin_code: str) -> list[dict[str, Any]]:
        owners = {p["id"] for p in self.objects["plugin"].values() if p.get("code") == plugin_code}
        return [found for found in self.all("release") if found["plugin"] in owners]

    def list_storages(self) -> list[dict[str, Any]]:
        return self.all("storage")

    def list_storages_once(
        self, max_pages: int, is_first_page_useful: Any
    ) -> list[dict[str, Any]] | None:
        return self.all("storage")

    def get_storage(self, pk: Any) -> dict[str, Any]:
        return self.get("storage", pk)

    def create_storage(self, data: Any, *, idempotency_key: str = "") -> dict[str, Any]:
        return self.make("storage", data)

    def run_plugin(self, pk: Any, data: Any) -> dict[str, Any]:
        def work() -> dict[str, Any]:
            self._get("plugin", pk)
            shown = dict(data) if self.tells_context else {**data, "context": None}
            self.number += 1
            job = {**shown, "id": self.number, "plugin": pk, "created": self.created}
            self.objects["job"][str(self.number)] = {**job, "story": list(self.story)}
            return {"job_id": self.number, "status": "queued"}

        return self._act("run_plugin", data, work)

    def get_job(self, pk: Any, params: Any = None) -> dict[str, Any]:
        def work() -> dict[str, Any]:
            job = self._get("job", pk)
            status, *later = job["story"]
            job["story"] = later or [status]
            return {**job, "status": status}

        return self._act("get_job", None, work)

    def iterate_jobs(
        self, params: Any = None, *, is_last_page: Any = None
    ) -> Iterator[dict[str, Any]]:
        yield from self.all("job")

    def iterate_job_console_logs(self, pk: Any) -> Iterator[Any]:
        yield from self._act("iterate_job_console_logs", None, lambda: self.logs)
