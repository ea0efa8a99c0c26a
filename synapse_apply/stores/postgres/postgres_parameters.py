"""How a database of PostgreSQL is connected to: its parameters, its owners, and why it is not.

Which StateError each error of PostgreSQL becomes, and which of them are worth a retry. No message
contains a password: what is shown of a server's words, `server_words` decides.
"""

from __future__ import annotations

import os
import re
import socket
import struct
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from threading import Condition, Thread
from types import MappingProxyType
from typing import Any

import psycopg
from psycopg import conninfo, pq, sql

from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import InputError, StateError
from synapse_apply.stores.database import Row
from synapse_apply.stores.postgres import server_words
from synapse_apply.stores.postgres.postgres_url import PostgresLocation
from synapse_apply.stores.state_messages import NOTHING_LOST_NOTE, fault

# A silent connection must be detected well before a lease expires (LeaseTiming, 30 seconds).
DEFAULT_PARAMETERS = {
    "application_name": "synapse-apply",
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "3",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}
_NAME_PATTERN = re.compile(r"[A-Za-z0-9._-]*")
# What a URL may say that a commit wrote ("Parameter Key Words" of libpq). All others are the
# operator's: they name files that libpq writes to (`sslkeylogfile`) or takes passwords from, ask
# other servers (`oauth_issuer`), or load code (`gsslib`).
_OF_COMMIT = frozenset(
    {
        *("host", "hostaddr", "port", "dbname", "user", "password", "service"),
        *("application_name", "fallback_application_name", "client_encoding", "options"),
        *("connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval"),
        *("keepalives_count", "tcp_user_timeout", "channel_binding", "require_auth"),
        *("requirepeer", "sslmode", "sslnegotiation", "sslcompression", "sslsni", "sslcert"),
        *("sslkey", "sslcertmode", "sslrootcert", "sslcrl", "sslcrldir"),
        *("ssl_min_protocol_version", "ssl_max_protocol_version", "min_protocol_version"),
        *("max_protocol_version", "gssencmode", "gssdelegation", "krbsrvname"),
        *("target_session_attrs", "load_balance_hosts"),
    }
)
# All but those that hand over the password, or what it can be guessed from.
_NO_PLAIN_LOGIN = "!password,!md5"
_PLAIN_LOGIN_PATTERN = re.compile(r"password|md5|!|^$")


def libpq_parameters(
    location: PostgresLocation,
    defaults: Mapping[str, str] = MappingProxyType({}),
    check_host: Callable[[str], object] | None = None,
) -> dict[str, Any]:
    """The parameters for psycopg.connect; InputError for a URL that libpq does not understand.

    `defaults` stand before ours, and behind what the URL says. `check_host` is there where a commit
    wrote the URL and passwords may go to some hosts alone: it gets a URL of each host, and raises.
    """
    url_parameters = _parse(location)
    if check_host is not None:
        _check_each_host(url_parameters, location, check_host)
        # The server's certificate says who gets the password, and nobody reads it on the way. One
        # that is checked against a file of the checkout says nothing.
        is_proven = url_parameters.get("sslmode") == "verify-full"
        is_proven &= url_parameters.get("sslrootcert", "system") == "system"
        if not is_proven and _PLAIN_LOGIN_PATTERN.search(url_parameters.get("require_auth", "")):
            url_parameters["require_auth"] = os.environ.get("PGREQUIREAUTH") or _NO_PLAIN_LOGIN
    return {**DEFAULT_PARAMETERS, **defaults, **url_parameters, "client_encoding": "UTF8"}


def require_commit_parameters(location: PostgresLocation) -> None:
    """InputError where a URL that a commit wrote has a parameter that only an operator may set."""
    parameters = _parse(location)
    refused = [f"{name}=" for name in parameters if name not in _OF_COMMIT]
    # With a colon it names an engine of OpenSSL, a library whose code is run.
    if ":" in parameters.get("sslkey", ""):
        refused.append("an engine in sslkey=")
    if refused:
        raise InputError.from_summary(
            f"The {location.owner}'s url has a parameter that a project file may not set",
            f"{location.display_url}: {', '.join(refused)}. Such a parameter lets libpq write "
            "to a file, read a password from a file, connect to another server or load code.",
            "Remove it, or put the url into a variable: state: {url: {env: NAME}}.",
        )


