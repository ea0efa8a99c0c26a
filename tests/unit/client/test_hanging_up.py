"""Calls that end because this side ends them, and calls that are not let out."""

from __future__ import annotations

import threading
import time

import pytest
from unit.client.scripted import SILENCE, answer, drip, hang, head
from waiting import finish

from synapse_apply.client.http.pacing import Backoff
from synapse_apply.model.errors import CallEnded, Effect

CALLS = {
    "get_plugin": ((1,), Effect.NONE),
    "create_plugin": (({},), Effect.UNKNOWN),
    "update_plugin": ((1, {}), Effect.UNKNOWN),
}


def soon(client, server):
    """Hang up once the server has the request."""

    def work():
        while not server.received:
            time.sleep(0.005)
        time.sleep(0.05)
        client.hang_up("the run was stopped")

    threading.Thread(target=work, daemon=True).start()


@pytest.mark.parametrize("method", CALLS)
@pytest.mark.parametrize("step", [hang, lambda: drip(head(200, {"Content-Length": "9999"}))])
def test_a_call_under_way_ends_at_once(server, client, waits, method, step):
    """Without its answer and without a repeat; what it may have done is unknown."""
    arguments, effect = CALLS[method]
    server.then(step())
    soon(client, server)
    with pytest.raises(CallEnded, match="no answer: the run was stopped") as caught:
        finish(lambda: getattr(client, method)(*arguments))
    assert (caught.value.effect, waits, len(server.received)) == (effect, [], 1)


def test_nothing_is_sent_after_it(server, client):
    """Every later call says why, and the server hears of none."""
    client.hang_up("the run was stopped")
    for method, (arguments, _) in CALLS.items():
        with pytest.raises(CallEnded, match="not sent: the run was stopped") as caught:
            getattr(client, method)(*arguments)
        assert caught.value.effect is Effect.NONE
    assert server.received == []


def test_a_wait_before_a_repeat_ends_too(server, connect, monkeypatch):
    """What a server asks for may be long."""
    monkeypatch.setattr(Backoff, "compute_wait_seconds", lambda *_: SILENCE)
    client = connect(server, sleep=None, total_timeout=2 * SILENCE)
    server.then(answer(429), answer(200))
    soon(client, server)
    with pytest.raises(CallEnded, match="the run was stopped"):
        finish(lambda: client.create_plugin({}))
    assert len(server.received) == 1


def test_a_refusal_is_asked_for_last(server, connect):
    """After the connection stands and before the first byte: nothing arrives."""
    asked = []

    def refusal():
        asked.append(1)
        return "" if len(asked) == 1 else "the lock was lost"

    client = connect(server, refusal=refusal)
    with pytest.raises(CallEnded, match="not sent: the lock was lost") as caught:
        client.create_plugin({})
    assert caught.value.effect is Effect.NONE
    assert server.received == []


def test_what_is_refused_once_is_not_tried_again(server, connect, waits):
    """A read that failed is not repeated by one who may not send."""
    reasons = iter(["", ""])
    client = connect(server, refusal=lambda: next(reasons, "the lock was lost"))
    server.then(answer(503))
    with pytest.raises(Exception, match="503"):
        client.get_plugin(1)
    assert (len(server.received), waits) == (1, [])


def test_calls_that_change_something_may_be_refused_alone(server, connect):
    """Reads go on; a create is asked about last, before its first byte."""
    asked = []

    def refusal():
        asked.append(1)
        return "" if len(asked) < 2 else "the window has closed"

    client = connect(server, mutation_refusal=refusal)
    server.then(answer(200))
    client.get_plugin(1)
    assert asked == []
    with pytest.raises(CallEnded, match="not sent: the window has closed") as caught:
        client.create_plugin({})
    assert caught.value.effect is Effect.NONE
    assert len(server.received) == 1
    server.then(answer(200))
    client.get_plugin(1)


def test_a_create_that_has_begun_is_not_cut_off(server, connect):
    """Its first byte has left: what follows is not asked about."""
    asked = []

    def refusal():
        asked.append(1)
        # Once for the attempt, once before the first byte.
        return "" if len(asked) <= 2 else "the window has closed"

    client = connect(server, mutation_refusal=refusal)
    server.then(answer(200))
    client.create_plugin({"name": "x" * 1_000_000})
    assert len(server.received) == 1
