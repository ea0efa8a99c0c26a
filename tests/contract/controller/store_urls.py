"""Where tests keep stores in PostgreSQL."""

from __future__ import annotations

from itertools import count

from postgres.server import PostgresServer

from synapse_apply.model.values import Sensitive

_NUMBERS = count(1)


def build_store_url(server: PostgresServer) -> Sensitive:
    """The URL of a store that nobody else has."""
    return Sensitive(server.url(schema=f"store_{next(_NUMBERS)}"))
