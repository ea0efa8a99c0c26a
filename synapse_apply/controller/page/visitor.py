"""Who asks and what they may read and do, at one request, and how others are refused."""

from __future__ import annotations

import hmac
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.requests import Request

from synapse_apply.controller.configuration.secrets import AccessSecrets
from synapse_apply.controller.loop.driver import ControllerLoop
from synapse_apply.controller.page.readable_store import RestrictedStore
from synapse_apply.controller.page.sessions import has_sessions
from synapse_apply.controller.ports import TargetFilter
from synapse_apply.controller.rows import RolloutTargetRow, TargetName
from synapse_apply.controller.rules.access import (
    OIDC_PREFIX,
    TOKEN_PREFIX,
    Person,
    can_pause_scope,
    list_rights,
)
from synapse_apply.controller.settings import Access, Controller, ProxyAccess, Right
from synapse_apply.controller.store.controller_store import ControllerStore
from synapse_apply.controller.verbs import Verb
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.frozen import frozen
from synapse_apply.model.values import Sensitive
from synapse_apply.views.sanitize import sanitize

API_PREFIX = "/api/v1/"


class RequestRefused(Exception):
    """A request that is not done. `findings` say why, `headers` go with the answer."""

    def __init__(
        self, status: HTTPStatus, *findings: Diagnostic, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__("; ".join(finding.summary for finding in findings))
        self.status = status
        self.findings = findings
        self.headers = headers or {}


def forbidden(summary: str, detail: str, hint: str = "") -> RequestRefused:
    return RequestRefused(HTTPStatus.FORBIDDEN, error_finding(summary, detail, hint))


class NotLoggedIn(RequestRefused):
    """A page was asked for by somebody who has not logged in."""


def _unauthorized(summary: str, detail: str, challenge: str) -> RequestRefused:
    hint = "Send a token of `access.tokens` as `Authorization: Bearer TOKEN`."
    finding, headers = error_finding(summary, detail, hint), {"WWW-Authenticate": challenge}
    return RequestRefused(HTTPStatus.UNAUTHORIZED, finding, headers=headers)


def not_found(detail: str, hint: str = "") -> RequestRefused:
    finding = error_finding("Not found", detail, hint)
    return RequestRefused(HTTPStatus.NOT_FOUND, finding)


@frozen
class Visitor:
    """Who sends a request (None: nobody asks who, everybody may read), what they may read.

    `whole_store` has what they may not read, too: only to decide with. `settings` are those in use
    when they were let in, `now` is that moment as a wall-clock time.
    """

    person: Person | None
    settings: Controller
    store: RestrictedStore
    whole_store: ControllerStore
    loop: ControllerLoop
    request: Request
    now: float

    @property
    def identity(self) -> str:
        """`proxy:NAME`, `oidc:NAME` or `token:NAME`; "" where nobody asks who it is."""
        return self.person.identity if self.person else ""

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that they are in, sorted."""
        return tuple(sorted(self.person.groups)) if self.person else ()

    @property
    def has_session(self) -> bool:
        """Whether they have logged in here by a session, so that they can log out."""
        is_own = self.identity.startswith((OIDC_PREFIX, TOKEN_PREFIX))
        return is_own and has_sessions(self.request, self.settings)

    @property
    def parameters(self) -> Mapping[str, str]:
        return self.request.query_params

    @property
    def target(self) -> TargetName:
        """The target that the path names."""
        named = self.request.path_params
        return TargetName(named["source"], named["target"])

    @property
    def is_from_own_page(self) -> bool:
        """Whether the browser says in `Sec-Fetch-Site` that it comes from a page of ours."""
        return is_from_own_page(self.request)

    def read_own_notice(self, asked: Sequence[Verb]) -> str:
        """What they have just done by a form, as `done` of the address names it; "" for nothing.

        Nothing either where it is no redirect of a form: an address from elsewhere proves nothing.
        """
        if not self.identity or not self.is_from_own_page:
            return ""
        done = self.parameters.get("done")
        return next((verb.notice for verb in asked if verb.name == done), "")

    def list_rights(self, name: TargetName) -> frozenset[Right]:
        return list_rights(self.settings.access, self.person, name)

    def can_pause_scope(self, scope: str) -> bool:
        """Whether they may pause, and resume, every target that a pattern matches."""
        # One that matches is enough: a pattern of theirs has to cover the whole scope.
        page = self.whole_store.target_page(TargetFilter(patterns=(scope,)), 0, 1)
        names = [target.name for target in page.targets]
        return can_pause_scope(self.settings.access, self.person, scope, names)

    def can_approve_each(self, rows: Sequence[RolloutTargetRow]) -> bool:
        """Whether they may approve rows of each of these targets; of none nobody may."""
        return (
            self.person is not None
            and bool(rows)
            and all(Right.APPROVE in self.list_rights(row.target) for row in rows)
        )

    def require_pause_of_scope(self, scope: str) -> None:
        """Raise RequestRefused: not found where nothing that they may read matches the pattern."""
        if self.person is None or not self.can_pause_scope(scope):
            if self.person is None or self.store.has_readable_target(scope):
                raise self.right_refusal(Right.PAUSE, scope)
            raise not_found(
                f"No target that you may read matches {scope}.",
                "A pattern matches SOURCE/TARGET, as in the list of targets.",
            )

    def require_right_on(self, name: TargetName, right: Right) -> None:
        """Raise RequestRefused: not found for who may not even read the target."""
        if self.store.find_target(name) is None:
            raise not_found(f"No target {name} exists that you may read.")
        if right not in self.list_rights(name):
            raise self.right_refusal(right, str(name))

    def right_refusal(self, right: Right, scope: str) -> RequestRefused:
        """The refusal of somebody without a right; another text for who has no name at all."""
        if self.person is None:
            return forbidden(
                "This controller accepts no actions",
                "Without `access` in its configuration, the controller does not know who you are.",
                "Configure `access` in controller.yaml, and restart the controller.",
            )
        return forbidden(
            "Permission denied",
            f"{self.identity} does not have the `{right.value}` right for {scope}.",
            "Ask the person who maintains `access.may` in controller.yaml.",
        )


# Who asks: a person whom the proxy names, or a program with a token.
#
# The proxy's headers count with its secret alone, and a token counts in `Authorization` alone:
# never in an address, which logs and browsers keep.

_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)
_MAX_NAME_LENGTH, _MAX_GROUPS_LENGTH = 200, 32_768
_NAME_MARKS = frozenset("._@+-=~/\\:| ")


def identify_person(
    access: Access | None,
    secrets: AccessSecrets,
    headers: Headers,
    *,
    find_session_holder: Callable[[Access], Person | None] | None,
) -> Person | None:
    """Who sends a request with these headers; None without `access`, where all may read.

    `find_session_holder` tells who has logged in on the page; None for the API, which takes tokens
    instead. RequestRefused where the headers name nobody, or somebody without the proof of it.
    """
    if access is None:
        return None
    person = _proxy_person(access.proxy, secrets.proxy, headers) if access.proxy else None
    # Whom the proxy names is that person, whatever the proxy puts into `Authorization`.
    if person is None and find_session_holder is not None:
        person = find_session_holder(access)
    elif person is None:
        person = _token_holder(access, secrets, headers)
    if person is not None:
        return person
    if find_session_holder is None:
        raise _unauthorized(
            "You are not logged in",
            "The request has no token, and no proxy says who sent it.",
            "Bearer",
        )
    raise NotLoggedIn(
        HTTPStatus.FORBIDDEN,
        error_finding(
            "You are not logged in",
            "Only people listed in `access` can use this page.",
            "Open the page at its `public_url`, or at the address of the proxy, and log in there.",
        ),
    )


def _proxy_person(proxy: ProxyAccess, secret: Sensitive | None, headers: Headers) -> Person | None:
    """The person whom the proxy names; None where the request is not of the proxy, or of nobody."""
    headers_of_proxy = (proxy.secret_header, proxy.user_header, proxy.groups_header)
    values = {name: headers.getlist(name) for name in headers_of_proxy if name}
    if not any(values.values()):
        return None
    secret_values = values[proxy.secret_header]
    if secret is None or len(secret_values) != 1 or not is_equal_secret(secret_values[0], secret):
        raise forbidden(
            "The request does not come from the proxy",
            "It has headers that only the proxy may send, but not the secret of the proxy in "
            f"{proxy.secret_header}.",
            "Open the page at the address of the proxy, and configure the proxy to replace these "
            "headers.",
        )
    for name, given_values in values.items():
        if len(given_values) > 1:
            raise forbidden(
                "Duplicate header",
                f"The request has {name} more than once.",
                "Configure the proxy to replace this header instead of adding to it.",
            )
    user = _decode_header(next(iter(values[proxy.user_header]), ""))
    if not user:
        return None
    if not is_harmless_name(user):
        raise forbidden(
            "Invalid user name",
            f"{proxy.user_header} must be at most {_MAX_NAME_LENGTH} letters, digits and "
            "characters of email addresses.",
            "Configure the proxy to send a different attribute, such as the email address.",
        )
    groups = next(iter(values.get(proxy.groups_header, ())), "")
    if len(groups) > _MAX_GROUPS_LENGTH:
        raise forbidden(
            "Too many groups",
            f"{proxy.groups_header} has more than {_MAX_GROUPS_LENGTH:,} characters.",
            "Configure the proxy to send only the groups that `access.may` lists.",
        )
    # One with an odd name counts for nothing, as no rule names it.
    names = (group.strip(" \t") for group in _decode_header(groups).split(","))
    return Person(f"proxy:{user}", frozenset(filter(is_harmless_name, names)))


def _decode_header(value: str) -> str:
    """A header as UTF-8, without HTTP's blanks; U+FFFD, which no name has, where it is none.

    Other blanks are part of a name, which is refused: without them it would be another person's.
    """
    try:
        return value.encode("latin-1").decode("utf-8").strip(" \t")
    except UnicodeError:
        return "\ufffd"


def is_harmless_name(name: str) -> bool:
    """Whether a name is one spelling of itself, and can be shown, logged and compared."""
    return (
        0 < len(name) <= _MAX_NAME_LENGTH
        and "  " not in name
        and unicodedata.normalize("NFKC", name) == name
        and sanitize(name) == name
        and all(char in _NAME_MARKS or unicodedata.category(char)[0] in "LMN" for char in name)
    )


def _token_holder(access: Access, secrets: AccessSecrets, headers: Headers) -> Person | None:
    """Who has the bearer token; None without one. RequestRefused for one that nobody has."""
    values = headers.getlist("authorization")
    if not values:
        return None
    match = _BEARER.fullmatch(values[0].strip()) if len(values) == 1 else None
    holder = find_token_holder(access, secrets, match[1]) if match is not None else ""
    if not holder:
        raise _unauthorized(
            "Unknown token",
            "`access.tokens` does not contain the token in `Authorization`.",
            'Bearer error="invalid_token"',
        )
    return Person(f"{TOKEN_PREFIX}{holder}")


def find_token_holder(access: Access, secrets: AccessSecrets, token: str) -> str:
    """The name of who has a token; "" for one that nobody has."""
    # All are compared, so that the time says nothing about any of them.
    holders = [
        name
        for name, secret in secrets.tokens.items()
        if is_equal_secret(token, secret) and name in access.tokens
    ]
    return next(iter(holders), "")


def is_from_own_page(request: Request) -> bool:
    """Whether the browser says in `Sec-Fetch-Site` that it comes from a page of ours."""
    return request.headers.getlist("sec-fetch-site") == ["same-origin"]


def is_equal_secret(text: str, secret: Sensitive) -> bool:
    """Whether a text is the secret, told in constant time."""
    # Digests have one length, so that not even the secret's length can be told.
    texts = (text, str(secret.reveal()))
    return hmac.compare_digest(*(sha256(t.encode("utf-8", "replace")).digest() for t in texts))
