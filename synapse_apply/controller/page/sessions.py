"""How somebody logs in on the page with a token: a session over https, HTTP's log-in on loopback.

Without TLS there is no session. A browser sends a cookie to all ports of a host (RFC 6265, 8.5),
where any user of the machine may listen; a password only to the port that asked for it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping
from hashlib import sha256
from secrets import token_urlsafe
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from synapse_apply.controller.rows import SessionRow
from synapse_apply.controller.rules.access import TOKEN_PREFIX, Person
from synapse_apply.controller.settings import HOUR, Access, Controller
from synapse_apply.controller.store.controller_store import ControllerStore
from synapse_apply.model.secrets.secret_rules import is_loopback
from synapse_apply.model.values import Sensitive

SESSION_SECONDS = 12 * HOUR
# No other host, nor a page without TLS, can set it (RFC 6265bis, 4.1.3).
COOKIE = "__Host-synapse-apply"
CHALLENGE = 'Basic realm="any name, and a token as the password", charset="UTF-8"'
_VALUE = re.compile("[A-Za-z0-9_-]{43}")
# What a browser takes for another host's address is no path of ours (WHATWG URL, 4.4).
_PATH = re.compile(r"/(?![/\\])[!-~]{0,1000}")


def has_sessions(request: Request, settings: Controller) -> bool:
    """Whether a request came by the public https address of a controller with tokens."""
    public = urlsplit(settings.public_url)
    has_tokens = settings.access is not None and bool(settings.access.tokens)
    return has_tokens and public.scheme == "https" and request.url.hostname == public.hostname


def has_basic_login(request: Request, settings: Controller) -> bool:
    """Whether a page takes a token as the password of HTTP's log-in (RFC 7617): on loopback."""
    has_tokens = settings.access is not None and bool(settings.access.tokens)
    host = request.url.hostname or ""
    return has_tokens and is_loopback(host) and not has_sessions(request, settings)


def read_basic_token(request: Request) -> str:
    """The password of HTTP's log-in; "" without one."""
    values = request.headers.getlist("authorization")
    scheme, _, encoded = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    if scheme.lower() != "basic":
        return ""
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return text.partition(":")[2]


def read_cookie(request: Request) -> str:
    """The cookie of a session; "" where the request has none that can be ours."""
    value = request.cookies.get(COOKIE, "")
    return value if _VALUE.fullmatch(value) else ""


def write_cookie(response: Response, value: str) -> None:
    """Have the browser keep a session's cookie for as long as the session, "" to forget it.

    No script reads it. Lax: who follows a link of a message is still logged in, and a form of
    another site comes without it.
    """
    response.set_cookie(
        COOKIE,
        value,
        max_age=int(SESSION_SECONDS) if value else 0,
        secure=True,
        httponly=True,
        samesite="lax",
    )


def make_session(name: str, token: Sensitive, now: float) -> tuple[str, SessionRow]:
    """A session of the holder of a token, and the value of its cookie: always a new one."""
    value = token_urlsafe(32)
    return value, SessionRow(digest_of(value), name, _prove(value, token), now + SESSION_SECONDS)


def digest_of(value: str) -> str:
    """The key of a session in the store, by the value of its cookie; "" for no cookie."""
    return sha256(value.encode()).hexdigest() if value else ""


def find_session_holder(
    store: ControllerStore, access: Access, tokens: Mapping[str, Sensitive], value: str, now: float
) -> Person | None:
    """Who has the session of a cookie; None where it is over.

    One whose token is gone, or another, ends for good.
    """
    row = store.find_session(digest_of(value)) if value else None
    if row is None or now >= row.until:
        return None
    token = tokens.get(row.token_name) if row.token_name in access.tokens else None
    if token is None or not hmac.compare_digest(_prove(value, token), row.proof):
        with store.write() as writer:
            writer.delete_session(row.digest)
        return None
    return Person(f"{TOKEN_PREFIX}{row.token_name}")


def choose_page(address: str) -> str:
    """Where a log-in leads: the page of ours that was asked for, the overview for anything else.

    Without its query, which may say that something was done.
    """
    path = address.partition("?")[0]
    return path if _PATH.fullmatch(path) else "/"


def _prove(value: str, token: Sensitive) -> str:
    return hmac.new(value.encode(), str(token.reveal()).encode(), sha256).hexdigest()
