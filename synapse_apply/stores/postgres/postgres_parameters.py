"""What the PostgreSQL client library is told to make a connection."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import conninfo

from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.stores.postgres.postgres_url import StateLocation

# So that a connection that went silent is noticed well before a lease is over.
DEFAULT_PARAMETERS = {
    "application_name": "synapse-apply",
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}


def build_connection_parameters(state_location: StateLocation) -> dict[str, Any]:
    """The URL's own come first; InputError for a URL that the library does not understand."""
    try:
        url_parameters = conninfo.conninfo_to_dict(state_location.url.reveal())
    except psycopg.Error:
        url_parameters = None
    if url_parameters is None:  # its message may repeat a part of the URL
        raise InputError(
            error_finding(
                "The state's url cannot be used",
                f"{state_location.display_url}: the PostgreSQL client does not understand it.",
                "Write postgresql://USER@HOST:PORT/DATABASE?sslmode=verify-full; the parameters"
                " are those of libpq.",
            )
        )
    return {**DEFAULT_PARAMETERS, **url_parameters, "client_encoding": "UTF8"}
