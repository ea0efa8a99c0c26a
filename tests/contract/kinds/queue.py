"""A kind made up for these tests, whole: its descriptor, its calls, its schema, its backend.

Nothing else of the tool knows of it. A queue reads from a storage. API v1 changes it by PUT and
cannot delete it; v2 has an owner, envelopes and cursors, changes by PATCH, and deletes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synapse_apply.client.calls import ClientCall as Request
from synapse_apply.emulator.core.call import EmulatorRequest, Endpoint, require_found
from synapse_apply.emulator.core.fields import Field, convert_all_fields, convert_sent_fields
from synapse_apply.emulator.core.lists import build_cursor_page, build_page
from synapse_apply.emulator.core.store import ObjectQuery, StoredObject
from synapse_apply.kinds.descriptor import ApiBinding, Compare, FieldRule, ResourceType, UpdateMode
from synapse_apply.kinds.wire import (
    require_remote_id_of_answer,
    select_sorted_non_null_fields,
    to_wire_id,
    wrap_secrets_and_withhold_masked,
)
from synapse_apply.model.resource import Lookup, Observed
from synapse_apply.model.secrets.secret_marks import SecretMarks

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


def _ask(api: Any, method: str, *ids: str, body: Any = None, key: str = "") -> Any:
    path = "/".join(["queues", *(str(to_wire_id(pk)) for pk in ids), ""])
    request = Request(
        method,
        api._dialect.prefix + path,
        body=None if body is None else json.dumps(body).encode(),
        content_type=None if body is None else "application/json",
        body_fields=frozenset(body or ()),
        mutates=method != "GET",
        repeatable=method == "GET",
        empty_ok=method == "DELETE",
        idempotency_key=key,
    )
    return api._dialect.unwrap(api._send(request).masked_json_or_none)


def _encode(spec: Mapping[str, Any]) -> dict[str, Any]:
    body = dict(spec)
    if "storage" in body:
        body["storage"] = to_wire_id(str(body["storage"]))
    return body


def _decoded(api: str, fields: frozenset[str], raw: Mapping[str, Any], marks: SecretMarks) -> Any:
    spec = select_sorted_non_null_fields(raw, fields)
    if "storage" in spec:
        spec["storage"] = str(spec["storage"])
    return Observed(
        require_remote_id_of_answer(raw), api, wrap_secrets_and_withhold_masked(PREFIX, spec, marks)
    )


def _keys(raw: Mapping[str, Any]) -> tuple[str, ...]:
    return (f"name={raw['name']}",)


V1 = ApiBinding(
    api="v1",
    fields=FIELDS,
    lookup={"name": Lookup.COMPLETE},
    read_object=lambda api, pk: _ask(api, "GET", pk),
    list_objects=lambda api: list(api.iterate("queues")),
    lists_whole_objects=True,
    list_natural_keys=_keys,
    create_object=lambda api, body, key: _ask(api, "POST", body=body, key=key),
    update_object=lambda api, pk, body: _ask(api, "PUT", pk, body=body),
    update_mode=UpdateMode.PUT,
    decode=lambda raw, marks: _decoded("v1", FIELDS, raw, marks),
    encode=_encode,
)
V2 = ApiBinding(
    api="v2",
    fields=FIELDS_V2,
    lookup={"name": Lookup.COMPLETE},
    read_object=lambda api, pk: _ask(api.v2, "GET", pk),
    list_objects=lambda api: list(api.v2.iterate("queues")),
    lists_whole_objects=True,
    list_natural_keys=_keys,
    create_object=lambda api, body, key: _ask(api.v2, "POST", body=body, key=key),
    update_object=lambda api, pk, body: _ask(api.v2, "PATCH", pk, body=body),
    update_mode=UpdateMode.PATCH,
    delete_object=lambda api, pk: _ask(api.v2, "DELETE", pk),
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
        "size": FieldRule("size", reset_value=0),
        "tags": FieldRule("tags", compare=Compare.SET, reset_value=[]),
        "owner": FieldRule("owner", reset_value=""),
    },
    derive_natural_key=lambda spec, _parents: f"name={spec['name']}",
    identity_fields=("name",),
    bindings={"v1": V1, "v2": V2},
)

# The folder of the emulator. v2 shows the same rows under other numbers: ids are not one space.

_STORED = (
    Field("name", required=True),
    Field("storage", "integer", nullable=True, default=None),
    Field("size", "integer", default=0),
    Field("tags", "texts", default=[]),
    Field("owner", default=""),
)
_V2_IDS = 5000


def _row(call: EmulatorRequest, beyond: int) -> StoredObject:
    number = int(call.path["id"]) - beyond
    return require_found(call.store.find_by_id(PREFIX, number, call.tenant))  # type: ignore[arg-type]


def _shown(row: StoredObject, names: frozenset[str], beyond: int) -> dict[str, Any]:
    return {"id": row.id + beyond, **{name: row.body[name] for name in sorted(names)}}


def _endpoints(names: frozenset[str], beyond: int, method: str) -> tuple[Endpoint, ...]:
    def shown(row: StoredObject) -> dict[str, Any]:
        return _shown(row, names, beyond)

    def listed(call: EmulatorRequest) -> Any:
        wanted = ObjectQuery(call.tenant)
        if beyond:
            return build_cursor_page(call, PREFIX, wanted, shown, lambda _row: True)  # type: ignore[arg-type]
        return build_page(call, PREFIX, wanted, shown)  # type: ignore[arg-type]

    def create(call: EmulatorRequest) -> dict[str, Any]:
        body = convert_all_fields(_STORED, call.body)
        return shown(call.store.insert(PREFIX, call.tenant, body, created=call.now()))  # type: ignore[arg-type]

    def read(call: EmulatorRequest) -> dict[str, Any]:
        return shown(_row(call, beyond))

    def update(call: EmulatorRequest) -> dict[str, Any]:
        row = _row(call, beyond)
        body = {**row.body, **convert_sent_fields(_STORED, call.body, partial=True)}
        return shown(call.store.replace(PREFIX, row, body, key=None))  # type: ignore[arg-type]

    def delete(call: EmulatorRequest) -> None:
        call.store.delete(PREFIX, _row(call, beyond).id)  # type: ignore[arg-type]

    return (
        Endpoint("GET", "queues/", listed),
        Endpoint("POST", "queues/", create, 201),
        Endpoint("GET", "queues/{id}/", read),
        Endpoint(method, "queues/{id}/", update),
        *((Endpoint("DELETE", "queues/{id}/", delete, 204),) if beyond else ()),
    )


ENDPOINTS = {
    "v1": _endpoints(FIELDS, 0, "PUT"),
    "v2": _endpoints(FIELDS_V2, _V2_IDS, "PATCH"),
}
