"""Canonical JSON: the one text of a value, over which digests and signatures are computed."""

from __future__ import annotations

import json
from typing import Any


def build_canonical_encoder(**options: Any) -> json.JSONEncoder:
    """An encoder with sorted keys and without blanks; `options` are others of `JSONEncoder`.

    Build it once: `json.dumps` with the same arguments builds a new encoder at each call.
    """
    return json.JSONEncoder(sort_keys=True, separators=(",", ":"), **options)


_ASCII_ENCODER = build_canonical_encoder(allow_nan=False)


def format_canonical_json(data: Any) -> str:
    """The canonical JSON text of a value: ASCII, sorted keys, no blanks; 1, 1.0 and true differ."""
    return _ASCII_ENCODER.encode(data)
