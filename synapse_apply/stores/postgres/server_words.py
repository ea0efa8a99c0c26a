"""What is shown of the words of a PostgreSQL server: sentences that are known, with known names.

A server may repeat the password that it was sent, spelled in any way. So nothing of what it says is
shown as it stands: a sentence must be one of these, and a name in it one of the connection's own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from contextlib import suppress
from errno import errorcode
from ipaddress import ip_address

import psycopg
from psycopg import conninfo, pq

from synapse_apply.model.redaction import Redactor
from synapse_apply.stores import schema
from synapse_apply.stores.postgres.postgres_url import PostgresLocation

ANSWER_TOO_LONG = "it sent more than 1 GiB for one transaction"
# In place of a name that is not known.
_OTHER_NAME = "..."
# `?` is a name. Of libpq and psycopg, of the server, of PgBouncer; of statements.
_SENTENCES = """
server closed the connection unexpectedly
timeout expired
connection timeout expired
could not translate host name "?" to address: Name or service not known
could not translate host name "?" to address: Temporary failure in name resolution
failed to resolve host '?': [Errno -2] Name or service not known
failed to resolve host '?': [Errno -3] Temporary failure in name resolution
failed to resolve host '?': [Errno -5] No address associated with hostname
failed to resolve host '?': [Errno 8] nodename nor servname provided, or not known
server does not support SSL, but SSL was required
SSL error: certificate verify failed
SSL error: unsupported protocol
SSL error: wrong version number
SSL error: sslv3 alert handshake failure
SSL error: tlsv1 alert unknown ca
SSL error: tlsv13 alert certificate required
SSL connection has been closed unexpectedly
server certificate for "?" does not match host name "?"
root certificate file "?" does not exist
server requested a cleartext password
server requested a hashed password
server requested SASL authentication
server requested SCRAM-SHA-256 authentication
server requested GSSAPI authentication
server requested SSPI authentication
server did not complete authentication
channel binding is required, but server did not offer an authentication method that supports \
channel binding
fe_sendauth: no password supplied
session is read-only
session is not read-only
server is in hot standby mode
server is not in hot standby mode
database "?" does not exist
database "?" is not currently accepting connections
role "?" does not exist
role "?" is not permitted to log in
password authentication failed for user "?"
SASL authentication failed
SASL authentication failed for user "?"
Peer authentication failed for user "?"
Ident authentication failed for user "?"
GSSAPI authentication failed for user "?"
LDAP authentication failed for user "?"
PAM authentication failed for user "?"
RADIUS authentication failed for user "?"
certificate authentication failed for user "?"
no pg_hba.conf entry for host "?", user "?", database "?"
no pg_hba.conf entry for host "?", user "?", database "?", no encryption
no pg_hba.conf entry for host "?", user "?", database "?", SSL encryption
no pg_hba.conf entry for host "?", user "?", database "?", SSL on
no pg_hba.conf entry for host "?", user "?", database "?", SSL off
pg_hba.conf rejects connection for host "?", user "?", database "?"
pg_hba.conf rejects connection for host "?", user "?", database "?", no encryption
pg_hba.conf rejects connection for host "?", user "?", database "?", SSL encryption
permission denied for database "?"
too many connections for role "?"
too many connections for database "?"
sorry, too many clients already
remaining connection slots are reserved for roles with the SUPERUSER attribute
remaining connection slots are reserved for non-replication superuser connections
the database system is starting up
the database system is shutting down
the database system is in recovery mode
the database system is not accepting connections
the database system is not yet accepting connections
no such user
no such database: ?
no more connections allowed (max_client_conn)
query_wait_timeout
permission denied for database ?
permission denied for schema ?
permission denied for table ?
must be owner of schema ?
must be owner of table ?
relation "?" does not exist
relation "?" already exists
schema "?" does not exist
schema "?" already exists
column "?" does not exist
column "?" of relation "?" does not exist
cannot execute CREATE SCHEMA in a read-only transaction
cannot execute CREATE TABLE in a read-only transaction
cannot execute DELETE in a read-only transaction
cannot execute DROP TABLE in a read-only transaction
cannot execute INSERT in a read-only transaction
cannot execute UPDATE in a read-only transaction
cannot set transaction read-write mode during recovery
recovery is in progress
canceling statement due to conflict with recovery
canceling statement due to lock timeout
canceling statement due to statement timeout
canceling statement due to user request
current transaction is aborted, commands ignored until end of transaction block
deadlock detected
out of memory
out of shared memory
PostgreSQL text fields cannot contain NUL (0x00) bytes
terminating connection due to administrator command
terminating connection due to idle-in-transaction timeout
"""
# Parameters of libpq that no message hides.
_NAMES = ("user", "dbname", "host", "hostaddr", "sslrootcert")


def connection_reason(words: str, location: PostgresLocation) -> str:
    """Why a connection failed, as the end of a sentence; of words that are not known nothing."""
    return (
        _known_sentence(words, location) or "the server gave an unknown reason, which is not shown"
    )


def statement_reason(problem: psycopg.Error, location: PostgresLocation) -> str:
    """Why a statement failed, as the end of a sentence: by its SQLSTATE if words are not known."""
    words = problem.diag.message_primary or str(problem)
    return _known_sentence(words, location) or _condition(problem)


def sqlstate(problem: psycopg.Error) -> str:
    """The SQLSTATE of an error, if it is one of PostgreSQL's; "" otherwise."""
    code = problem.sqlstate or ""
    with suppress(KeyError):
        psycopg.errors.lookup(code)
        return code
    return ""


def mask_password(text: str, connection: psycopg.Connection[object]) -> str:
    """A text with names that are the server's, without the connection's password."""
    password = connection.info.password
    return Redactor([password, password[::-1]]).mask_secrets_in_text(text)


def _condition(problem: psycopg.Error) -> str:
    """The name of an SQLSTATE in words, such as `insufficient privilege`."""
    if not sqlstate(problem):
        return "the server gave no known reason"
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(problem).__name__).strip("_").lower()


def _known_sentence(words: str, location: PostgresLocation) -> str:
    """The words with each unknown name left out; "" if the sentence is not known."""
    sentences = (ANSWER_TOO_LONG, *_SENTENCES.strip().splitlines(), *map(os.strerror, errorcode))
    patterns = (re.escape(sentence).replace(r"\?", "(.{0,255}?)") for sentence in sentences)
    match = next(filter(None, (re.fullmatch(pattern, words) for pattern in patterns)), None)
    if match is None:
        return ""
    names, text, end = _own_names(location), "", 0
    for group, name in enumerate(match.groups(), 1):
        start, stop = match.span(group)
        text += words[end:start] + (name if _is_known(name, names) else _OTHER_NAME)
        end = stop
    return text + words[end:]


def _is_known(name: str, names: Collection[str]) -> bool:
    with suppress(ValueError):
        return "%" not in name and bool(ip_address(name))
    return name in names


def _own_names(location: PostgresLocation) -> set[str]:
    """The connection's names, by its url or by libpq's variables, and those of a state's tables."""
    defaults = {option.keyword.decode(): option.val for option in pq.Conninfo.get_defaults()}
    named = [(defaults.get(key) or b"").decode(errors="replace") for key in _NAMES]
    with suppress(psycopg.Error):
        parameters = conninfo.conninfo_to_dict(location.url.reveal())
        named += [str(parameters.get(key, "")) for key in _NAMES]
    parts = {part for value in named for part in value.split(",")}
    columns = {column for names in schema.TABLE_COLUMNS.values() for column in names}
    return {*parts, *schema.TABLE_COLUMNS, *columns, "clients", location.schema}
