"""Pages by number."""

from __future__ import annotations

import pytest


@pytest.fixture
def wire(wire):
    for number in range(1, 46):
        wire.storage(name=f"s{number}")
    return wire


def walk(wire, path):
    """Every page from `path` on, by `next` alone."""
    pages = []
    while path:
        pages.append(wire.get(path).body)
        link = pages[-1]["next"]
        path = link.removeprefix(wire.url) if link else None
    return pages


@pytest.mark.parametrize(("query", "sizes"), [("", [20, 20, 5]), ("?page_size=10", [10] * 4 + [5]), ("?page_size=100", [45])])  # fmt: skip
def test_walking_by_next(wire, query, sizes):
    """`next` is absolute and keeps the query; together the pages are the list."""
    pages = walk(wire, f"/storages/{query}")
    assert [len(page["results"]) for page in pages] == sizes
    assert {page["count"] for page in pages} == {45}
    names = [item["name"] for page in pages for item in page["results"]]
    assert names == [f"s{number}" for number in range(1, 46)]
    assert pages[0]["previous"] is None
    assert all(page["previous"].startswith(wire.url) for page in pages[1:])


def test_filters_stay_in_links(wire):
    """A filtered list is walked with its filter."""
    assert len(walk(wire, "/storages/?category=external&page_size=30")) == 2
    assert "category=external" in wire.get("/storages/?category=external").body["next"]


@pytest.mark.parametrize("page", ["0", "4", "-1", "x", "9" * 40])
def test_no_such_page(wire, page):
    """404 with a detail."""
    reply = wire.get(f"/storages/?page={page}")
    assert (reply.status, reply.body) == (404, {"detail": "Invalid page."})


def test_last_page_by_name_and_empty_lists(wire, other):
    """`page=last`; an empty list still has a first page."""
    assert len(wire.get("/storages/?page=last").body["results"]) == 5
    empty = {"count": 0, "next": None, "previous": None, "results": []}
    assert other.get("/storages/").body == empty
