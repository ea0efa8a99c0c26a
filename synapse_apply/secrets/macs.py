"""How the keyed digest that stands for a secret in states and plans is computed."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any

from synapse_apply.model.diagnostic import FieldPath, format_json_pointer
from synapse_apply.model.json_values import format_canonical_json
from synapse_apply.model.values import Mac, Sensitive, map_json
from synapse_apply.secrets.keys import StateKey

_DOMAIN = b"synapse-apply secret digest 1"


def generate_salt() -> str:
    """A new salt of 128 random bits, as 32 hex digits; a record keeps its salt for its life."""
    return secrets.token_hex(16)


# Keyed, and salted for each record: equal secrets do not look equal, and a stolen state cannot be
# searched by guessing. Without the key the answer is "not checked", never a change.
def compute_mac(
    key: StateKey, salt: str, path: FieldPath, value: Sensitive, place: str = ""
) -> Mac:
    """The HMAC-SHA256 of a value in one field of one record.

    The message has four parts: a constant, the salt, the path as a JSON Pointer, and the value as
    canonical JSON. Each is in UTF-8, preceded by its length in bytes (8 bytes, big endian), so that
    no two inputs give the same message. TypeError if the value is not JSON.
    """
    parts = (
        _DOMAIN,
        salt.encode(),
        format_json_pointer(path).encode(),
        encode_canonical_json(value.reveal()),
    )
    message = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    digest = hmac.new(key.reveal(), message, hashlib.sha256).hexdigest()
    return Mac(key.key_id, digest, place)


def encode_canonical_json(value: Any) -> bytes:
    """Canonical JSON: sorted keys, no spaces, ASCII only; 1.0 is written as 1, which is equal."""
    # Parsers differ in whether 1.0 is a float; the digest must not.
    integers = map_json(
        value,
        lambda part: int(part) if isinstance(part, float) and part.is_integer() else part,
    )
    return format_canonical_json(integers).encode("ascii")
