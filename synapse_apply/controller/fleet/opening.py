"""Which store a configuration names: a file of one process, or a database that many share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, NamedTuple

from synapse_apply.controller.extras import require_fleet_packages
from synapse_apply.controller.store.controller_store import ControllerStore, SqliteControllerStore
from synapse_apply.model.frozen import frozen
from synapse_apply.model.values import Sensitive


@frozen
class QueueLocation:
    """Where the queue of a shared store lies: the parameters of psycopg, with a password."""

    connection_parameters: Mapping[str, Any] = field(repr=False)
    schema: str


class OpenedStore(NamedTuple):
    """A store, and where its queue lies: None for a store that one process has alone."""

    store: ControllerStore
    queue_location: QueueLocation | None


def build_store_without_connecting(data_folder: Path, url: Sensitive | None) -> OpenedStore:
    """The store at the url of a database, or without one in a data folder; asks nobody yet.

    InputError for a url that cannot be used, and where packages are missing.
    """
    if url is None:
        return OpenedStore(SqliteControllerStore(data_folder), None)
    require_fleet_packages()
    # Where it is not installed, the message is the better one.
    from synapse_apply.controller.store.postgres_store import (  # noqa: PLC0415
        PostgresControllerStore,
    )

    store = PostgresControllerStore(url)
    return OpenedStore(store, QueueLocation(store.connection_parameters, store.schema))
