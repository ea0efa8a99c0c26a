"""How one request goes to a server that is to be told something, and what its failure means.

No redirect is followed, so that a credential reaches no other host; no word of a server is shown,
since it may repeat what it was sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any
from urllib.parse import SplitResult, urlsplit

from synapse_apply.client.http.environment import build_route_with_environment_proxies_and_tls
from synapse_apply.client.http.exchange import ExchangeLimits, HttpExchanger
from synapse_apply.client.http.pacing import Backoff, parse_retry_after
from synapse_apply.controller.ports import SendResult
from synapse_apply.controller.settings import HOUR, MINUTE
from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.json_types import JsonValue
from synapse_apply.model.json_values import OddJsonError, parse_strict_json
from synapse_apply.model.remote import HttpAnswer, HttpExchangeError, HttpFault, HttpRequest
from synapse_apply.model.secrets.secret_rules import is_loopback, spell_host
from synapse_apply.model.values import Sensitive

# One attempt: the loop tries again later, and what it counts is what the server was asked.
_LIMITS = ExchangeLimits(total_timeout=10.0, backoff=Backoff(max_repeats=0))
_HINTS = {
    HttpFault.UNREACHABLE: "Check the address, and the controller's network and proxy.",
    HttpFault.TIMEOUT: (
        "The controller retries automatically. Check whether the server is overloaded."
    ),
    HttpFault.UNTRUSTED: (
        "Set the controller's REQUESTS_CA_BUNDLE to the server's certificate authority."
    ),
    HttpFault.BROKEN: "Check whether a proxy in between changes the answers.",
    HttpFault.TOO_LARGE: "Check the address: another server may answer there.",
}


class UndeliveredError(Exception):
    """Something did not arrive, or not for sure; `result` is what its sender returns."""

    def __init__(self, result: SendResult, fault: HttpFault) -> None:
        super().__init__(result.finding.summary if result.finding else "")
        self.result = result
        self.fault = fault


class Receiver:
    """One server that is told something; `name` is what findings call it, never its URL's path."""

    def __init__(
        self, name: str, url: Sensitive, *, what_is_named: str, allow_plain_http: bool = False
    ) -> None:
        """InputError for a URL that cannot be used; `what_is_named` says which setting it is.

        Plain http goes to a loopback address, and elsewhere only where `allow_plain_http` is set.
        """
        self.name = name
        parts = _split_usable_url(url, what_is_named, allow_plain_http=allow_plain_http)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        origin = f"{parts.scheme}://{parts.netloc}"
        self._route = build_route_with_environment_proxies_and_tls(origin)

    def send_json_once(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes = b""
    ) -> HttpAnswer:
        """The answer of any status to one request below the URL; UndeliveredError without one."""
        base_path = self._path.rstrip("/") if path else self._path
        content_type = {"Content-Type": "application/json"} if body else {}
        request = HttpRequest(method, base_path + path, {**content_type, **headers}, body)
        # Statuses and messages are rare: a connection that was kept would mostly be dead by then.
        exchanger = HttpExchanger(self._route, _LIMITS)
        try:
            return exchanger.send_request(request)
        except HttpExchangeError as failure:
            finding = error_finding(
                f"{self.name} cannot be reached", failure.reason, _HINTS[failure.fault]
            )
            undelivered = UndeliveredError(SendResult(finding), failure.fault)
        finally:
            exchanger.close()
        # Outside of the handler, so that no exception of a library is chained to it.
        raise undelivered


def read_retry_after(
    answer: HttpAnswer, wall_clock: Callable[[], float], status: int
) -> float | None:
    """For how many seconds an answer asks to wait, an hour at most; None where it does not say.

    A minute for a `status` that limits how often it is asked.
    """
    seconds = parse_retry_after(answer.headers.get("retry-after"), wall_clock)
    if seconds is None:
        return MINUTE if status == HTTPStatus.TOO_MANY_REQUESTS else None
    return min(seconds, HOUR)


def parse_json_answer(answer: HttpAnswer) -> JsonValue:
    """The JSON value of an answer, None for a body that is not JSON."""
    try:
        return parse_strict_json(answer.body)
    except OddJsonError:
        return None


def encode_compact_json(value: Any) -> bytes:
    """The JSON text of a value in UTF-8, without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def reveal_header_value(secret: Sensitive, what_is_named: str) -> str:
    """A secret as the value of a header; InputError for one that none can have."""
    value = secret.reveal()
    is_usable = isinstance(value, str) and value.isascii() and value.isprintable()
    if is_usable and value and " " not in value:
        return str(value)
    raise InputError.from_summary(
        "Invalid token",
        f"{what_is_named} is empty, or has characters that a token cannot have.",
        "Check the variable or file for a second line or a space.",
    )


def _split_usable_url(url: Sensitive, what_is_named: str, *, allow_plain_http: bool) -> SplitResult:
    text, parts, host = url.reveal(), None, ""
    with suppress(ValueError, AttributeError, TypeError):
        parts = urlsplit(str(text))
        host, _ = spell_host(parts.hostname or ""), parts.port
    if parts is None or not host or parts.scheme not in {"http", "https"}:
        problem = "is not an http or https URL"
    elif not text.isascii() or not text.isprintable() or any(c in text for c in ' "<>\\^`{|}'):
        problem = "has characters that a URL cannot have"
    elif "@" in parts.netloc or parts.fragment or ".." in parts.path.split("/"):
        problem = "contains a user name, a fragment or `..`"
    elif parts.scheme == "http" and not (allow_plain_http or is_loopback(host)):
        problem = "is plain http, so others on the network can read what the controller sends"
    else:
        return parts
    raise InputError.from_summary(
        "Invalid URL", f"{what_is_named} {problem}.", "Write it as https://HOST/PATH."
    )
