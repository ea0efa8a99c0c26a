"""The address of a state in PostgreSQL. A URL may hold a password: no message here repeats it."""

from __future__ import annotations

import re
from dataclasses import field
from urllib.parse import unquote, urlsplit

from synapse_apply.model.diagnostic import error
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.values import Sensitive

SCHEMES = ("postgresql", "postgres")
PREFIX = "synapse_apply_"
# PostgreSQL cuts longer names off, so that two could become one.
LONGEST_NAME = 63

_USER_INFO = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=%-]*(:[A-Za-z0-9._~!$&'()*+,;=%-]*)?")
_HOSTS = re.compile(r"[A-Za-z0-9.,:_%\[\]-]*")
_SCHEMA = re.compile(r"[A-Za-z0-9_.-]+")


@frozen
class Place:
    """Where a state is: `url` for the client library, `schema`, and `where` for people."""

    url: Sensitive = field(repr=False)
    schema: str
    where: str


def is_postgres(url: str) -> bool:
    """Whether a state's url names a database of this sort."""
    return url.partition(":")[0].lower() in SCHEMES


def place(url: str, target: str) -> Place:
    """The place a URL (RFC 3986; libpq, "Connection URIs") names; InputError in words.

    `?schema=` names the schema, one a state; without it the target's name does.
    """
    parts = urlsplit(url)
    user_info, _, hosts = parts.netloc.rpartition("@")
    rest = f"{parts.path}?{parts.query}"
    if "@" in rest or parts.fragment or not _USER_INFO.fullmatch(user_info):
        raise _unusable(
            "it holds characters that a URL does not allow there",
            "In a user name or a password write them percent-encoded: @ is %40, / is %2F, # is"
            " %23, ? is %3F.",
        )
    if not _HOSTS.fullmatch(hosts):
        raise _unusable("the host is not one", "Write postgresql://USER@HOST:PORT/DATABASE.")
    pairs = [pair.partition("=") for pair in parts.query.split("&") if pair]
    named = [unquote(value) for name, _, value in pairs if name == "schema"]
    schema = named[-1] if named else f"{PREFIX}{target}"
    _check_schema(schema)
    # As it came: how the rest is written is for the client library to judge.
    query = "&".join("".join(pair) for pair in pairs if pair[0] != "schema")
    database = unquote(parts.path.removeprefix("/"))
    return Place(
        url=Sensitive(f"{SCHEMES[0]}://{parts.netloc}{parts.path}?{query}"),
        schema=schema,
        where=f"postgresql://{hosts}/{database}?schema={schema}",
    )


def _check_schema(schema: str) -> None:
    if not _SCHEMA.fullmatch(schema) or schema.startswith("pg_"):
        raise _unusable(
            f"{schema!r} is no name for a schema",
            "Name one with ?schema=NAME: letters, digits, _ . and -, not beginning with pg_.",
        )
    if len(schema) > LONGEST_NAME:
        raise _unusable(
            f"the schema {schema} has {len(schema)} characters, PostgreSQL allows {LONGEST_NAME}",
            "Name a shorter one: ?schema=NAME.",
        )


def _unusable(why: str, hint: str) -> InputError:
    return InputError(error("The state's url cannot be used", f"state.url: {why}.", hint))