def _parse(location: PostgresLocation) -> dict[str, str]:
    try:
        parsed = conninfo.conninfo_to_dict(location.url.reveal())
    except psycopg.Error:
        parsed = None
    # Raised here, since libpq's message may quote a part of the URL with its password.
    if parsed is None:
        raise InputError.from_summary(
            f"The {location.owner}'s url cannot be used",
            f"{location.display_url}: the PostgreSQL client does not understand it.",
            "Write postgresql://USER@HOST:PORT/DATABASE?sslmode=verify-full; the parameters"
            " are those of libpq.",
        )
    return {name: str(value) for name, value in parsed.items()}


def _check_each_host(
    parameters: Mapping[str, str], location: PostgresLocation, check_host: Callable[[str], object]
) -> None:
    """InputError for a host that `check_host` refuses, and for one that has no name to compare.

    libpq connects to `hostaddr` and looks passwords up by `host`; it tries several in their order.
    Where the URL names none, PGHOST or a socket of the system is the operator's own.
    """
    hosts = {key: parameters.get(key, "").split(",") for key in ("host", "hostaddr")}
    unnamed = [key for key in ("service", "servicefile") if key in parameters]
    unnamed += [key for key, names in hosts.items() if not all(map(_is_host_or_empty, names))]
    if unnamed:
        raise InputError.from_summary(
            "The state's database host is not set",
            f"{location.display_url}: {unnamed[0]}= names no host, so it cannot be compared "
            "with the hosts that may receive a password.",
            "Specify the host, or put the url into a variable: state: {url: {env: NAME}}.",
        )
    for names in hosts.values():
        ports = parameters.get("port", "").split(",")
        ports *= 1 if len(ports) == len(names) else len(names)
        for name, port in zip(names, ports, strict=False):
            if name:
                bracketed = f"[{name}]" if ":" in name else name
                check_host(f"postgresql://{bracketed}{f':{port}' * bool(port)}")


def _is_host_or_empty(name: str) -> bool:
    """Whether this is a name or an address; a socket is none, nor what URLs end a host at."""
    try:
        return _NAME_PATTERN.fullmatch(name) is not None or bool(ip_address(name))
    except ValueError:
        return False


# Owners that may have made it: we, who may do all in the database anyway, and roles that these have
# granted to us. Others can grant theirs to anybody, who is not asked. To a superuser pg_has_role
# says yes for each role.
# A trigger belongs to who owns what it names: its function, and operators and types of its WHEN. A
# function in a WHEN is refused: the system's query_to_xml runs any statement.
_SELECT_STRANGERS = """
WITH RECURSIVE me AS (SELECT oid, rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user),
sure AS (
    SELECT r.oid FROM pg_catalog.pg_roles r, me
    WHERE r.oid = me.oid OR r.rolsuper OR r.rolname = 'pg_database_owner'
        OR r.oid = (SELECT datdba FROM pg_catalog.pg_database WHERE datname = current_database())
),
granted AS (
    SELECT oid FROM me
    UNION
    SELECT roleid FROM pg_catalog.pg_auth_members m JOIN granted g ON member = g.oid
    WHERE grantor IN (SELECT oid FROM sure)
),
trusted AS (
    SELECT oid FROM sure
    UNION ALL
    SELECT g.oid FROM granted g, me
    WHERE me.rolsuper OR pg_catalog.pg_has_role(me.oid, g.oid, 'USAGE')
),
made AS (
    SELECT 'schema ' || nspname::text AS name, nspowner AS owner, oid AS namespace,
        nspname AS place, 1 AS rank
    FROM pg_catalog.pg_namespace
    UNION ALL
    SELECT 'table ' || relname::text, relowner, relnamespace, relname, 2 FROM pg_catalog.pg_class
    WHERE relkind NOT IN ('i', 'I', 'c', 't')
    UNION ALL
    SELECT 'trigger ' || tgname::text, CASE WHEN pg_catalog.strpos(tgqual::text, 'FUNCEXPR') > 0
        THEN 0 ELSE CASE refclassid
        WHEN 'pg_catalog.pg_proc'::pg_catalog.regclass
        THEN (SELECT proowner FROM pg_catalog.pg_proc p WHERE p.oid = refobjid)
        WHEN 'pg_catalog.pg_operator'::pg_catalog.regclass
        THEN (SELECT oprowner FROM pg_catalog.pg_operator o WHERE o.oid = refobjid)
        WHEN 'pg_catalog.pg_type'::pg_catalog.regclass
        THEN (SELECT typowner FROM pg_catalog.pg_type y WHERE y.oid = refobjid) END END,
        relnamespace, relname, 3
    FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = tgrelid
    JOIN pg_catalog.pg_depend d ON d.objid = t.oid
        AND d.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass
    WHERE NOT tgisinternal
    UNION ALL
    SELECT 'function ' || proname::text, proowner, n.oid, nspname, 3 FROM pg_catalog.pg_proc
    JOIN pg_catalog.pg_namespace n ON n.oid = pronamespace
    UNION ALL
    SELECT 'operator ' || oprname::text, oprowner, n.oid, nspname, 3 FROM pg_catalog.pg_operator
    JOIN pg_catalog.pg_namespace n ON n.oid = oprnamespace
    UNION ALL
    SELECT '', grantee, oid, nspname, 4 FROM pg_catalog.pg_namespace,
        pg_catalog.aclexplode(COALESCE(nspacl, pg_catalog.acldefault('n', nspowner)))
    WHERE privilege_type = 'CREATE'
)
SELECT name, CASE owner WHEN 0 THEN '' ELSE pg_catalog.pg_get_userbyid(owner)::text END,
    current_user::text FROM made
WHERE namespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = {schema})
    AND (place = {schema} OR {tables}::text[] IS NULL OR place = ANY({tables}::text[]))
    AND owner NOT IN (SELECT oid FROM trusted)
ORDER BY rank LIMIT 1
"""


