"""A list that changes between two of its pages must not make anything a second time."""

from __future__ import annotations

from typing import Any

import pytest
from fault.convergence import DEEP, Row, command
from fault.site import MakeSite, Server, pending, tally

LIST = {"method": "GET", "path": "/storages/"}
DELETE, INSERT = {"page_shift": "delete"}, {"page_shift": "insert"}


def rule(do: dict[str, str], **when: int) -> dict[str, Any]:
    return {"match": {**LIST, **when}, "do": do}


SHIFTS: dict[str, list[dict[str, Any]]] = {
    "one-deleted": [rule(DELETE, nth=1)],
    "one-stored": [rule(INSERT, nth=1)],
    "deleted-and-stored": [rule(DELETE, nth=1), rule(INSERT, nth=2)],
    "stored-and-deleted": [rule(INSERT, nth=1), rule(DELETE, nth=2)],
    "deleted-twice": [rule(DELETE, nth=1), rule(DELETE, nth=4)],
    "deleted-all-the-time": [rule(DELETE)],
}


CASES = [
    (shift, order)
    for shift in SHIFTS
    for order in ("oldest", "newest")
    if DEEP or (order == "newest") == (shift == "one-stored")
]


@pytest.mark.parametrize(("shift", "order"), CASES)
def test_shift(shift: str, order: str, make_site: MakeSite, row: Row) -> None:
    """All that is declared is there already, unrecorded; what shifts the pages is not ours.

    Either all is adopted and nothing made, or the list is refused and nothing is made either.
    """
    site = make_site(groups=0, extra_storages=60)
    names = [f"more-{n}" for n in range(60)]
    theirs = [f"theirs-{n}" for n in range(100)]
    # Theirs come first and last, so that a page's first object is never one of ours.
    for name in [*theirs[:95], *names, *theirs[95:]] + [f"last-{n}" for n in range(90)]:
        _store(site.server, name)
    site.server.faults(*SHIFTS[shift])
    with site.server.switched(list_order=order):
        applied = site.apply(adopt=True, parallelism=4)
    site.server.faults()
    refused = applied.report is None
    assert refused == (shift == "deleted-all-the-time")
    row.add(2 if refused else 1, 0)
    if refused:
        assert "Reading the live state failed" in {one.summary for one in applied.plan.diagnostics}
        assert site.apply(adopt=True, parallelism=4).code == 0
    for object_ in site.server.objects("storage"):
        if object_["body"]["name"] not in names:
            site.server.send("DELETE", f"/_emulator/objects/storage/{object_['id']}/")
    found = tally(site.server, site.expected)
    row.duplicates, row.losses = found["duplicates"], found["losses"]
    assert not any(found.values())
    assert pending(site.plan()) == []


# On v2 a cursor is a place, so that what comes and goes shifts nothing; a list that never stands
# still is refused as on v1.
@pytest.mark.parametrize("api", ["v2"], indirect=True)
@pytest.mark.parametrize(
    ("shift", "order"),
    [
        (shift, order)
        for shift in ("insert", "delete")
        for order in ("oldest", "newest")
        if DEEP or (order == "newest") == (shift == "insert")
    ],
)
def test_a_shift_under_cursors(shift: str, order: str, make_site: MakeSite, row: Row) -> None:
    """Plugins and releases that are there, unrecorded, are found and adopted; none is made."""
    site = make_site(groups=4)
    theirs = [f"theirs-{n}" for n in range(240)]
    for code in theirs[:120]:
        _store_plugin(site.server, code)
    assert site.apply().code == 0
    for code in theirs[120:]:
        _store_plugin(site.server, code)
    command(site, "state rm -t site " + " ".join(sorted(site.expected)))
    posts = site.server.posts()
    match = {"method": "GET", "path": "/v2/plugins/", "to": 2}
    site.server.faults({"match": match, "do": {"page_shift": shift}})
    with site.server.switched(list_order=order):
        assert site.apply(adopt=True).code == 0
        assert site.server.counts()[0]["done"] == 2
    site.server.faults()
    row.add(1, 0)
    assert site.server.posts() == posts
    for object_ in site.server.objects("plugin"):
        if not object_["body"]["code"].startswith("plugin-"):
            site.server.send("DELETE", f"/_emulator/objects/plugin/{object_['id']}/")
    found = tally(site.server, site.expected)
    row.duplicates, row.losses = found["duplicates"], found["losses"]
    assert not any(found.values())
    assert pending(site.plan()) == []


def _store_plugin(server: Server, code: str) -> None:
    body = {"name": code, "code": code, "category": "export"}
    server.send("POST", "/_emulator/objects/plugin/", {"body": body, "key": code})


def _store(server: Server, name: str) -> None:
    path = f"/{name.rpartition('-')[2]}"
    body = {
        "name": name,
        "provider": "file_system",
        "category": "internal",
        "configuration": {"base_path": path},
    }
    server.send("POST", "/_emulator/objects/storage/", {"body": body})
