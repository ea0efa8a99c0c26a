"""`BackendClient`: how its arguments become limits, credentials and one transport."""

from __future__ import annotations

import copy
import os
import random
import time
from collections.abc import Callable
from typing import Self

from synapse_apply.client.calls import OnRateLimit, OnRequest
from synapse_apply.client.dialects import V1, V2
from synapse_apply.client.http.environment import build_route_with_environment_proxies_and_tls
from synapse_apply.client.http.pacing import Backoff, Clock, Limits
from synapse_apply.client.http.transport import Options, Transport
from synapse_apply.client.integration import IntegrationClientMixin
from synapse_apply.client.platform import PlatformV2
from synapse_apply.model.errors import InputError
from synapse_apply.model.redaction import Redactor
from synapse_apply.model.secrets.proxies import proxy_logins


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
        max_answer_size: int = 16 * 1024 * 1024,
        max_pages: int = 10_000,
        on_request: OnRequest | None = None,
        on_rate_limit: OnRateLimit | None = None,
        clock: Clock = time.monotonic,
        now: Clock = time.time,
        sleep: Callable[[float], None] | None = None,
        jitter: Callable[[], float] = random.random,
        refusal: Callable[[], str] = lambda: "",
        mutation_refusal: Callable[[], str] = lambda: "",
        redactor: Redactor | None = None,
        trace_parent: str = "",
    ) -> None:
        """Nothing is sent yet. InputError for a URL or a token that cannot be used.

        `api_token` and `access_token` are two names for the same token. Timeouts are seconds;
        `total_timeout` bounds one call with its retries, and an upload gets `size / upload_rate`
        (bytes per second) in addition: see `max_call_seconds`. A streamed log has no total time;
        it ends when nothing arrives for `idle_timeout`. `retries` is the number of retries of a
        read; a call that changes the server is retried only if no byte was sent, or if it was
        answered 429 (unless `resend_rate_limited` is off). `verify` is True, False or the path of
        a CA bundle. `refusal` is called before bytes leave: a text other than "" is the reason
        why they must not; `mutation_refusal` the same before the first byte of a call that changes
        the server. `redactor` masks the secrets it knows in answers; the tokens and the logins of
        the environment's proxies are added. `trace_parent` is the header `traceparent` of each
        call ("" for none).
        """
        timeouts = (connect_timeout, read_timeout, total_timeout, upload_rate)
        self._limits = Limits(*timeouts, max_answer_size, max_pages, idle_timeout)
        # The one token that is given under either name; InputError for two different ones.
        tokens = (
            _require_sendable("api_token", api_token),
            _require_sendable("access_token", access_token),
        )
        if all(tokens) and tokens[0] != tokens[1]:
            raise InputError.from_summary(
                "Two different tokens are set",
                "api_token and access_token are two names for the same setting.",
                "give only one of them",
            )
        credentials = {
            "token": tokens[0] or tokens[1],
            "tenant": _require_sendable("tenant", tenant),
            "agent_token": _require_sendable("agent_token", agent_token),
        }
        redactor = redactor or Redactor()
        for name in ("token", "agent_token"):
            redactor.mask_from_now_on(credentials[name])
        redactor.mask_from_now_on(list(proxy_logins(os.environ)))
        options = Options(
            self._limits, Backoff(max(0, retries), jitter=jitter), clock, now, sleep,
            resend_rate_limited, pool_size, on_request, on_rate_limit, refusal,
            mutation_refusal, redactor, trace_parent,
        )  # fmt: skip
        route = build_route_with_environment_proxies_and_tls(base_url, verify)
        self.base_url = route.base_url
        # It is sent with each call; "" if the token alone tells the server.
        self.tenant = credentials["tenant"]
        headers = {
            dialect.api_version: {
                header: dialect.auth_prefix + credentials[name]
                for name, header in dialect.auth_headers.items()
                if credentials[name]
            }
            for dialect in (V1, V2)
        }
        self._transport = Transport(route, headers, options)

    @property
    def v2(self) -> PlatformV2:
        """The operations of API v2, over the same connections."""
        return PlatformV2(self._transport, is_dry_run=self.is_dry_run)

    @property
    def dry_run(self) -> Self:
        """A client over the same connections that cannot change the server.

        Its mutating calls are dry runs where the API has them (v2), else they raise Invalid.
        """
        client = copy.copy(self)
        client.is_dry_run = True
        return client

    def max_call_seconds(self, upload_size: int = 0) -> float:
        """The upper bound, in seconds, of one call with an upload of `upload_size` bytes."""
        return self._limits.timeout_with_upload(upload_size)

    def hang_up(self, reason: str) -> None:
        """Abort running calls; every later call fails with CallEnded and this `reason`.

        May be called from another thread or a signal handler.
        """
        self._transport.hang_up(reason)

    def close(self) -> None:
        """Abort running calls and close the connections; later calls fail."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"BackendClient({self.base_url!r})"


def _require_sendable(name: str, value: str | None) -> str:
    """The credential without blanks around it and without a `Token ` prefix; "" for none.

    InputError for characters that a header cannot carry.
    """
    text = str(value or "").strip().removeprefix("Token ").strip()
    if not text.isascii() or not text.isprintable() or " " in text:
        detail = f"{name} contains blanks, line breaks or non-ASCII characters."
        raise InputError.from_summary(
            "The credentials cannot be sent", detail, "check the source of the credentials"
        )
    return text
