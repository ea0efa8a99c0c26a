"""How the page knows who has logged in: a session over https, HTTP's log-in on loopback.

Without TLS there is no session. A browser sends a cookie to all ports of a host (RFC 6265, 8.5),
where any user of the machine may listen; a password only to the port that asked for it.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from hashlib import sha256
from secrets import token_urlsafe
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from synapse_apply.controller.configuration.secrets import AccessSecrets
from synapse_apply.controller.rows import SessionRow
from synapse_apply.controller.rules.access import GROUP_PREFIX, OIDC_PREFIX, TOKEN_PREFIX, Person
from synapse_apply.controller.settings import HOUR, Access, Controller
from synapse_apply.controller.store.controller_store import ControllerStore
from synapse_apply.model.secrets.secret_rules import is_loopback

SESSION_SECONDS = 12 * HOUR
# No other host, nor a page without TLS, can set it (RFC 6265bis, 4.1.3).
COOKIE, ATTEMPT_COOKIE = "__Host-synapse-apply", "__Host-synapse-apply-login"
CHALLENGE = 'Basic realm="any name, and a token as the password", charset="UTF-8"'
# A random part; after it the groups that a provider of OpenID Connect named. The store's key is a
# digest of both, so that nobody can change them.
_VALUE = re.compile(r"[A-Za-z0-9_-]{43}(?:\.[A-Za-z0-9_-]{1,3000})?")
# What a browser takes for another host's address is no path of ours (WHATWG URL, 4.4).
_PATH = re.compile(r"/(?![/\\])[!-~]{0,1000}")


def has_sessions(request: Request, settings: Controller) -> bool:
    """Whether a request came by the public https address of a controller where people log in."""
    public, access = urlsplit(settings.public_url), settings.access
    has_logins = access is not None and bool(access.tokens or access.oidc)
    return has_logins and public.scheme == "https" and request.url.hostname == public.hostname


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
    except ValueError:
        return ""
    return text.partition(":")[2]


def read_cookie(request: Request) -> str:
    """The cookie of a session; "" where the request has none that can be ours."""
    value = request.cookies.get(COOKIE, "")
    return value if _VALUE.fullmatch(value) else ""


def write_cookie(
    response: Response, value: str, name: str = COOKIE, seconds: float = SESSION_SECONDS
) -> None:
    """Have the browser keep a cookie, of a session for as long as the session; "" to forget it.

    No script reads it. Lax: who follows a link of a message is still logged in, and a form of
    another site comes without it.
    """
    response.set_cookie(
        name,
        value,
        max_age=int(seconds) if value else 0,
        secure=True,
        httponly=True,
        samesite="lax",
    )


def make_session(
    access: Access, secrets: AccessSecrets, person: Person, now: float
) -> tuple[str, SessionRow] | None:
    """A session of somebody who has logged in, and the value of its cookie: always a new one.

    Of their groups, those that a rule names: no other counts. None where `access` has nobody like
    them, and for more groups than a cookie can have.
    """
    named = {who for rule in access.rules for who in rule.who}
    groups = sorted(group for group in person.groups if f"{GROUP_PREFIX}{group}" in named)
    value = token_urlsafe(32) + ("." + encode_text(json.dumps(groups)) if groups else "")
    holder = person.identity.removeprefix(TOKEN_PREFIX)
    key = _key_of(access, secrets, holder)
    if key is None or not _VALUE.fullmatch(value):
        return None
    return value, SessionRow(digest_of(value), holder, _prove(value, key), now + SESSION_SECONDS)


def digest_of(value: str) -> str:
    """The key of a session in the store, by the value of its cookie; "" for no cookie."""
    return sha256(value.encode()).hexdigest() if value else ""


def find_session_holder(
    store: ControllerStore, access: Access, secrets: AccessSecrets, value: str, now: float
) -> Person | None:
    """Who has the session of a cookie; None where it is over.

    One whose token or provider is gone, or another, ends for good.
    """
    row = store.find_session(digest_of(value)) if value else None
    if row is None or now >= row.until:
        return None
    key = _key_of(access, secrets, row.token_name)
    if key is None or not hmac.compare_digest(_prove(value, key), row.proof):
        with store.write() as writer:
            writer.delete_session(row.digest)
        return None
    if not row.token_name.startswith(OIDC_PREFIX):
        return Person(f"{TOKEN_PREFIX}{row.token_name}")
    groups = decode_text(value.partition(".")[2])
    return Person(row.token_name, frozenset(json.loads(groups) if groups else ()))


def _key_of(access: Access, secrets: AccessSecrets, holder: str) -> str | None:
    """What the sessions of a token's holder, or of `oidc:NAME`, are bound to; None for nothing."""
    oidc, client_secret = access.oidc, secrets.oidc
    if holder.startswith(OIDC_PREFIX):
        if oidc is None or client_secret is None:
            return None
        return " ".join((oidc.issuer, oidc.client_id, oidc.user_claim, str(client_secret.reveal())))
    token = secrets.tokens.get(holder) if holder in access.tokens else None
    return None if token is None else str(token.reveal())


def choose_page(address: str) -> str:
    """Where a log-in leads: the page of ours that was asked for, the overview for anything else.

    Without its query, which may say that something was done.
    """
    path = address.partition("?")[0]
    return path if _PATH.fullmatch(path) else "/"


def encode_text(text: str) -> str:
    """A text in the characters that a cookie may have."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_text(encoded: str) -> str:
    """The text that `encode_text` has encoded; "" for anything else."""
    try:
        return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except ValueError:
        return ""


def _prove(value: str, key: str) -> str:
    return hmac.new(value.encode(), key.encode(), sha256).hexdigest()
