"""Redirects: the token goes to no other host, and nothing that changes the server follows one."""

from __future__ import annotations

import pytest
from failing import fails
from unit.client.scripted import ScriptedServer, answer


def test_a_read_follows_on_its_own_host(server, client):
    """For instance onto a path with another prefix."""
    server.then(answer(302, Location="/v1/plugins/1/"), answer(200, {"id": 1}))
    assert client.get_plugin(1) == {"id": 1}
    assert server.received[1].path == "/v1/plugins/1/"


def test_a_redirect_to_the_origin_itself_is_a_request_for_its_root(server, client):
    """Also where nothing but a query stands behind it."""
    server.then(answer(302, Location=f"{server.url}?x=1"), answer(200, {"id": 1}))
    assert client.get_plugin(1) == {"id": 1}
    assert server.received[1].target == "/?x=1"


def test_a_read_does_not_follow_to_another_host(server, client):
    """The other host sees no request at all; the message names where it would lead."""
    other = ScriptedServer()
    server.then(answer(302, Location=f"{other.url}/plugins/1/?secret=x"))
    with fails("UnexpectedAnswer", match=other.url) as caught:
        client.get_plugin(1)
    other.stop()
    assert other.received == []
    assert "secret" not in str(caught.value)
    assert caught.value.status_code == 302


@pytest.mark.parametrize(
    ("status", "effect"),
    [(301, "unknown"), (303, "unknown"), (307, "none"), (308, "none")],
)
def test_a_write_follows_nowhere(server, client, status, effect):
    """Not even on the same host; after a 303 the server may have acted."""
    server.then(answer(status, Location="/elsewhere/"))
    with fails("UnexpectedAnswer", match="not followed") as caught:
        client.create_plugin({})
    assert len(server.received) == 1
    assert caught.value.effect.value == effect


@pytest.mark.parametrize("place", ["", "http://[bad/", "ftp://127.0.0.1/", "http://x:99999/"])
def test_a_place_that_is_none(server, client, place):
    """Nonsense in the header is an error that says so."""
    server.then(answer(302, Location=place))
    with fails("UnexpectedAnswer"):
        client.get_plugin(1)


def test_redirects_in_a_circle_end(server, client):
    """After five hops it is enough."""
    server.route = lambda _request: answer(302, Location="/plugins/1/")
    with fails("UnexpectedAnswer"):
        client.get_plugin(1)
    assert len(server.received) == 6
