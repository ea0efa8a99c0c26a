"""Which choices the creator of a client has about how its calls are sent."""

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
    """The clocks of the transport: `clock` is monotonic, `now` in seconds since the epoch.

    Without a `sleep` the transport waits in short slices, so that `hang_up` ends a wait soon.
    """

    clock: Clock = time.monotonic
    now: Clock = time.time
    sleep: Callable[[float], None] | None = None


@frozen
class Options:
    """How calls are sent. `resend_rate_limited`: a call answered 429 is sent again, even a POST.

    `find_refusal` gives the reason why nothing may be sent any more, "" while calls may be sent;
    `find_mutation_refusal` why no call that changes the server may begin.
    `redactor` masks secrets in answers. `trace_parent` is sent as `traceparent`.
    """

    limits: Limits = field(default_factory=Limits)
    backoff: Backoff = field(default_factory=Backoff)
    timing: TransportTiming = field(default_factory=TransportTiming)
    resend_rate_limited: bool = True
    max_connections: int = 32
    on_request: OnRequest | None = None
    on_rate_limit: OnRateLimit | None = None
    find_refusal: Callable[[], str] = lambda: ""
    find_mutation_refusal: Callable[[], str] = lambda: ""
    redactor: Redactor = field(default_factory=Redactor)
    trace_parent: str = ""