def find_stranger(
    connection: psycopg.Connection[Any], schema: str, tables: Collection[str] | None = None
) -> Diagnostic | None:
    """What in a schema belongs to a stranger or may come from one; None where nothing does.

    Of `tables`, or of all tables. Nobody else's functions and operators take part in the question:
    the search path has none of their schemas meanwhile.
    """
    is_alone = connection.info.transaction_status is pq.TransactionStatus.IDLE
    template = (
        f"{'BEGIN READ ONLY;' if is_alone else ''} SET LOCAL search_path TO pg_catalog; "
        f"{_SELECT_STRANGERS}; {'COMMIT' if is_alone else 'SET LOCAL search_path TO {path}'}"
    )
    names, row = None if tables is None else list(tables), None
    values = {"schema": sql.Literal(schema), "tables": sql.Literal(names)}
    statements = sql.SQL(template).format(**values, path=sql.Identifier(schema))
    cursor = connection.execute(statements)
    while row is None and (cursor.description is None or (row := cursor.fetchone()) is None):
        if not cursor.nextset():
            return None
    name, owner, user = (server_words.mask_password(each, connection) for each in row)
    user, place = (sql.Identifier(each).as_string(None) for each in (user, schema))
    role = sql.Identifier(owner).as_string(None) if owner else "PUBLIC"
    grant = f"GRANT {role} TO {user} as a superuser or the database's owner"
    trusting = f"If you trust {role}: {grant}. Otherwise " if owner else ""
    other = "or name another schema in the url: ?schema=NAME."
    if not name:
        return error_finding(
            "Another role may create objects in the schema",
            f"{role} has the right CREATE in schema {place}, so that functions and operators of "
            f"others could run with the rights of {user}.",
            f"{trusting}{'r' if trusting else 'R'}evoke it (REVOKE CREATE ON SCHEMA {place} FROM "
            f"{role}), {other}",
        )
    if not owner:
        return error_finding(
            "A trigger of the schema calls a function in its condition",
            f"The WHEN of {name} would run with the rights of {user}.",
            f"Remove the {name}, {other}",
        )
    why = (
        f"{name} belongs to {role}, and not to {user}, the database's owner, a superuser or a role "
        f"that one of these granted to {user}, so its code would run with your rights"
    )
    return error_finding(
        "The schema belongs to another role",
        f"{why}.",
        f"{trusting}{'r' if trusting else 'R'}emove "
        f"{f'it (DROP SCHEMA {place} CASCADE)' if name.startswith('schema ') else f'the {name}'}, "
        f"{other}",
    )


# Seconds: longer than a lease (30 s) and than the server's lock_timeout (30 s).
MAX_SECONDS = 45.0
# What a server may send within one block, looked at so often: rows of whole tables, at most.
MOST_BYTES, _LOOK_SECONDS = 1024**3, 0.25
_LONGEST_SLEEP = 10.0  # seconds


