"""What observers are told about a call: never a value of a body, never a token."""

from __future__ import annotations

from collections.abc import Callable

from synapse_apply.model.frozen import frozen


@frozen
class RequestEvent:
    """One attempt of one call, reported when it has ended.

    `path` has no query and no agent token; `status` is 0 without an answer; `failure` names the
    error class; `attempt` starts at 1. `started_at` is when it began by this machine's clock,
    `server_date` what the server's clock said while it lasted (its Date header, None without
    one); both in seconds since the epoch.
    """

    method: str
    path: str
    status: int
    seconds: float
    request_id: str | None
    attempt: int
    mutates: bool
    failure: str | None = None
    started_at: float = 0.0
    server_date: float | None = None


OnRequest = Callable[[RequestEvent], None]
# Told the seconds of Retry-After (None when the server gave none) at every 429.
OnRateLimit = Callable[[float | None], None]
