"""Whether a browser sends a form from a page of our own, and not from another site's."""

from __future__ import annotations

from collections.abc import Collection
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from synapse_apply.controller.page.entry.guard import DEFAULT_PORTS
from synapse_apply.controller.page.entry.refusals import RequestRefused


def list_own_origins(own_hosts: Collection[str], public_url: str) -> frozenset[str]:
    """The values of `Origin` that pages of ours have; `own_hosts` are reached without TLS."""
    origins = {f"http://{host}" for host in own_hosts}
    parts = urlsplit(public_url)
    if not parts.hostname:
        return frozenset(origins)
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    # Browsers leave out the port of the scheme.
    port = f":{parts.port}" if parts.port not in {None, DEFAULT_PORTS.get(parts.scheme)} else ""
    return frozenset(origins | {f"{parts.scheme}://{name}{port}"})


def require_own_origin(headers: Headers, own_origins: Collection[str]) -> None:
    """Raise RequestRefused unless the browser says that a page of ours sends the request.

    Browsers say it in `Origin`, and over TLS and loopback in `Sec-Fetch-Site`; no page can change
    either. A request with neither is of no browser, or of one that is too old.
    """
    sites, origins = headers.getlist("sec-fetch-site"), headers.getlist("origin")
    is_own_site = sites == ["same-origin"]
    is_own_origin = len(origins) == 1 and origins[0].lower() in own_origins
    # Without a referrer some browsers say `null` for a page of ours, too.
    has_no_origin = origins in ([], ["null"])
    is_ours = (is_own_origin and (is_own_site or not sites)) or (is_own_site and has_no_origin)
    if not is_ours:
        raise RequestRefused.from_words(
            HTTPStatus.FORBIDDEN,
            "Not sent by a page of this controller",
            "The browser does not say that the form was on one of its pages. Nothing was done.",
            "Open the controller's page at its `public_url`, and send the form from there.",
        )
