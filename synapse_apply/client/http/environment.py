"""Where calls go and through what: base URL, proxies and CA bundle, resolved once."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests.utils

from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.secrets.login import have_same_origin

_SCHEMES = frozenset({"http", "https"})


@frozen
class BackendRoute:
    """`base_url` ends in '/'.

    `verify` is True, False or a CA bundle's path, as requests takes it.
    """

    base_url: str
    proxies: Mapping[str, str]
    verify: bool | str

    def is_same_origin(self, url: str) -> bool:
        """Whether a URL is on the origin that may have the token."""
        return have_same_origin(url, self.base_url)


def build_route(base_url: str, verify: bool | str | None = None) -> BackendRoute:
    """The route to a backend, with the environment's proxies and CA bundle.

    `verify` None: what REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names, else requests' own bundle.
    InputError for a URL that cannot be one of a backend, or a bundle that is not there.
    """
    base = _normalize_base_url(base_url)
    is_local = is_loopback(urlsplit(base).hostname or "")
    # A proxy cannot reach this machine's loopback, so asking one would only fail.
    proxies: dict[str, Any] = {} if is_local else requests.utils.get_environ_proxies(base, None)
    return BackendRoute(base, proxies, _resolve_tls_verification(verify))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine's loopback."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _normalize_base_url(base_url: str) -> str:
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
    if "@" in parts.netloc:
        detail = "It has a user name or password in it."
        raise InputError.from_summary(
            "The backend's URL cannot be used", detail, "give the token instead"
        )
    if parts.query or parts.fragment or any(p in {".", ".."} for p in parts.path.split("/")):
        detail = "It has a query, a fragment or dots in its path."
        raise InputError.from_summary("The backend's URL cannot be used", detail, hint)
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/"


def _resolve_tls_verification(verify: bool | str | None) -> bool | str:
    if verify is None:
        verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
    if isinstance(verify, str) and not Path(verify).exists():
        raise InputError.from_summary(
            "The CA bundle is not there",
            f"There is no file or folder {verify}.",
            "see REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE in the environment",
        )
    return verify