class AnswerTooLong(psycopg.DataError):
    """A server sent more than MOST_BYTES."""


@contextmanager
def limit_connection(connection: psycopg.Connection[Row], max_seconds: float) -> Iterator[None]:
    """Shut the connection down if the block takes longer than `max_seconds`.

    TCP keepalives detect a lost peer. They do not detect a server process that hangs, for which
    libpq would wait for ever. AnswerTooLong where the server sends too much: libpq keeps whole
    results, and one row or one error may be as large. Only Linux tells how much was received.
    """
    # A duplicate descriptor: libpq may close its own, whose number may then be another file's.
    with socket.socket(fileno=os.dup(connection.fileno())) as connection_socket:
        _WATCH.add(connection_socket, time.monotonic() + max_seconds)
        try:
            yield
        except psycopg.Error:
            if _WATCH.remove(connection_socket):
                raise AnswerTooLong(server_words.ANSWER_TOO_LONG) from None
            raise
        finally:
            _WATCH.remove(connection_socket)


def _received_bytes(connection_socket: socket.socket) -> int:
    """How many bytes a connection has received since it was opened; 0 if nobody tells."""
    with suppress(AttributeError, OSError, struct.error):
        # tcpi_bytes_received of struct tcp_info, behind 8 flags, 24 numbers and 3 long ones.
        info = connection_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136)
        return int(struct.unpack_from("Q", info, 128)[0])
    return 0


class _Watch:
    """Shuts sockets down when their time is over or too much has come, in one thread.

    One for each would cost more.
    """

    def __init__(self) -> None:
        self._condition = Condition()
        # Of each socket when it ends, and at how many received bytes.
        self._limits: dict[socket.socket, tuple[float, int]] = {}
        self._too_long: set[socket.socket] = set()
        self._thread: Thread | None = None
        self._wakes_at = 0.0

    def add(self, connection_socket: socket.socket, deadline: float) -> None:
        with self._condition:
            most_bytes = _received_bytes(connection_socket) + MOST_BYTES
            self._limits[connection_socket] = (deadline, most_bytes)
            if self._thread is None or not self._thread.is_alive():
                self._thread = Thread(target=self._run, name="postgres watch", daemon=True)
                self._thread.start()
            elif min(deadline, time.monotonic() + _LOOK_SECONDS) < self._wakes_at:
                self._condition.notify()

    def remove(self, connection_socket: socket.socket) -> bool:
        """Whether it was shut down because too much had come."""
        with self._condition:
            self._limits.pop(connection_socket, None)
            was_too_long = connection_socket in self._too_long
            self._too_long.discard(connection_socket)
            return was_too_long

    def _run(self) -> None:
        with self._condition:
            while True:
                now = time.monotonic()
                for connection_socket, (deadline, most_bytes) in list(self._limits.items()):
                    is_too_long = _received_bytes(connection_socket) > most_bytes
                    if is_too_long or deadline <= now:
                        if is_too_long:
                            self._too_long.add(connection_socket)
                        with suppress(OSError):
                            connection_socket.shutdown(socket.SHUT_RDWR)
                        del self._limits[connection_socket]
                longest = _LOOK_SECONDS if self._limits else _LONGEST_SLEEP
                deadlines = (deadline for deadline, _ in self._limits.values())
                self._wakes_at = min([now + longest, *deadlines])
                self._condition.wait(self._wakes_at - now)


_WATCH = _Watch()


# Messages of a server that will soon accept connections (PostgreSQL, appendix A: 57P03). libpq
# gives no SQLSTATE for a failed connection.
STARTING_TEXTS = ("starting up", "shutting down", "in recovery mode", "not yet accepting")

# Texts in a refusal of a connection, with summary and hint; there is no code to go by.
_REFUSAL_MESSAGES = (
    (
        ("authentication method requirement", "server requested a"),
        "The database requests the password in plain text or as MD5",
        (
            "Configure scram-sha-256 on the server, or put the {owner}'s url into a variable: url: "
            "{{env: NAME}}."
        ),
    ),
    (
        ("password authentication failed", "no password supplied", "authentication failed"),
        "The database refused the login",
        "Check user and password in the {owner}'s url (or PGUSER, PGPASSWORD).",
    ),
    (
        ("no pg_hba.conf entry", "no encryption", "SSL"),
        "The database refused the connection",
        "Check the parameters ssl... of the {owner}'s url, and the server's pg_hba.conf.",
    ),
)


