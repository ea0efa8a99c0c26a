"""429 lowers what is under way at a host; answers raise it again."""

from __future__ import annotations

from threading import Thread
from time import monotonic, sleep

import pytest
from unit.client.scripted import answer
from waiting import finish

from synapse_apply import BackendClient
from synapse_apply.client.http.pacing import RequestPacer
from synapse_apply.model.errors import RateLimited


def test_calls_that_were_under_way_together_complain_once():
    """Sixteen refusals of one moment halve once, not to one."""
    now = [0.0]
    pace = RequestPacer(16, lambda: now[0])
    entered = [pace.take_slot(lambda: False) for _ in range(16)]
    now[0] = 1.0
    for one in entered:
        pace.slow_down(one, 2.0)
        pace.release_slot(one, is_answered=False)
    assert (pace.allowed_calls, pace.pause_left()) == (8, 2.0)


def test_no_more_than_allowed_are_under_way():
    """Who finds no place waits until another call has ended."""
    pace, seen = RequestPacer(2, monotonic), []

    def call() -> None:
        entered = pace.take_slot(lambda: False)
        seen.append(pace._running_calls)
        sleep(0.005)
        pace.release_slot(entered, is_answered=True)

    threads = [Thread(target=call) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 10
    assert max(seen) <= 2


def test_whoever_gives_up_does_not_wait_for_a_place():
    """A call that is over, or must not be sent any more, goes on to say so."""
    pace = RequestPacer(1, monotonic)
    pace.take_slot(lambda: False)
    finish(lambda: pace.take_slot(lambda: True))


def test_all_calls_keep_the_quiet_that_one_was_told(server, connect, waits):
    """The next call of the client waits as well, whatever it asks for."""
    client: BackendClient = connect(server, resend_rate_limited=False, clock=lambda: sum(waits))
    server.then(answer(429, Retry_After="7"), answer(200, {"id": 1}), answer(200, {"id": 1}))
    with pytest.raises(RateLimited):
        client.create_plugin({})
    client.get_plugin(1)
    client.get_storage(1)
    assert waits == [7.0]
