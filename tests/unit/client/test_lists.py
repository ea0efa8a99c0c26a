"""Lists of many pages: walked whole, and not led astray."""

from __future__ import annotations

import itertools

import pytest
from unit.client.scripted import Received, Step, answer

from synapse_apply import ClientError


def pages(size: int, total: int, *, host: str = "http://elsewhere.example:81"):
    """A route that answers numbered pages with absolute links to a host that is not ours."""

    def route(request: Received) -> Step:
        number = int(request.query.get("page", 1))
        items = [{"id": i} for i in range(total)][(number - 1) * size : number * size]
        more = number * size < total
        link = f"{host}/other/path/?page={number + 1}" if more else None
        return answer(200, {"count": total, "next": link, "previous": None, "results": items})

    return route


def test_links_in_a_circle(server, client):
    """A link that was followed already is an error, not an endless loop."""
    server.route = lambda _request: answer(
        200, {"next": "/storages/?page=1", "results": [{"id": 1}]}
    )
    with pytest.raises(ClientError, match="loop"):
        client.list_storages()
    assert len(server.received) == 2


def test_endless_pages(server, connect):
    """A list that never ends is an error after the most pages allowed."""
    server.route = pages(1, 1000)
    with pytest.raises(ClientError, match="more than 5 pages"):
        connect(server, max_pages=5).list_storages()


def shifting(*readings):
    """A route whose every reading has other items on its pages of two; the last one stays."""
    turns = itertools.count()

    def route(request: Received) -> Step:
        number = int(request.query.get("page", 1))
        turn = next(turns) if number == 1 else route.turn
        route.turn = turn
        reading = readings[min(turn, len(readings) - 1)]
        more = f"?page={number + 1}" if number < len(reading) else None
        total = sum(map(len, reading[-1:])) + 2 * (len(reading) - 1)
        items = [{"id": i} for i in reading[number - 1]]
        return answer(200, {"count": total, "next": more, "results": items})

    return route


def test_an_item_hidden_although_the_count_is_right(server, client):
    """1 was deleted and 6 stored while the pages were read: 3 was on none of them."""
    server.route = shifting([[1, 2], [4, 5], [6]], [[2, 3], [4, 5], [6]])
    assert [s["id"] for s in client.list_storages()] == [2, 3, 4, 5, 6]


def test_a_page_that_is_gone_when_it_is_asked_for(server, client):
    """404 for an announced page is a list that shrank, not a server without this list."""
    short = {"count": 2, "next": None, "results": [{"id": 1}, {"id": 2}]}
    server.then(
        answer(200, {**short, "count": 3, "next": "?page=2"}),
        answer(404, {"detail": "Invalid page."}),
        answer(200, short),
    )
    assert [s["id"] for s in client.list_storages()] == [1, 2]


def test_a_list_that_never_stands_still(server, client):
    """An error, rather than a list that may lack something."""
    server.route = shifting(*[[[n, n + 1], [n + 2]] for n in range(20)])
    with pytest.raises(ClientError, match="changes during the read"):
        client.list_storages()


def test_fewer_items_than_the_server_counts(server, client):
    """Nobody knows what the missing ones are."""
    server.route = lambda _request: answer(200, {"count": 3, "next": None, "results": [{"id": 1}]})
    with pytest.raises(ClientError, match="fewer items than it says"):
        client.list_storages()


@pytest.mark.parametrize(
    "body", [{"id": 1}, "text", 5, {"results": {}}, {"results": [], "next": 7}]
)
def test_what_is_no_list(server, client, body):
    """An answer of another shape is an error that says so."""
    server.then(answer(200, body))
    with pytest.raises(ClientError, match="neither a list nor a page"):
        client.list_storages()


def test_console_logs_of_many_pages(server, client):
    """Entries without ids are all kept."""
    server.then(*[answer(200, {"next": "?page=2", "results": [{"message": "a"}]})] * 2)
    server.then(answer(200, {"next": None, "results": [{"message": "a"}]}))
    assert client.list_job_console_logs(1) == [{"message": "a"}, {"message": "a"}]


@pytest.mark.parametrize("ask", ["list_storages", "list_plugins", "list_plugin_releases"])
def test_items_that_are_no_objects(server, client, ask):
    """A list of names is not the API's: an error in words, not an exception of ours later."""
    server.then(answer(200, ["raw-data", "other"]))
    given = ("yolo",) if ask == "list_plugin_releases" else ()
    with pytest.raises(ClientError, match="items that are not objects"):
        getattr(client, ask)(*given)
