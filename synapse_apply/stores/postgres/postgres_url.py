"""How a `postgresql://` URL is parsed: schema, connection string, text for messages.

A URL may hold a password, so that no message quotes it.
"""

from __future__ import annotations

from dataclasses import field
from urllib.parse import SplitResult, unquote, urlsplit

from synapse_apply.model.frozen import frozen
from synapse_apply.model.lazy_patterns import lazy_pattern
from synapse_apply.model.values import Sensitive
from synapse_apply.stores.state_messages import url_error

SCHEMES = ("postgresql", "postgres")
SCHEMA_PREFIX = "synapse_apply_"
# PostgreSQL truncates longer names (NAMEDATALEN), so that two could become the same.
MAX_NAME_LENGTH = 63

_USER_INFO_PATTERN = lazy_pattern(r"[A-Za-z0-9._~!$&'()*+,;=%-]*(:[A-Za-z0-9._~!$&'()*+,;=%-]*)?")
_HOSTS_PATTERN = lazy_pattern(r"[A-Za-z0-9.,:_%\[\]-]*")
_SCHEMA_PATTERN = lazy_pattern(r"[A-Za-z0-9_.-]+")


@frozen
class PostgresLocation:
    """Where a state is: `url` for libpq, `schema`, and `display_url` without user and password.

    `owner` is what messages call whose url it is: "state", or "store" for that of a controller.
    """

    url: Sensitive = field(repr=False)
    schema: str
    display_url: str
    owner: str = "state"


def is_postgres_url(url: str) -> bool:
    """Whether the scheme of a state's URL is postgresql or postgres."""
    return url.partition(":")[0].lower() in SCHEMES


def parse_postgres_state_url(url: str, target: str) -> PostgresLocation:
    """As `parse_postgres_url`; the schema is `synapse_apply_TARGET` unless the URL names one."""
    return parse_postgres_url(url, f"{SCHEMA_PREFIX}{target}")


def parse_postgres_url(url: str, default_schema: str, owner: str = "state") -> PostgresLocation:
    """Parse a URL (RFC 3986; libpq, "Connection URIs"); InputError if it is unusable.

    The schema is `?schema=`, else `default_schema`. `owner`: see PostgresLocation.
    """
    parts = _split_url(url, owner)
    user_info, _, hosts = parts.netloc.rpartition("@")
    path_and_query = f"{parts.path}?{parts.query}"
    if "@" in path_and_query or parts.fragment or not _USER_INFO_PATTERN.fullmatch(user_info):
        raise url_error(
            "it has characters that are not allowed there in a URL",
            "In a user name or password, percent-encode them: @ is %40, / is %2F, # is %23, ? "
            "is %3F.",
            owner,
        )
    if not _HOSTS_PATTERN.fullmatch(hosts):
        raise url_error(
            "the host is not valid", "Write postgresql://USER@HOST:PORT/DATABASE.", owner
        )
    pairs = [pair.partition("=") for pair in parts.query.split("&") if pair]
    schema_names = [unquote(value) for name, _, value in pairs if name == "schema"]
    schema = schema_names[-1] if schema_names else default_schema
    # InputError for a name that needs quoting, is reserved by PostgreSQL, or is too long.
    if not _SCHEMA_PATTERN.fullmatch(schema) or schema.startswith("pg_"):
        raise url_error(
            f"{schema!r} is not a valid name for a schema",
            "Specify a schema with ?schema=NAME: letters, digits, _ . and -, not beginning with "
            "pg_.",
            owner,
        )
    if len(schema) > MAX_NAME_LENGTH:
        raise url_error(
            f"the schema {schema} has {len(schema)} characters, PostgreSQL allows "
            f"{MAX_NAME_LENGTH}",
            "Use a shorter name: ?schema=NAME.",
            owner,
        )
    # The rest is passed on as written, for libpq to parse. `schema` is our own parameter.
    query = "&".join("".join(pair) for pair in pairs if pair[0] != "schema")
    database = unquote(parts.path.removeprefix("/"))
    return PostgresLocation(
        url=Sensitive(f"{SCHEMES[0]}://{parts.netloc}{parts.path}?{query}"),
        schema=schema,
        display_url=f"postgresql://{hosts}/{database}?schema={schema}",
        owner=owner,
    )


def _split_url(url: str, owner: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # its text may quote the URL
        reason = "it has brackets that do not enclose an address"
    hint = "In a user name or password, percent-encode them: [ is %5B, ] is %5D."
    raise url_error(reason, hint, owner)
