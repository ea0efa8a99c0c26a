"""The kind Storage (API page, "Storage Management"): its fields, identity, and calls of v1.

v1 can create, list and read storages, but not update them.
"""

from __future__ import annotations

from collections.abc import Mapping

from synapse_apply.kinds.descriptor import ApiBinding, FieldRule, ResourceType
from synapse_apply.kinds.wire import observe, select_sorted_non_null_fields, to_wire_id
from synapse_apply.model.json_types import ServerObject, Spec
from synapse_apply.model.resource import Lookup, Observed
from synapse_apply.model.secrets.secret_marks import SecretMarks

PREFIX = "storage"
FIELDS = frozenset({"name", "provider", "category", "configuration"})


def derive_natural_key(spec: Spec, _parents: Mapping[str, Observed]) -> str:
    """`name=NAME`. Servers accept several storages of one name; a second is never created here."""
    return f"name={spec['name']}" if spec.get("name") else ""


def _decode_v1(raw: ServerObject, marks: SecretMarks) -> Observed:
    # With any other regime the server leaves the credentials out of the configuration it shows.
    partial_fields = frozenset(
        {"configuration"} if raw.get("credential_regime", "none") != "none" else ()
    )
    return observe(
        PREFIX,
        "v1",
        raw,
        select_sorted_non_null_fields(raw, FIELDS),
        marks,
        V1.list_natural_keys(raw),
        missing_fields=FIELDS - raw.keys(),
        partial_fields=partial_fields,
    )


V1 = ApiBinding(
    api="v1",
    fields=FIELDS,
    lookup={"name": Lookup.COMPLETE},
    read_object=lambda api, object_id: api.get_storage(to_wire_id(object_id)),
    list_objects=lambda api: api.list_storages(),
    list_once_or_none=lambda api, *limits: api.list_storages_once(*limits),
    variety_field="provider",
    list_natural_keys=lambda raw: (f"name={raw['name']}",) if raw.get("name") else (),
    create_object=lambda api, body, key: api.create_storage(body, idempotency_key=key),
    decode=_decode_v1,
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
    derive_natural_key=derive_natural_key,
    identity_fields=(),
    key_fields=frozenset({"name"}),
    confirming_fields=("provider",),
    bindings={"v1": V1},
    update_hint="this API cannot change a storage",
)
