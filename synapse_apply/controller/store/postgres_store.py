"""The controller's store in PostgreSQL, which several processes share, by its URL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_apply.controller.store.controller_store import ControllerStore
from synapse_apply.controller.store.postgres_database import DEFAULT_SCHEMA, PostgresStoreDatabase
from synapse_apply.model.errors import InputError
from synapse_apply.model.values import Sensitive
from synapse_apply.stores.postgres.postgres_url import is_postgres_url, parse_postgres_url


class PostgresControllerStore(ControllerStore):
    """A ControllerStore in the schema of a database that a `postgresql://` URL names."""

    def __init__(self, url: Sensitive) -> None:
        """InputError for an unusable URL. Connects at first use."""
        text = str(url.reveal())
        if not is_postgres_url(text):
            raise InputError.from_summary(
                "The store's url cannot be used",
                "store.url: it is none of a PostgreSQL database.",
                "Write postgresql://USER@HOST:PORT/DATABASE; without `store`, the store is a file"
                " in the data folder.",
            )
        database = PostgresStoreDatabase(parse_postgres_url(text, DEFAULT_SCHEMA, owner="store"))
        super().__init__(database)
        self._location = database.location
        self._connection_parameters = database.connection_parameters

    @property
    def schema(self) -> str:
        """The schema of its tables."""
        return self._location.schema

    @property
    def display_url(self) -> str:
        """Where it is, for people: without user and password."""
        return self._location.display_url

    @property
    def connection_parameters(self) -> Mapping[str, Any]:
        """For psycopg.connect; with the password, and without the schema."""
        return self._connection_parameters
