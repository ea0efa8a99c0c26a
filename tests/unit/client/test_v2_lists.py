"""Lists of API v2: walked by cursor to their end, and never taken for whole when they are not."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from failing import fails
from unit.client.scripted import answer

from synapse_apply import ClientError

# A position as a server may write it: nothing in it is ours to read.
CURSORS = {0: "", 2: "cD0y+/==", 4: "/x&y=?z"}


REST = {"code": "p", "plugin_id": 1, "version": "1"}


def items(start: int) -> list[dict[str, Any]]:
    return [{"id": number, **REST} for number in range(start, min(start + 2, 5))]


def enveloped(start: int, following: str | None):
    pagination = {"next_cursor": following, "previous_cursor": None, "per_page": 2}
    return {"data": items(start), "meta": {"request_id": "r", "pagination": pagination}}


def pages(form, write=lambda cursor: cursor):
    """A route that answers pages of two, written in a form, by the cursor that was asked for."""
    starts = {cursor: start for start, cursor in CURSORS.items()}

    def route(request):
        start = starts[request.query.get("cursor", "")]
        following = CURSORS.get(start + 2)
        return answer(200, form(start, write(following) if following else None))

    return route


def test_cursors_in_a_circle(server, client):
    """A cursor that was followed already is an error, not an endless loop."""
    server.route = lambda _request: answer(200, enveloped(0, "again"))
    with pytest.raises(ClientError, match="loop"):
        client.v2.list_plugins()
    assert len(server.received) == 2


def test_cursors_without_end(server, connect):
    """A server that always has a new cursor is stopped."""
    numbers = itertools.count()
    server.route = lambda _request: answer(200, enveloped(0, f"c{next(numbers)}"))
    with pytest.raises(ClientError, match="more than 5 pages"):
        connect(server, max_pages=5).v2.list_plugins()


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"data": []},
        {"data": [], "meta": {}},
        {"data": [], "meta": {"pagination": {}}},
        {"data": [], "meta": {"pagination": {"next_cursor": 5}}},
        {"data": {"id": 1}, "meta": {}},
        {"results": None},
        {"detail": "Not found."},
        "text",
    ],
)
def test_what_does_not_say_whether_more_follows(server, client, body):
    """Is no list: what is behind its end would be taken for absent."""
    server.then(answer(200, body))
    with fails("UnexpectedAnswer", match="page"):
        client.v2.list_plugins()
