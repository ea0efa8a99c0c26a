"""How calls are sent, as whoever makes a client chooses."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import field

from synapse_apply.client.events import OnRateLimit, OnRequest
from synapse_apply.client.http.deadlines import Backoff, Clock, Limits
from synapse_apply.client.http.redaction import Redactor
from synapse_apply.model.frozen import frozen


@frozen
class TransportTiming:
    """Time as the transport sees it; tests bring their own.

    Without a `sleep` it waits in slices, so that who hangs up is not kept waiting.
    """

    clock: Clock = time.monotonic
    now: Clock = time.time
    sleep: Callable[[float], None] | None = None


@frozen
class Options:
    """How calls are sent. `resend_rate_limited`: a 429, which was not acted on, is sent again.

    `find_refusal` gives why nothing may be sent any more, "" while it may. `redactor` takes secrets
    out of what a server says.
    """

    limits: Limits = field(default_factory=Limits)
    backoff: Backoff = field(default_factory=Backoff)
    timing: TransportTiming = field(default_factory=TransportTiming)
    resend_rate_limited: bool = True
    max_connections: int = 32
    on_request: OnRequest | None = None
    on_rate_limit: OnRateLimit | None = None
    find_refusal: Callable[[], str] = lambda: ""
    redactor: Redactor = field(default_factory=Redactor)
