"""PostgreSQL's errors in words: what happened, where, and what to do. Never a password."""

from __future__ import annotations

import psycopg

from synapse_apply.model.diagnostic import error
from synapse_apply.model.errors import StateError
from synapse_apply.stores import faults

KEPT = "What was recorded before is kept."

# A server that is about to answer again (PostgreSQL, appendix A: 57P03).
STARTING = ("starting up", "shutting down", "in recovery mode", "not yet accepting")

# By what the server says of a connection it refuses. There is no code for it.
_REFUSED = (
    (
        ("password authentication failed", "no password supplied", "authentication failed"),
        "The database refuses the login",
        "Check user and password in the state's url (or PGUSER, PGPASSWORD).",
    ),
    (
        ("no pg_hba.conf entry", "no encryption", "SSL"),
        "The database refuses the connection",
        "Check the parameters ssl... of the state's url, and the server's pg_hba.conf.",
    ),
)


class Unreachable(StateError):
    """No connection; another attempt may succeed."""


class NoTable(StateError):
    """A table is missing: there is no state, or it is damaged."""


def no_connection(problem: psycopg.Error, where: str) -> StateError:
    """A connection that was not made."""
    text = _reason(problem)
    if any(word in text for word in STARTING):
        return unreachable(where, text)
    for words, summary, hint in _REFUSED:
        if any(word in text for word in words):
            return StateError(error(summary, f"{where}: {text}.", hint))
    if "does not exist" in text and "database" in text:
        return StateError(
            error(
                "The database does not exist",
                f"{where}: {text}.",
                "Create it (createdb NAME), or correct the state's url.",
            )
        )
    if "does not exist" in text or "permission denied" in text:
        return StateError(
            error(
                "The database refuses the login",
                f"{where}: {text}.",
                "Check the user in the state's url, and its right to CONNECT.",
            )
        )
    return unreachable(where, text)


def unreachable(where: str, why: str) -> Unreachable:
    return Unreachable(
        error(
            "The state's database cannot be reached",
            f"{where}: {why}.",
            f"Check host, port and network, and whether the server runs. {KEPT}",
        )
    )


def lost(where: str, doing: str) -> Unreachable:
    return Unreachable(
        error(
            "The connection to the state's database was lost",
            f"{doing} {where}: the server ended the connection.",
            f"See whether the server runs, then try again. {KEPT}",
        )
    )


def fate_unknown(where: str) -> StateError:
    return StateError(
        error(
            "Whether the last write was recorded is not known",
            f"The connection to {where} broke while it was committed, and the server did not"
            " tell afterwards.",
            "When the server runs again: `synapse-apply apply`. It looks up what was under way.",
        )
    )


def ends_connection(problem: psycopg.Error) -> bool:
    """Whether the server, or somebody between, has ended the connection with it."""
    code = problem.sqlstate or ""
    return code.startswith(("08", "57P")) or code == "25P03" or (not code and _is_broken(problem))


def _is_broken(problem: psycopg.Error) -> bool:
    return isinstance(problem, psycopg.OperationalError | psycopg.InterfaceError)


def explain(problem: psycopg.Error, where: str, doing: str) -> StateError:
    """An error of a statement on a connection that stands."""
    code = problem.sqlstate or ""
    why = problem.diag.message_primary or "no reason was given"
    if code == "42P01":
        return NoTable(*faults.damaged(where, why).diagnostics)
    if code in ("42703", "42P07"):
        return faults.foreign(where, f"has tables of another program ({why})")
    if code == "42501":
        return StateError(
            error(
                "The database does not permit this",
                f"{doing} {where}: {why}.",
                "Grant the user CREATE on the database, or let an administrator make the schema"
                " for it: CREATE SCHEMA NAME AUTHORIZATION USER.",
            )
        )
    if code == "25006" or "recovery" in why:
        return StateError(
            error(
                "The database is read-only",
                f"{doing} {where}: {why}.",
                "Name the primary server; target_session_attrs=read-write picks it of several.",
            )
        )
    if code in ("55P03", "40P01", "57014"):
        hint = "See who keeps it locked (SELECT * FROM pg_stat_activity), and try again."
        return faults.busy(where, doing, why, hint)
    if code in ("53100", "53200", "53400"):
        return StateError(
            error("The database has no room", f"{doing} {where}: {why}. {KEPT}", "Make some there.")
        )
    if isinstance(problem, psycopg.DataError) or code == "54000":
        return faults.unstorable(where, problem.diag.message_primary or str(problem))
    return StateError(error("The state cannot be used", f"{doing} {where} failed: {why} ({code})."))


def _reason(problem: psycopg.Error) -> str:
    """The first reason the client library gives, without its preamble."""
    lines = [line.strip() for line in str(problem).splitlines()]
    line = next((line for line in lines if "failed: " in line and "attempts" not in line), lines[0])
    return line.rpartition("failed: ")[2].removeprefix("FATAL:").strip().rstrip(".")
