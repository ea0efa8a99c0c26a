"""A kind made up for these tests, whole: its descriptor, its calls, its schema, its backend.

Nothing else of the tool knows of it. A queue reads from a storage. API v1 changes it by PUT and
cannot delete it; v2 has an owner, envelopes and cursors, changes by PATCH, and deletes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synapse_apply.client.calls import Call as Request
from synapse_apply.client.calls import path_to
from synapse_apply.emulator.core.call import Answer, Call, Endpoint
from synapse_apply.emulator.core.cursors import answer_cursors
from synapse_apply.emulator.core.errors import not_found
from synapse_apply.emulator.core.facts import Mark
from synapse_apply.emulator.core.fields import Field, check, with_resets
from synapse_apply.emulator.core.paging import answer_page
from synapse_apply.emulator.core.store import Row, Wanted
from synapse_apply.kinds.descriptor import Binding, Compare, FieldRule, ResourceType, UpdateMode
from synapse_apply.kinds.wire import pick, remote_id, secure, wire_id
from synapse_apply.model.marks import SecretMarks
from synapse_apply.model.observed import Lookup, Observed

PREFIX = "queue"
FIELDS = frozenset({"name", "storage", "size", "tags"})
FIELDS_V2 = FIELDS | {"owner"}
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Queue",
    "type": "object",
    "properties": {
        "apiVersion": {"$ref": "parts.schema.json#/$defs/apiVersion"},
        "kind": {"const": "Queue"},
        "metadata": {
            "type": "object",
            "properties": {
                "name": {"$ref": "parts.schema.json#/$defs/name"},
                "labels": {"$ref": "parts.schema.json#/$defs/labels"},
                "id": {"$ref": "parts.schema.json#/$defs/id"},
            },
            "additionalProperties": False,
            "required": ["name"],
        },
        "lifecycle": {"$ref": "parts.schema.json#/$defs/lifecycle"},
        "spec": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "storage": {"type": ["string", "object"]},
                "size": {"type": "integer"},
                "tags": {"type": "array", "items": {"type": "string"}},
                "owner": {"type": "string"},
            },
            "additionalProperties": False,
            "required": ["name"],
        },
    },
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "additionalProperties": False,
}


def write_schema(folder: Path) -> None:
    (folder / f"{PREFIX}.schema.json").write_text(json.dumps(SCHEMA))


# What the client would have.


def _read(api: Any, pk: str) -> Any:
    return api._get(api._path("queues", wire_id(pk)))


def _create(api: Any, body: Mapping[str, Any], key: str) -> Any:
    return api._write("POST", api._path("queues"), body, None, key=key)


def _update(api: Any, method: str, pk: str, body: Mapping[str, Any]) -> Any:
    return api._write(method, api._path("queues", wire_id(pk)), body, None)


def _delete(api: Any, pk: str) -> None:
    path = api._path("queues", wire_id(pk))
    api._send(Request("DELETE", path, mutates=True, empty_ok=True))


def _encode(spec: Mapping[str, Any]) -> dict[str, Any]:
    body = dict(spec)
    if "storage" in body:
        body["storage"] = wire_id(str(body["storage"]))
    return body


def _decoded(api: str, fields: frozenset[str], raw: Mapping[str, Any], marks: SecretMarks) -> Any:
    spec = pick(raw, fields)
    if "storage" in spec:
        spec["storage"] = str(spec["storage"])
    return Observed(remote_id(raw), api, secure(PREFIX, spec, marks))


def _keys(raw: Mapping[str, Any]) -> tuple[str, ...]:
    return (f"name={raw['name']}",)


V1 = Binding(
    api="v1",
    fields=FIELDS,
    lookup={"name": Lookup.COMPLETE},
    read=_read,
    list=lambda api: api._objects(path_to("queues")),
    list_is_whole=True,
    keys=_keys,
    create=_create,
    update=lambda api, pk, body: _update(api, "PUT", pk, body),
    update_mode=UpdateMode.PUT,
    decode=lambda raw, marks: _decoded("v1", FIELDS, raw, marks),
    encode=_encode,
)
V2 = Binding(
    api="v2",
    fields=FIELDS_V2,
    lookup={"name": Lookup.COMPLETE},
    read=lambda api, pk: _read(api.v2, pk),
    list=lambda api: api.v2._objects(api.v2._path("queues")),
    list_is_whole=True,
    keys=_keys,
    create=lambda api, body, key: _create(api.v2, body, key),
    update=lambda api, pk, body: _update(api.v2, "PATCH", pk, body),
    update_mode=UpdateMode.PATCH,
    delete=lambda api, pk: _delete(api.v2, pk),
    decode=lambda raw, marks: _decoded("v2", FIELDS_V2, raw, marks),
    encode=_encode,
)
QUEUE = ResourceType(
    kind="Queue",
    prefix=PREFIX,
    rank=1,
    rules={
        "name": FieldRule("name", required=True, immutable=True, fixed_hint="it is its identity"),
        "storage": FieldRule("storage", references="storage"),
        "size": FieldRule("size", reset=0),
        "tags": FieldRule("tags", compare=Compare.SET, reset=[]),
        "owner": FieldRule("owner", reset=""),
    },
    natural_key=lambda spec, _parents: f"name={spec['name']}",
    identity=("name",),
    bindings={"v1": V1, "v2": V2},
)

# The folder of the emulator. v2 shows the same rows under other numbers: ids are not one space.

_STORED = (
    Field("name", required=True),
    Field("storage", "integer", nullable=True, reset=None),
    Field("size", "integer", reset=0),
    Field("tags", "texts", reset=[]),
    Field("owner", reset=""),
)
_V2_IDS = 5000


def _row(call: Call, beyond: int) -> Row:
    row = call.backend.store.get(PREFIX, int(call.path["id"]) - beyond, call.tenant)  # type: ignore[arg-type]
    if row is None:
        raise not_found()
    return row


def _shown(row: Row, names: frozenset[str], beyond: int) -> dict[str, Any]:
    return {"id": row.id + beyond, **{name: row.body[name] for name in sorted(names)}}


def _endpoints(names: frozenset[str], beyond: int, method: str) -> tuple[Endpoint, ...]:
    def shown(row: Row) -> dict[str, Any]:
        return _shown(row, names, beyond)

    def listed(call: Call) -> Answer:
        wanted, store = Wanted(call.tenant), call.backend.store
        if beyond:
            return answer_cursors(call, PREFIX, wanted, shown, lambda _row: True)  # type: ignore[arg-type]
        rows = store.select(PREFIX, wanted)  # type: ignore[arg-type]
        return answer_page(call, len(rows), lambda most, at: [*map(shown, rows[at : at + most])])

    def create(call: Call) -> Answer:
        body = with_resets(_STORED, check(_STORED, call.body))
        now = call.backend.clock.now()
        return Answer(
            shown(call.backend.store.insert(PREFIX, call.tenant, body, created=now)),  # type: ignore[arg-type]
            201,
        )

    def read(call: Call) -> Answer:
        return Answer(shown(_row(call, beyond)))

    def update(call: Call) -> Answer:
        row, sent = _row(call, beyond), check(_STORED, call.body, partial=True)
        return Answer(
            shown(call.backend.store.replace(PREFIX, row, {**row.body, **sent}, key=None))
        )  # type: ignore[arg-type]

    def delete(call: Call) -> Answer:
        call.backend.store.delete(PREFIX, _row(call, beyond).id)  # type: ignore[arg-type]
        return Answer(None, 204)

    made = [
        ("GET", "queues/", listed),
        ("POST", "queues/", create),
        ("GET", "queues/{id}/", read),
        (method, "queues/{id}/", update),
        *([("DELETE", "queues/{id}/", delete)] if beyond else []),
    ]
    return tuple(Endpoint(verb, path, do, Mark.GUESSED, "A queue.") for verb, path, do in made)


ENDPOINTS = {
    "v1": _endpoints(FIELDS, 0, "PUT"),
    "v2": _endpoints(FIELDS_V2, _V2_IDS, "PATCH"),
}
