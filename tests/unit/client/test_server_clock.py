"""How far the server's clock is from ours, learnt from the Date of answers."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from unit.client.scripted import answer, reset

from synapse_apply import ClientError
from synapse_apply.client.calls import RequestEvent
from synapse_apply.client.http.pacing import ServerClock
from synapse_apply.model.remote import ClockSkew

NOW = 1_767_225_600.25


def dated(seconds: float) -> dict[str, str]:
    return {"Date": formatdate(seconds, usegmt=True)}


def event(date: float | None, begun_at: float = NOW, seconds: float = 0.5) -> RequestEvent:
    return RequestEvent(
        "GET", "jobs/", 200, seconds, None, 1, mutates=False, started_at=begun_at, server_date=date
    )


@pytest.mark.parametrize("status", [200, 401, 404, 503])
def test_every_answer_tells_the_time(server, connect, status):
    """Also one that refuses: a wrong token must not hide a wrong clock."""
    events: list[RequestEvent] = []
    client = connect(server, on_request=events.append, now=lambda: NOW, retries=0)
    server.then(answer(status, {}, **dated(NOW + 90)))
    try:
        client.get_job(1)
    except ClientError:
        assert status != 200
    assert events[0].started_at == NOW
    assert events[0].server_date == int(NOW) + 90


@pytest.mark.parametrize(
    "headers", [{}, {"Date": "yesterday"}, {"Date": ""}, {**dated(NOW), "Age": "40"}]
)
def test_an_answer_without_a_date_that_can_be_used(server, connect, headers):
    """None, or no date, or that of a cache: nobody can tell."""
    clock = ServerClock()
    server.then(answer(200, {}, **headers))
    connect(server, on_request=clock.narrow_skew).get_job(1)
    assert clock.skew is None


def test_no_answer_tells_nothing(server, connect):
    """A connection that broke has no clock."""
    clock = ServerClock()
    server.then(reset())
    with pytest.raises(ClientError):
        connect(server, on_request=clock.narrow_skew, retries=0).get_job(1)
    assert clock.skew is None


@pytest.mark.parametrize(
    ("date", "certain", "words"),
    [
        (NOW // 1, 0.0, "agrees with the server's"),
        (NOW // 1 + 1, 0.25, "is 1 s behind the server's"),
        (NOW // 1 + 60, 59.25, "is 60 s behind the server's"),
        (NOW // 1 - 60, 59.25, "is 60 s ahead of the server's"),
    ],
)
def test_what_is_certain(date, certain, words):
    """The time under way and the second that a date cuts off are in our favour."""
    clock = ServerClock()
    clock.narrow_skew(event(date))
    assert clock.skew is not None
    assert clock.skew.min_difference == pytest.approx(certain)
    assert clock.skew.local_clock_description == words


def test_more_answers_narrow_it_down():
    """What a slow upload leaves open, a quick read settles."""
    clock = ServerClock()
    clock.narrow_skew(event(NOW // 1 + 20, seconds=120.0))
    assert clock.skew is not None
    assert clock.skew.min_difference == 0.0
    clock.narrow_skew(event(NOW // 1 + 20, seconds=0.1))
    assert clock.skew.min_difference > 19


def test_a_clock_that_was_set_meanwhile():
    """The newest answer counts where it cannot agree with those before."""
    clock = ServerClock()
    clock.narrow_skew(event(NOW // 1 + 600))
    clock.narrow_skew(event(NOW // 1))
    assert clock.skew == ClockSkew(pytest.approx(-0.75), pytest.approx(0.75))
