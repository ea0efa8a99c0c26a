"""Storages (API page, "Storage Management"): created, listed and read; v1 has no update."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_apply.kinds.descriptor import Binding, FieldRule, Raw, ResourceType
from synapse_apply.kinds.wire import lacking, pick, remote_id, secure, wire_id
from synapse_apply.model.marks import SecretMarks
from synapse_apply.model.observed import Lookup, Observed

PREFIX = "storage"
FIELDS = frozenset({"name", "provider", "category", "configuration"})


def natural_key(spec: Mapping[str, Any], _parents: Mapping[str, Observed]) -> str:
    """The name: servers accept a second storage of one name, we never make one."""
    return f"name={spec['name']}" if spec.get("name") else ""


def _decode(raw: Raw, marks: SecretMarks) -> Observed:
    # Under any other regime the configuration is shown without what the server calls credentials.
    partial = frozenset({"configuration"} if raw.get("credential_regime", "none") != "none" else ())
    spec, lacks = secure(PREFIX, pick(raw, FIELDS), marks), lacking(raw, FIELDS)
    return Observed(remote_id(raw), "v1", spec, lacks=lacks, partial=partial)


V1 = Binding(
    api="v1",
    fields=FIELDS,
    lookup={"name": Lookup.COMPLETE},
    read=lambda api, found: api.get_storage(wire_id(found)),
    list=lambda api: api.list_storages(),
    glance=lambda api, most, is_of_use: api.glance_at_storages(most, is_of_use),
    varies_by="provider",
    keys=lambda raw: (f"name={raw['name']}",) if raw.get("name") else (),
    create=lambda api, body, key: api.create_storage(body, idempotency_key=key),
    decode=_decode,
    encode=dict,
)

STORAGE = ResourceType(
    kind="Storage",
    prefix=PREFIX,
    rank=0,
    rules={
        "name": FieldRule("name", required=True),
        "provider": FieldRule("provider", required=True),
        "category": FieldRule("category"),
        "configuration": FieldRule("configuration", required=True, free_form=True),
    },
    natural_key=natural_key,
    identity=(),
    key_fields=frozenset({"name"}),
    telling=("provider",),
    bindings={"v1": V1},
    update_hint="this API cannot change a storage",
)
