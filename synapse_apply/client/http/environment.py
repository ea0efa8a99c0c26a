"""By which base URL, proxies and CA bundle a backend is reached, and where a redirect leads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import requests.utils

from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.secrets.proxies import needs_no_proxy
from synapse_apply.model.secrets.secret_rules import have_same_origin, spell_host

_SCHEMES = frozenset({"http", "https"})
_BUNDLE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


@frozen
class BackendRoute:
    """How a backend is reached; `base_url` ends in '/'.

    `proxies` is URL by scheme; `verify` is True, False or the path of a CA bundle (as in requests).
    """

    base_url: str
    proxies: Mapping[str, str]
    verify: bool | str

    def may_get_token(self, url: str) -> bool:
        """Whether a URL has the base URL's scheme, host and port, and so may get the token."""
        return have_same_origin(url, self.base_url)


def build_route_with_environment_proxies_and_tls(
    base_url: str, verify: bool | str | None = None
) -> BackendRoute:
    """The route to a backend, with proxies and CA bundle taken from the environment.

    `verify` None means the bundle of REQUESTS_CA_BUNDLE, CURL_CA_BUNDLE or SSL_CERT_FILE, else
    requests' own.
    InputError for a URL that cannot be a backend's, or a bundle that does not exist.
    """
    base = _normalize_base_url(base_url)
    proxies = environment_proxies(base)
    # `verify` as requests takes it, None from the environment; InputError for a missing bundle.
    if verify is None:
        names = (name for name in _BUNDLE_VARIABLES if os.environ.get(name))
        verify = next((os.environ[name] for name in names), True)
    if isinstance(verify, str) and not Path(verify).exists():
        raise InputError.from_summary(
            "The CA bundle does not exist",
            f"There is no file or folder {verify}.",
            f"see {', '.join(_BUNDLE_VARIABLES)} in the environment",
        )
    return BackendRoute(base, proxies, verify)


def environment_proxies(url: str) -> dict[str, Any]:
    """The proxies of the environment for a URL, by scheme; none for this machine."""
    if needs_no_proxy(url):
        return {}
    return requests.utils.get_environ_proxies(url, None)


def _normalize_base_url(base_url: str) -> str:
    """The URL without blanks around it, with one '/' at its end; InputError if it is unusable."""
    text = str(base_url).strip()
    hint = "write it as https://HOST or https://HOST/PREFIX"
    try:
        parts = urlsplit(text)
        is_usable = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or not text.isascii() or not text.isprintable() or " " in text:
        raise InputError.from_summary(
            "The backend's URL cannot be used", "It is not an http(s) URL.", hint
        )
    try:
        spell_host(str(parts.hostname))
    except ValueError:
        # Percent codes in it would be resolved on the way: it would be another host.
        detail = "Its host must be a name, or an IP address without a zone."
        raise InputError.from_summary("The backend's URL cannot be used", detail, hint) from None
    if "@" in parts.netloc:
        detail = "It contains a user name or password."
        raise InputError.from_summary(
            "The backend's URL cannot be used", detail, "use a token instead"
        )
    segments = unquote(parts.path).split("/")
    if parts.query or parts.fragment or any(segment in {".", ".."} for segment in segments):
        detail = "It has a query, a fragment or dots in its path."
        raise InputError.from_summary("The backend's URL cannot be used", detail, hint)
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/"


def join_url(base: str, location: str) -> str:
    """The absolute URL of a Location header relative to `base`; "" if it is not a URL."""
    try:
        return urljoin(base, location)
    except ValueError:
        return ""


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL, "" if it has none: the rest may quote the request."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else ""