_GRANT_HINT = (
    "Grant the user CREATE on the database, or let an administrator create the schema for the "
    "user: CREATE SCHEMA NAME AUTHORIZATION USER."
)
_NO_ROOM = ("The database has no space left", f" {NOTHING_LOST_NOTE}", "Free some space there.")
# By SQLSTATE: summary, what follows the server's reason, and hint.
_STATEMENT_MESSAGES = {
    # insufficient_privilege
    "42501": ("The database does not permit this", "", _GRANT_HINT),
    # read_only_sql_transaction
    "25006": (
        "The database is read-only",
        "",
        (
            "Use the primary server. If you list several hosts, target_session_attrs=read-write "
            "selects the primary."
        ),
    ),
    # disk_full, out_of_memory, configuration_limit_exceeded
    **dict.fromkeys(("53100", "53200", "53400"), _NO_ROOM),
}


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
    return PostgresUnreachable.from_summary(
        "The state's database cannot be reached",
        f"{location.display_url}: {server_words.connection_reason(reason, location)}.",
        f"Check host, port and network, and that the server is running. {NOTHING_LOST_NOTE}",
    )


def build_refusal_finding(reason: str, location: PostgresLocation) -> Diagnostic | None:
    """What to do about a connection that the server refuses; None where it may be open later.

    `reason` is that of `reason_of_first_host`.
    """
    detail = f"{location.display_url}: {server_words.connection_reason(reason, location)}."
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
            "The database refused the login",
            detail,
            f"Check the user in the {location.owner}'s url, and its CONNECT privilege.",
        )
    return None


def has_ended_connection(problem: psycopg.Error) -> bool:
    """Whether the connection has ended with this error, by the server or a pooler."""
    # Class 08: connection exceptions; 57P: shutdown; 25P03: idle in a transaction for too long.
    code = problem.sqlstate or ""
    return (
        code.startswith(("08", "57P"))
        or code == "25P03"
        or (not code and isinstance(problem, psycopg.OperationalError | psycopg.InterfaceError))
    )


def build_statement_error(
    problem: psycopg.Error, place: PostgresLocation, activity: str
) -> StateError:
    """The error for a failed statement on an intact connection (SQLSTATE: appendix A)."""
    location = place.display_url
    if isinstance(problem, AnswerTooLong):
        return StateError.from_summary(
            "The database returned more data than a state can have",
            f"{activity} {location}: {server_words.ANSWER_TOO_LONG}.",
            f"Check that the url names the right server. {NOTHING_LOST_NOTE}",
        )
    code = server_words.sqlstate(problem)
    reason = server_words.statement_reason(problem, place)
    if code == "42P01":  # undefined_table
        return MissingTable(*fault("damaged", location, reason=reason).diagnostics)
    if code in ("42703", "42P07"):  # undefined_column, duplicate_table
        return fault("foreign file", location, reason=f"has tables of another program ({reason})")
    if code != "42501" and "recovery" in reason:  # a standby
        code = "25006"
    # lock_not_available, deadlock_detected, query_canceled
    if code in ("55P03", "40P01", "57014"):
        hint = (
            "Find the session that holds the lock (SELECT * FROM pg_stat_activity), then try again."
        )
        return fault("busy", location, activity=activity, reason=reason, hint=hint)
    if code in _STATEMENT_MESSAGES:
        summary, detail, hint = _STATEMENT_MESSAGES[code]
        return StateError.from_summary(summary, f"{activity} {location}: {reason}.{detail}", hint)
    if isinstance(problem, psycopg.DataError) or code == "54000":  # program_limit_exceeded
        return fault("unstorable", location, reason=reason)
    return fault("unusable", location, activity=activity, reason=f"{reason} ({code or 'no code'})")


def reason_of_first_host(problem: psycopg.Error) -> str:
    """The reason in libpq's text, of the first host if there are several, without its prefix.

    It is to be searched, and not to be shown: it may be any words of the server.
    """
    lines = [line.strip() for line in str(problem).splitlines()]
    line = next((line for line in lines if "failed: " in line and "attempts" not in line), lines[0])
    return line.rpartition("failed: ")[2].removeprefix("FATAL:").strip().rstrip(".")
