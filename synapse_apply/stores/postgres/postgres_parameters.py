"""Which connection parameters libpq gets: those of the URL before our own defaults."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import psycopg
from psycopg import conninfo

from synapse_apply.model.errors import InputError
from synapse_apply.stores.postgres.postgres_url import PostgresLocation

# A silent connection must be detected well before a lease expires (LeaseTiming, 30 seconds).
DEFAULT_PARAMETERS = {
    "application_name": "synapse-apply",
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}


def build_connection_parameters(
    location: PostgresLocation, defaults: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """The parameters for psycopg.connect; InputError for a URL that libpq does not understand.

    `defaults` stand before ours, and behind what the URL says.
    """
    try:
        url_parameters = conninfo.conninfo_to_dict(location.url.reveal())
    except psycopg.Error:
        url_parameters = None
    # Raised here, since libpq's message may quote a part of the URL with its password.
    if url_parameters is None:
        raise InputError.from_summary(
            f"The {location.owner}'s url cannot be used",
            f"{location.display_url}: the PostgreSQL client does not understand it.",
            "Write postgresql://USER@HOST:PORT/DATABASE?sslmode=verify-full; the parameters"
            " are those of libpq.",
        )
    return {**DEFAULT_PARAMETERS, **defaults, **url_parameters, "client_encoding": "UTF8"}
