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
from synapse_apply.controller.ports import TargetFilter
from synapse_apply.controller.rows import TargetName
from synapse_apply.controller.rules.access import (
    Person,
    can_pause_scope,
    list_readable_patterns,
    list_rights,
)
from synapse_apply.controller.settings import Access, ProxyAccess, Right
from synapse_apply.controller.store.controller_store import ControllerStore
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.frozen import frozen
from synapse_apply.model.values import Sensitive
from synapse_apply.views.sanitize import sanitize

API_PREFIX = "/api/v1/"


@frozen
class Visitor:
    """Who asks (None: nobody asks who, everybody may read), and what of the store they may read.

    `whole_store` has what they may not read, too: only to decide with.
    """

    person: Person | None
    access: Access | None
    store: RestrictedStore
    whole_store: ControllerStore

    @property
    def identity(self) -> str:
        """`proxy:NAME` or `token:NAME`; "" where nobody asks who it is."""
        return self.person.identity if self.person else ""

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups that they are in, sorted."""
        return tuple(sorted(self.person.groups)) if self.person else ()

    def list_rights(self, name: TargetName) -> frozenset[Right]:
        return list_rights(self.access, self.person, name)

    def can_pause_scope(self, scope: str) -> bool:
        """Whether they may pause, and resume, every target that a pattern matches."""
        # One that matches is enough: a pattern of theirs has to cover the whole scope.
        page = self.whole_store.read_page_of_present_targets(TargetFilter(patterns=(scope,)), 0, 1)
        names = [target.name for target in page.targets]
        return can_pause_scope(self.access, self.person, scope, names)

    def scope_refusal(self, right: Right, scope: str) -> RequestRefused:
        """The refusal of a pattern: not found where nothing that they may read matches it."""
        if self.person is None or self.store.has_readable_target(scope):
            return build_right_refusal(right, scope, self)
        return RequestRefused.from_words(
            HTTPStatus.NOT_FOUND,
            "Nothing is known by this name",
            f"No target that you may read matches {scope}.",
            "A pattern is for SOURCE/TARGET, as the list of targets has it.",
        )

    def require_right_on(self, name: TargetName, right: Right) -> None:
        """Raise RequestRefused: not found for who may not even read the target."""
        if self.store.find_target_even_if_gone(name) is None:
            raise RequestRefused.from_words(
                HTTPStatus.NOT_FOUND,
                "Nothing is known by this name",
                f"There is no target {name} that you may read.",
            )
        if right not in self.list_rights(name):
            raise build_right_refusal(right, str(name), self)


def build_right_refusal(right: Right, scope: str, visitor: Visitor) -> RequestRefused:
    """The refusal of somebody without a right; another text for who has no name at all."""
    if visitor.person is None:
        return RequestRefused.from_words(
            HTTPStatus.FORBIDDEN,
            "Nobody may do anything here",
            "The controller does not know who asks: its configuration has no `access`.",
            "Set `access` in controller.yaml, and restart the controller.",
        )
    return RequestRefused.from_words(
        HTTPStatus.FORBIDDEN,
        "No right to do this",
        f"{visitor.identity} has no rule with `{right.value}` for {scope}.",
        "Ask whoever writes `access.may` of controller.yaml.",
    )


class Doorkeeper:
    """Says of each request who sends it."""

    def __init__(
        self,
        store: ControllerStore,
        loop: ControllerLoop,
        read_secrets: Callable[[], AccessSecrets],
    ) -> None:
        """`read_secrets` gives the secrets of the configuration in use, at each request."""
        self._store = store
        self._loop = loop
        self._read_secrets = read_secrets

    def admit_visitor(self, request: Request) -> Visitor:
        """Who sends a request. RequestRefused for nobody, where the configuration has `access`."""
        access = self._loop.get_settings().access
        is_api = request.url.path.startswith(API_PREFIX)
        person = identify_person(access, self._read_secrets(), request.headers, is_api=is_api)
        patterns = list_readable_patterns(access, person)
        return Visitor(person, access, RestrictedStore(self._store, patterns), self._store)


# Who asks: a person whom the proxy names, or a program with a token.
#
# The proxy's headers count with its secret alone, and a token counts in `Authorization` alone:
# never in an address, which logs and browsers keep.

_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)
_MAX_NAME_LENGTH, _MAX_GROUPS_LENGTH = 200, 32_768
_NAME_MARKS = frozenset("._@+-=~/\\:| ")


def identify_person(
    access: Access | None, secrets: AccessSecrets, headers: Headers, *, is_api: bool
) -> Person | None:
    """Who sends a request with these headers; None without `access`, where all may read.

    RequestRefused where the headers name nobody, or somebody without the proof of it.
    """
    if access is None:
        return None
    person = _proxy_person(access.proxy, secrets.proxy, headers) if access.proxy else None
    # Whom the proxy names is that person, whatever the proxy puts into `Authorization`.
    if person is None and is_api:
        person = _token_holder(access, secrets, headers)
    if person is not None:
        return person
    if is_api:
        raise RequestRefused(
            HTTPStatus.UNAUTHORIZED,
            *RequestRefused.from_words(
                HTTPStatus.UNAUTHORIZED,
                "Nobody is logged in",
                "The request has no token, and no proxy says whose it is.",
                "Send one of `access.tokens` as `Authorization: Bearer TOKEN`.",
            ).findings,
            headers={"WWW-Authenticate": "Bearer"},
        )
    raise RequestRefused.from_words(
        HTTPStatus.FORBIDDEN,
        "Nobody is logged in",
        "Pages are for people whom the proxy of `access` has logged in; tokens are for /api/v1.",
        "Open the page at the address of the proxy.",
    )


def _proxy_person(proxy: ProxyAccess, secret: Sensitive | None, headers: Headers) -> Person | None:
    """The person whom the proxy names; None where the request is not of the proxy, or of nobody."""
    names = (proxy.secret_header, proxy.user_header, proxy.groups_header)
    values = {name: headers.getlist(name) for name in names if name}
    if not any(values.values()):
        return None
    secret_values = values[proxy.secret_header]
    is_genuine = (
        secret is not None and len(secret_values) == 1 and is_equal_secret(secret_values[0], secret)
    )
    if not is_genuine:
        raise RequestRefused.from_words(
            HTTPStatus.FORBIDDEN,
            "Not sent by the proxy",
            f"The request has headers that only the proxy may send, and not its secret in "
            f"{proxy.secret_header}.",
            "Open the page at the address of the proxy, and have the proxy replace these headers.",
        )
    for name, given_values in values.items():
        if len(given_values) > 1:
            raise RequestRefused.from_words(
                HTTPStatus.FORBIDDEN,
                "A header was sent twice",
                f"{name} says who it is only once.",
                "Have the proxy replace this header, not add to it.",
            )
    user = _decode_header(next(iter(values[proxy.user_header]), ""))
    if not user:
        return None
    if not _is_harmless_name(user):
        raise RequestRefused.from_words(
            HTTPStatus.FORBIDDEN,
            "The name of the person cannot be used",
            f"{proxy.user_header} has at most {_MAX_NAME_LENGTH} letters, digits and marks as in "
            "addresses of mail.",
            "Have the proxy send another attribute, such as the address of mail.",
        )
    groups = next(iter(values.get(proxy.groups_header, ())), "")
    return Person(f"proxy:{user}", _parse_groups(groups, proxy.groups_header))


def _parse_groups(text: str, header: str) -> frozenset[str]:
    """The groups of a header; one with an odd name counts for nothing, as no rule names it."""
    if len(text) > _MAX_GROUPS_LENGTH:
        raise RequestRefused.from_words(
            HTTPStatus.FORBIDDEN,
            "Too many groups",
            f"{header} has more than {_MAX_GROUPS_LENGTH:,} characters.",
            "Have the proxy send only the groups that `access.may` names.",
        )
    groups = (group.strip() for group in _decode_header(text).split(","))
    return frozenset(group for group in groups if _is_harmless_name(group))


def _decode_header(value: str) -> str:
    """A header as UTF-8, stripped; U+FFFD, which no name has, for one that is no UTF-8."""
    try:
        return value.encode("latin-1").decode("utf-8").strip()
    except UnicodeError:
        return "\ufffd"


def _is_harmless_name(name: str) -> bool:
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
    holders: Sequence[str] = ()
    if match is not None:
        # All are compared, so that the time says nothing about any of them.
        holders = [
            name
            for name, secret in secrets.tokens.items()
            if is_equal_secret(match[1], secret) and name in access.tokens
        ]
    if not holders:
        raise RequestRefused(
            HTTPStatus.UNAUTHORIZED,
            *RequestRefused.from_words(
                HTTPStatus.UNAUTHORIZED,
                "The token is not one of this controller's",
                "`Authorization` has no token of `access.tokens`.",
                "Send one of them as `Authorization: Bearer TOKEN`.",
            ).findings,
            headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
        )
    return Person(f"token:{holders[0]}", frozenset())


def is_equal_secret(text: str, secret: Sensitive) -> bool:
    """Whether a text is the secret, told in constant time."""
    # Digests have one length, so that not even the secret's length can be told.
    return hmac.compare_digest(_digest(text), _digest(str(secret.reveal())))


def _digest(text: str) -> bytes:
    return sha256(text.encode("utf-8", "replace")).digest()


class RequestRefused(Exception):
    """A request that is not done. `findings` say why, `headers` go with the answer."""

    def __init__(
        self, status: HTTPStatus, *findings: Diagnostic, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__("; ".join(finding.summary for finding in findings))
        self.status = status
        self.findings = findings
        self.headers = headers or {}

    @classmethod
    def from_words(
        cls, status: HTTPStatus, summary: str, detail: str = "", hint: str = ""
    ) -> RequestRefused:
        """A refusal for one reason."""
        return cls(status, error_finding(summary, detail, hint))
