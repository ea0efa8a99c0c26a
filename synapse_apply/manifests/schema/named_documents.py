"""How a document without rules of its own gets its address and its spec's references."""

from __future__ import annotations

from typing import Any

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.manifests.decode.draft import DecodeContext, Draft
from synapse_apply.model.address import Address
from synapse_apply.model.coding.json_types import DecodedSpec
from synapse_apply.model.values import Reference


def build_named_address_or_none(_context: DecodeContext, draft: Draft) -> Address | None:
    """The address KIND/NAME of `metadata.name`; None without a name."""
    name = draft.metadata.get("name")
    return Address(draft.schema, name) if isinstance(name, str) and name else None


def decode_spec_with_references(_context: DecodeContext, draft: Draft) -> DecodedSpec:
    """The spec's fields; one that refers to another object is a Reference, or a remote id."""
    fields = dict(draft.spec)
    for name, rule in CATALOGUE[draft.schema].rules.items():
        if rule.references and name in fields:
            fields[name] = parse_reference_or_remote_id(rule.references, fields[name])
    return fields


def parse_reference_or_remote_id(kind: str, value: Any) -> str | Reference:
    """A Reference to the address of a name, or the remote id of `{id: 123}` as text."""
    return extract_declared_remote_id_or_none(value) or Reference(Address(kind, value))


def extract_declared_remote_id_or_none(value: Any) -> str | None:
    """The remote id of `{id: 123}` as text; None for anything else."""
    # bool is an int in Python, and `{id: true}` names no object.
    raw_id = value.get("id") if isinstance(value, dict) else None
    return str(raw_id) if raw_id is not None and not isinstance(raw_id, bool) else None
