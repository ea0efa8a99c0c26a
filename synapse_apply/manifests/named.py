"""Documents of any kind: named in their metadata, with the fields that their spec has."""

from __future__ import annotations

from typing import Any

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.manifests.draft import Context, Draft
from synapse_apply.model.address import Address
from synapse_apply.model.values import Reference


def address(_context: Context, draft: Draft) -> Address | None:
    """PREFIX/NAME, where there is a name."""
    name = draft.metadata.get("name")
    return Address(draft.schema, name) if isinstance(name, str) and name else None


def spec(_context: Context, draft: Draft) -> dict[str, Any]:
    """The fields, each that names another object as what it refers to."""
    fields = dict(draft.spec)
    for name, rule in CATALOGUE[draft.schema].rules.items():
        if rule.references and name in fields:
            fields[name] = referred(rule.references, fields[name])
    return fields


def referred(kind: str, value: Any) -> str | Reference:
    """What a field names: an object by its manifest's name, or `{id: 123}` by its remote id."""
    return remote_id(value) or Reference(Address(kind, value))


def remote_id(value: Any) -> str | None:
    """The remote id of `{id: 123}` as text."""
    found = value.get("id") if isinstance(value, dict) else None
    return str(found) if found is not None and not isinstance(found, bool) else None
