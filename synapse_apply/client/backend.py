"""BackendClient: one backend, one token, all its operations."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from synapse_apply.client.dialects import v1, v2
from synapse_apply.client.dialects.dialect import Credentials
from synapse_apply.client.dry_run_clients import DryRunV1
from synapse_apply.client.events import OnRateLimit, OnRequest
from synapse_apply.client.http.deadlines import Backoff, Clock, Limits
from synapse_apply.client.http.environment import build_route
from synapse_apply.client.http.options import Options, TransportTiming
from synapse_apply.client.http.redaction import Redactor
from synapse_apply.client.http.transport import Transport
from synapse_apply.client.integration import IntegrationClientMixin
from synapse_apply.client.platform import PlatformV2
from synapse_apply.model.errors import InputError
from synapse_apply.model.ports import Api


class BackendClient(IntegrationClientMixin):
    """A client of one Synapse backend; safe for many threads, a context manager.

    Its own operations are those of API v1, `v2` has those of API v2.

    >>> with BackendClient("https://api.synapse.sh", api_token="...") as client:
    ...     plugin = client.get_plugin(123)
    """

    def __init__(
        self,
        base_url: str,
        api_token: str | None = None,
        *,
        access_token: str | None = None,
        tenant: str | None = None,
        agent_token: str | None = None,
        connect_timeout: float = 5.0,
        read_timeout: float = 15.0,
        total_timeout: float = 60.0,
        idle_timeout: float = 60.0,
        upload_rate: float = 256 * 1024,
        retries: int = 3,
        resend_rate_limited: bool = True,
        verify: bool | str | None = None,
        pool_size: int = 32,
        max_answer_size: int = 64 * 1024 * 1024,
        max_pages: int = 10_000,
        on_request: OnRequest | None = None,
        on_rate_limit: OnRateLimit | None = None,
        clock: Clock = time.monotonic,
        now: Clock = time.time,
        sleep: Callable[[float], None] | None = None,
        jitter: Callable[[], float] = random.random,
        refusal: Callable[[], str] = lambda: "",
        redactor: Redactor | None = None,
    ) -> None:
        """Nothing is sent yet. InputError for a URL or a token that cannot be used.

        `api_token` and `access_token` are two names of one thing. Timeouts are seconds;
        `total_timeout` bounds a whole call, its repeats included, and an upload gets `size /
        upload_rate` (bytes per second) more: see `max_call_seconds`. A log that is taken as it
        arrives ends when nothing comes for `idle_timeout` instead. `retries` are repeats of reads;
        what changes the server is repeated only when it was not sent, or was answered 429 (unless
        `resend_rate_limited` is off). `verify` is True, False or a CA bundle's path. `refusal` is
        asked before bytes leave; what it gives, unless "", is why they must not. `redactor` masks
        the secrets it knows in what the server says; tokens are added to it.
        """
        timeouts = (connect_timeout, read_timeout, total_timeout, upload_rate)
        self._limits = Limits(*timeouts, max_answer_size, max_pages, idle_timeout)
        credentials = _build_credentials(
            _require_single_token(api_token, access_token), tenant, agent_token
        )
        redactor = redactor or Redactor()
        for token in (credentials.token, credentials.agent_token):
            redactor.add_secret(token)
        options = Options(
            self._limits, Backoff(max(0, retries), jitter=jitter),
            TransportTiming(clock, now, sleep),
            resend_rate_limited, pool_size, on_request, on_rate_limit, refusal,
            redactor,
        )  # fmt: skip
        route = build_route(base_url, verify)
        self.base_url = route.base_url
        self._tenant = credentials.tenant or ""
        self._transport = Transport(route, _build_auth_headers(credentials), options)

    @property
    def tenant(self) -> str:
        """Whose objects are meant, "" where the server knows by the token."""
        return self._tenant

    @property
    def v2(self) -> PlatformV2:
        """The operations of API v2, over the same connections."""
        return PlatformV2(self._transport)

    @property
    def dry_run(self) -> Api:
        """The same, unable to act: what changes the server is a dry run, or is not sent."""
        return DryRunV1(self._transport, self.tenant)

    def max_call_seconds(self, upload_size: int = 0) -> float:
        """Seconds after which a call has surely ended, one way or the other."""
        return self._limits.compute_call_timeout(upload_size)

    def hang_up(self, reason: str) -> None:
        """End calls under way without their answers; from now on calls fail, saying `reason`.

        May be called from another thread or a signal handler.
        """
        self._transport.hang_up(reason)

    def close(self) -> None:
        """Close the connections; calls under way end, and calls fail from now on."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"BackendClient({self.base_url!r})"


def _build_credentials(
    token: str | None, tenant: str | None, agent_token: str | None
) -> Credentials:
    return Credentials(
        token,
        _normalize_credential("tenant", tenant),
        _normalize_credential("agent_token", agent_token),
    )


def _build_auth_headers(credentials: Credentials) -> dict[str, dict[str, str]]:
    return {
        dialect.api_version: dialect.build_auth_headers(credentials)
        for dialect in (v1.DIALECT, v2.DIALECT)
    }


def _normalize_credential(name: str, value: str | None) -> str | None:
    """The credential as a header can carry it, without the prefix some write before it."""
    if value is None:
        return None
    text = str(value).strip().removeprefix("Token ").strip()
    if not text.isascii() or not text.isprintable() or " " in text:
        detail = f"{name} has blanks, line breaks or characters that are not ASCII in it."
        raise InputError.from_summary(
            "The credentials cannot be sent", detail, "check where they come from"
        )
    return text or None


def _require_single_token(api_token: str | None, access_token: str | None) -> str | None:
    api_token, access_token = (
        _normalize_credential("api_token", api_token),
        _normalize_credential("access_token", access_token),
    )
    if api_token and access_token and api_token != access_token:
        raise InputError.from_summary(
            "Two different tokens are given",
            "api_token and access_token are two names of one thing.",
            "give one of them",
        )
    return api_token or access_token
