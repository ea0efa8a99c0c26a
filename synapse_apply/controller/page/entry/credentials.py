"""Who asks: a person whom the proxy names, or a program with a token.

The proxy's headers count with its secret alone, and a token counts in `Authorization` alone: never
in an address, which logs and browsers keep.
"""

from __future__ import annotations

import hmac
import re
import unicodedata
from collections.abc import Sequence
from hashlib import sha256
from http import HTTPStatus

from starlette.datastructures import Headers

from synapse_apply.controller.configuration.secrets import AccessSecrets
from synapse_apply.controller.page.entry.refusals import RequestRefused
from synapse_apply.controller.rules.access import Person
from synapse_apply.controller.settings import Access, ProxyAccess
from synapse_apply.model.values import Sensitive
from synapse_apply.views.sanitize import sanitize

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
