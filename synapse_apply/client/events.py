"""What an observer of calls learns: metadata of each attempt, never a body and never a token."""

from __future__ import annotations

from collections.abc import Callable

from synapse_apply.model.frozen import frozen


@frozen
class RequestEvent:
    """One attempt of one call, reported when it has ended.

    `path` has no query and no agent token; `status` is 0 without an answer; `seconds` is the
    duration; `failure` is the name of the error class; `attempt` starts at 1. `started_at` is the
    start by this machine's clock, `server_date` the answer's Date header (None without one), both
    in seconds since the epoch.
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
# Called at every 429 with the seconds of Retry-After, None if the server sent none.
OnRateLimit = Callable[[float | None], None]
