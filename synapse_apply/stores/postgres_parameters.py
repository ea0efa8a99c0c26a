"""What the PostgreSQL client library is told to make a connection."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import conninfo

from synapse_apply.model.diagnostic import error
from synapse_apply.model.errors import InputError
from synapse_apply.stores.postgres_url import Place

# So that a connection that went silent is noticed well before a lease is over.
DEFAULTS = {
    "application_name": "synapse-apply",
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}


def parameters(at: Place) -> dict[str, Any]:
    """The URL's own come first; InputError for a URL that the library does not understand."""
    try:
        given = conninfo.conninfo_to_dict(at.url.reveal())
    except psycopg.Error:
        given = None
    if given is None:  # its message may repeat a part of the URL
        raise InputError(
            error(
                "The state's url cannot be used",
                f"{at.where}: the PostgreSQL client does not understand it.",
                "Write postgresql://USER@HOST:PORT/DATABASE?sslmode=verify-full; the parameters"
                " are those of libpq.",
            )
        )
    return {**DEFAULTS, **given, "client_encoding": "UTF8"}
