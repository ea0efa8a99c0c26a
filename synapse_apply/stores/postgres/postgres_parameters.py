"""Which connection parameters libpq gets: those of the URL before our own defaults."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
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
            f"{location.display_url}: {', '.join(refused)}. Such a parameter lets libpq write to a "
            "file, take a password from one, ask another server or load code.",
            "Take it out, or have the url in a variable: state: {url: {env: NAME}}.",
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
            "The host of the state's database is not told",
            f"{location.display_url}: {unnamed[0]}= names no host, and cannot be compared with "
            "those that may have a password.",
            "Name the host, or have the url in a variable: state: {url: {env: NAME}}.",
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
