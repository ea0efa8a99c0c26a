"""What is said when the store's PostgreSQL cannot be used, and which of it may pass by itself.

No message contains a password.
"""

from __future__ import annotations

import psycopg

from synapse_apply.controller.store import store_errors
from synapse_apply.controller.store.store_errors import (
    ControllerStoreError,
    StoreLocation,
    StoreUnavailable,
)
from synapse_apply.stores.postgres.postgres_messages import (
    build_refusal_finding,
    has_ended_connection,
    reason_of_first_host,
)
from synapse_apply.stores.postgres.postgres_url import PostgresLocation

# Of Procrastinate, which runs on the same database.
OLDEST_SERVER_VERSION = 13
# Classes of SQLSTATE (PostgreSQL, appendix A) whose cause is with the server: connections, a
# transaction that cannot go on, serialization, resources, a lock, an administrator, its system.
_PASSING_CLASSES = ("08", "25", "40", "53", "55", "57", "58")
_INSUFFICIENT_PRIVILEGE, _UNDEFINED_TABLE = "42501", "42P01"
# undefined_column, duplicate_table: tables of the same names that are not ours.
_FOREIGN_TABLES = ("42703", "42P07")


def is_worth_retry(problem: psycopg.Error) -> bool:
    """Whether another attempt, on another connection, may succeed without anybody's help."""
    return has_ended_connection(problem) or (problem.sqlstate or "").startswith(_PASSING_CLASSES)


def build_connection_error(
    problem: psycopg.Error, location: PostgresLocation
) -> ControllerStoreError:
    """The error for a session that could not be opened."""
    reason = reason_of_first_host(problem)
    refusal = build_refusal_finding(reason, location)
    if refusal is not None:
        return ControllerStoreError(refusal)
    return StoreUnavailable.from_summary(
        "The controller's store cannot be reached",
        f"{location.display_url}: {reason}.",
        "Check host, port and network, and whether the server runs.",
    )


def failed_statement(
    problem: psycopg.Error, location: PostgresLocation, store_location: StoreLocation, activity: str
) -> ControllerStoreError:
    """The error for a statement that failed; `activity` is Reading, Writing or Making."""
    reason = problem.diag.message_primary or "the server ended the connection"
    code = problem.sqlstate or ""
    if is_worth_retry(problem):
        return StoreUnavailable.from_summary(
            "The controller's store does not answer",
            f"{activity} {location.display_url} failed: {reason}.",
            "See whether the server runs and who keeps it busy (SELECT * FROM pg_stat_activity).",
        )
    if code == _UNDEFINED_TABLE:
        return store_errors.missing_store(store_location)
    if code in _FOREIGN_TABLES:
        return store_errors.foreign_store(
            store_location, f"has tables of another program ({reason})"
        )
    if code == _INSUFFICIENT_PRIVILEGE:
        return ControllerStoreError.from_summary(
            "The store's database does not permit this",
            f"{activity} {location.display_url} failed: {reason}.",
            "Grant the user CREATE on the database, or let an administrator make the schema for it:"
            f" CREATE SCHEMA {location.schema} AUTHORIZATION USER.",
        )
    return ControllerStoreError.from_summary(
        "The controller's store cannot be used",
        f"{activity} {location.display_url} failed: {reason} ({code}).",
    )


def require_usable_server(version: int, encoding: str, location: PostgresLocation) -> None:
    """ControllerStoreError for a server that is too old, or a database that cannot hold all texts.

    `version` is as `server_version_num` has it.
    """
    if version // 10_000 < OLDEST_SERVER_VERSION:
        raise ControllerStoreError.from_summary(
            "The store's database server is too old",
            f"{location.display_url} runs PostgreSQL {version // 10_000}.",
            f"Use PostgreSQL {OLDEST_SERVER_VERSION} or newer.",
        )
    if encoding != "UTF8":
        raise ControllerStoreError.from_summary(
            "The store's database cannot hold all texts",
            f"{location.display_url} has the encoding {encoding}.",
            "Create one for it: createdb --encoding=UTF8 --template=template0 NAME.",
        )
