"""429 and Retry-After: waited for, capped, reported."""

from __future__ import annotations

import pytest
from unit.client.scripted import answer

from synapse_apply.client.http.pacing import Backoff, parse_retry_after
from synapse_apply.model.errors import Effect, RateLimited


def test_retry_after_is_capped(server, connect, waits):
    """A server cannot make a call wait for an hour."""
    server.then(answer(503, Retry_After="3600"))
    connect(server, total_timeout=100).get_plugin(1)
    assert waits == [60.0]


def test_writes_are_not_sent_again_when_asked_so(server, connect, waits):
    """The caller may want the 429 itself."""
    server.then(answer(429, {"detail": "slow down"}, Retry_After="7"))
    with pytest.raises(RateLimited, match="slow down") as caught:
        connect(server, resend_rate_limited=False).create_plugin({})
    assert (caught.value.retry_after, caught.value.effect, waits) == (7.0, Effect.NONE, [])
    assert isinstance(caught.value, RateLimited)


def test_a_health_check_is_not_sent_again(server, client, waits):
    """It is a POST to a machine of somebody's: once, whatever is answered."""
    server.then(answer(429, {"detail": "slow down"}, Retry_After="7"))
    with pytest.raises(RateLimited):
        client.health_check_agent("a")
    assert (len(server.received), waits) == (1, [])


def test_the_limit_is_reported(server, connect):
    """Each 429 tells the hook, so that concurrency can be lowered."""
    told: list[float | None] = []
    server.then(answer(429, Retry_After="2"), answer(429), answer(200))
    connect(server, on_rate_limit=told.append).get_plugin(1)
    assert told == [2.0, None]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        ("Thu, 01 Jan 1970 00:01:00 GMT", 50.0),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0.0),
        ("Thu, 01 Jan 1970 00:01:00 -0000", 50.0),
        ("soon", None),
        ("-5", None),
        ("", None),
        (None, None),
        ("9" * 5000, 999999999.0),
        ("²", None),
    ],
)
def test_retry_after_forms(value, seconds):
    """Seconds and HTTP dates; what is neither is ignored."""
    assert parse_retry_after(value, lambda: 10.0) == seconds


def test_backoff_grows_to_its_cap_with_jitter():
    """Between half and the whole of a doubling step."""
    assert [Backoff(jitter=lambda: 0.0).compute_wait_seconds(n) for n in (1, 2, 3)] == [
        0.25,
        0.5,
        1.0,
    ]
    assert Backoff(jitter=lambda: 1.0).compute_wait_seconds(99) == 8.0
