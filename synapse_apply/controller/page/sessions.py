"""How somebody logs in on the page with a token of `access`: the session, its cookie, its end."""

from __future__ import annotations

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
from synapse_apply.model.frozen import frozen
from synapse_apply.model.secrets.secret_rules import is_loopback
from synapse_apply.model.values import Sensitive

SESSION_SECONDS = 12 * HOUR
_VALUE = re.compile("[A-Za-z0-9_-]{43}")
# What a browser takes for another host's address is no path of ours (WHATWG URL, 4.4).
_PATH = re.compile(r"/(?![/\\])[!-~]{0,1000}")


@frozen
class Cookie:
    """The cookie of a session, at an address with or without TLS."""

    is_secure: bool

    @property
    def name(self) -> str:
        """With TLS one that no other host, nor a page without TLS, can set (RFC 6265bis, 4.1.3)."""
        return "__Host-synapse-apply" if self.is_secure else "synapse-apply"

    def read(self, request: Request) -> str:
        """Its value; "" where the request has none that can be ours."""
        value = request.cookies.get(self.name, "")
        return value if _VALUE.fullmatch(value) else ""

    def write(self, response: Response, value: str) -> None:
        """Have the browser keep a value for as long as the session, "" to forget it.

        No script reads it. Lax: who follows a link of a message is still logged in, and a form of
        another site comes without it.
        """
        response.set_cookie(
            self.name,
            value,
            max_age=int(SESSION_SECONDS) if value else 0,
            secure=self.is_secure,
            httponly=True,
            samesite="lax",
        )


def find_cookie(request: Request, settings: Controller) -> Cookie | None:
    """The cookie at the address that a request names; None where nobody can log in.

    That is without tokens, and where the token would cross a network in plain text.
    """
    if settings.access is None or not settings.access.tokens:
        return None
    host, public = request.url.hostname or "", urlsplit(settings.public_url)
    if public.scheme == "https" and host == public.hostname:
        return Cookie(is_secure=True)
    return Cookie(is_secure=False) if is_loopback(host) else None


def make_session(name: str, token: Sensitive, now: float) -> tuple[str, SessionRow]:
    """A session of the holder of a token, and the value of its cookie: always a new one."""
    value = token_urlsafe(32)
    return value, SessionRow(digest_of(value), name, _prove(value, token), now + SESSION_SECONDS)


def digest_of(value: str) -> str:
    """Under what the store has the session of a cookie; "" for no cookie, which is of none."""
    return sha256(value.encode()).hexdigest() if value else ""


def find_session_holder(
    store: ControllerStore, access: Access, tokens: Mapping[str, Sensitive], value: str, now: float
) -> Person | None:
    """Who has the session of a cookie; None where it is over, or its token is gone or another."""
    row = store.find_session(digest_of(value)) if value else None
    if row is None or now >= row.until or row.token_name not in access.tokens:
        return None
    token = tokens.get(row.token_name)
    if token is None or not hmac.compare_digest(_prove(value, token), row.proof):
        return None
    return Person(f"{TOKEN_PREFIX}{row.token_name}")


def choose_page(path: str) -> str:
    """Where a log-in leads: the page of ours that was asked for, the overview for anything else."""
    return path if _PATH.fullmatch(path) else "/"


def _prove(value: str, token: Sensitive) -> str:
    return hmac.new(value.encode(), str(token.reveal()).encode(), sha256).hexdigest()
