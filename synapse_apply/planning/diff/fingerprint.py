"""Which fields of an object go into its fingerprint, by which a saved plan detects changes."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from synapse_apply.kinds.compare import format_comparable_json
from synapse_apply.kinds.descriptor import Compare
from synapse_apply.model.diagnostic import FieldPath, format_json_pointer
from synapse_apply.model.values import ABSENT, get_at_or_absent
from synapse_apply.planning.diff.change_sides import holds_secret, unflatten
from synapse_apply.planning.plan_input import ResourceState

# `json.dumps` would make one at each call.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def compute_fingerprint(resource: ResourceState) -> str:
    """SHA-256 (hex) over the id and the live values of declared and recorded fields.

    Other fields are not ours, so their changes do not count. Without a record the salt is new in
    every run, so that of a secret only its presence counts.
    """
    observed = resource.lookup_result.observed
    live = unflatten(resource.live_fields)
    managed_paths = sorted(
        {*resource.declared_fields, *(resource.record.applied if resource.record else ())}
    )
    canonical_fields = {
        format_json_pointer(path): _fingerprint_field(resource, path, get_at_or_absent(live, path))
        for path in managed_paths
    }
    document = {"id": observed.remote_id if observed else "", "fields": canonical_fields}
    return hashlib.sha256(_ENCODER.encode(document).encode()).hexdigest()


def _fingerprint_field(resource: ResourceState, path: FieldPath, value: Any) -> str:
    if resource.record is None and holds_secret(value):
        return "secret"
    rule = resource.type.rules.get(str(path[0]))
    # Answers never show it; what a server may echo once must not change the fingerprint.
    if rule is not None and rule.write_only:
        value = ABSENT
    # Of an empty declared map only its presence is ours.
    if isinstance(value, dict) and resource.declared_fields.get(path) == {}:
        value = {}
    return format_comparable_json(value, rule.compare if rule is not None else Compare.EXACT)
