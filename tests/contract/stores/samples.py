"""The values the store suite writes."""

from __future__ import annotations

from synapse_apply.model.address import Address
from synapse_apply.model.state import AuditEntry, BackendIdentity, Intent, Record
from synapse_apply.model.values import Mac, WithheldSecret

BINDING = BackendIdentity("https://api.example", "acme")
LINEAGE = "5f1c2d00-0000-4000-8000-000000000001"


def record(name="yolo", remote_id="1", kind="plugin", **more):
    """A record with a secret's digest among its fields."""
    fields = {("name",): name, ("configuration", "key"): Mac("k1", "ab")}
    base = {
        "api": "v1",
        "natural_key": name,
        "applied": fields,
        "seen": {("key",): WithheldSecret("masked")},
    }
    return Record(Address(kind, name), remote_id, **{**base, **more})


def intent(name="yolo", ident="i1", verb="create", **more):
    """An open intent to create a plugin."""
    return Intent(ident, "p1", Address("plugin", name), verb, "v1", name, **more)


def entry(name="yolo", result="done", at="2026-01-01T00:00:00.000000Z"):
    """One audit line."""
    return AuditEntry(at, "me@host", "", "p1", f"plugin/{name}", "create", "1", "r1", result)


def told(caught):
    """All that the first finding says."""
    one = caught.value.diagnostics[0]
    return f"{one.summary} | {one.detail} | {one.hint}"
