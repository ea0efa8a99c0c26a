"""Which StateError each error of PostgreSQL becomes, and which of them are worth a retry.

No message contains a password.
"""

from __future__ import annotations

import psycopg

from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import StateError
from synapse_apply.stores import state_messages
from synapse_apply.stores.postgres.postgres_url import PostgresLocation

NOTHING_LOST_NOTE = "What was recorded before is kept."

# Messages of a server that will soon accept connections (PostgreSQL, appendix A: 57P03). libpq
# gives no SQLSTATE for a failed connection.
STARTING_TEXTS = ("starting up", "shutting down", "in recovery mode", "not yet accepting")

# Texts in a refusal of a connection, with summary and hint; there is no code to go by.
_REFUSAL_MESSAGES = (
    (
        ("authentication method requirement", "server requested a"),
        "The database asks for the password in plain text or as MD5",
        "Have it use scram-sha-256, or have the {owner}'s url in a variable: url: {{env: NAME}}.",
    ),
    (
        ("password authentication failed", "no password supplied", "authentication failed"),
        "The database refuses the login",
        "Check user and password in the {owner}'s url (or PGUSER, PGPASSWORD).",
    ),
    (
        ("no pg_hba.conf entry", "no encryption", "SSL"),
        "The database refuses the connection",
        "Check the parameters ssl... of the {owner}'s url, and the server's pg_hba.conf.",
    ),
)


class PostgresUnreachable(StateError):
    """There is no connection, and nothing was committed: another attempt may succeed."""


class MissingTable(StateError):
    """A table is missing: there is no state, or the state is damaged."""


def build_connection_error(problem: psycopg.Error, location: PostgresLocation) -> StateError:
    """The error for a connection that could not be opened."""
    reason = reason_of_first_host(problem)
    refusal = build_refusal_finding(reason, location)
    if refusal is not None:
        return StateError(refusal)
    return build_unreachable_error(location.display_url, reason)


def build_refusal_finding(reason: str, location: PostgresLocation) -> Diagnostic | None:
    """What to do about a connection that the server refuses; None where it may be open later.

    `reason` is that of `reason_of_first_host`.
    """
    detail = f"{location.display_url}: {reason}."
    if any(word in reason for word in STARTING_TEXTS):
        return None
    for words, summary, hint in _REFUSAL_MESSAGES:
        if any(word in reason for word in words):
            return error_finding(summary, detail, hint.format(owner=location.owner))
    if "does not exist" in reason and "database" in reason:
        return error_finding(
            "The database does not exist",
            detail,
            f"Create it (createdb NAME), or correct the {location.owner}'s url.",
        )
    if "does not exist" in reason or "permission denied" in reason:
        return error_finding(
            "The database refuses the login",
            detail,
            f"Check the user in the {location.owner}'s url, and its right to CONNECT.",
        )
    return None


def build_unreachable_error(location: str, reason: str) -> PostgresUnreachable:
    return PostgresUnreachable(
        error_finding(
            "The state's database cannot be reached",
            f"{location}: {reason}.",
            f"Check host, port and network, and whether the server runs. {NOTHING_LOST_NOTE}",
        )
    )


def has_ended_connection(problem: psycopg.Error) -> bool:
    """Whether the connection has ended with this error, by the server or a pooler."""
    # Class 08: connection exceptions; 57P: shutdown; 25P03: idle in a transaction for too long.
    code = problem.sqlstate or ""
    return (
        code.startswith(("08", "57P"))
        or code == "25P03"
        or (not code and isinstance(problem, psycopg.OperationalError | psycopg.InterfaceError))
    )


def build_statement_error(problem: psycopg.Error, location: str, activity: str) -> StateError:
    """The error for a failed statement on an intact connection (SQLSTATE: appendix A)."""
    code = problem.sqlstate or ""
    reason = problem.diag.message_primary or "no reason was given"
    if code == "42P01":  # undefined_table
        return MissingTable(*state_messages.build_damaged_state_error(location, reason).diagnostics)
    if code in ("42703", "42P07"):  # undefined_column, duplicate_table
        return state_messages.build_foreign_file_error(
            location, f"has tables of another program ({reason})"
        )
    if code == "42501":  # insufficient_privilege
        return StateError.from_summary(
            "The database does not permit this",
            f"{activity} {location}: {reason}.",
            "Grant the user CREATE on the database, or let an administrator make the schema"
            " for it: CREATE SCHEMA NAME AUTHORIZATION USER.",
        )
    if code == "25006" or "recovery" in reason:  # read_only_sql_transaction, or a standby
        return StateError.from_summary(
            "The database is read-only",
            f"{activity} {location}: {reason}.",
            "Name the primary server; target_session_attrs=read-write picks it of several.",
        )
    # lock_not_available, deadlock_detected, query_canceled
    if code in ("55P03", "40P01", "57014"):
        hint = "See who keeps it locked (SELECT * FROM pg_stat_activity), and try again."
        return state_messages.build_busy_error(location, activity, reason, hint)
    # disk_full, out_of_memory, configuration_limit_exceeded
    if code in ("53100", "53200", "53400"):
        return StateError.from_summary(
            "The database has no room",
            f"{activity} {location}: {reason}. {NOTHING_LOST_NOTE}",
            "Free some space there.",
        )
    if isinstance(problem, psycopg.DataError) or code == "54000":  # program_limit_exceeded
        return state_messages.unstorable_value_error(
            location, problem.diag.message_primary or str(problem)
        )
    return StateError.from_summary(
        "The state cannot be used", f"{activity} {location} failed: {reason} ({code})."
    )


def reason_of_first_host(problem: psycopg.Error) -> str:
    """The reason in libpq's text, of the first host if there are several, without its prefix."""
    lines = [line.strip() for line in str(problem).splitlines()]
    line = next((line for line in lines if "failed: " in line and "attempts" not in line), lines[0])
    return line.rpartition("failed: ")[2].removeprefix("FATAL:").strip().rstrip(".")
