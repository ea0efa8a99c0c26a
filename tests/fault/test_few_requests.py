"""How many requests a plan of many recorded objects costs, and what a list is not believed."""

from __future__ import annotations

from collections import Counter

import pytest
from fault.site import MakeSite, Server, Site, pending
from profiles import PAGE

COUNT = 60
# The vendor's lists show no configurations, so each object is read there in every case: that is
# tried below by the switch `asked`, and the counts of the rest are the page's.
pytestmark = pytest.mark.parametrize("profile", [PAGE], indirect=True)


def made(make_site: MakeSite, server: Server) -> Site:
    """Sixty storages, applied and recorded; requests are counted from here on."""
    site = make_site(groups=0, extra_storages=COUNT)
    assert site.apply().code == 0
    server.send("DELETE", "/_emulator/requests/")
    return site


def asked(server: Server) -> Counter[str]:
    """Requests of the list, and of single objects."""
    return Counter(
        "list" if line == "GET /storages/" else line.partition(" ")[0] for line in server.requests()
    )


def test_an_unchanged_plan_reads_the_list_once(make_site: MakeSite, server: Server) -> None:
    """One page, and one object to see whether items are whole."""
    site = made(make_site, server)
    assert pending(site.plan()) == []
    assert asked(server) == {"list": 1, "GET": 1}


@pytest.mark.parametrize(
    "switches", [{"list_items": "short"}, {"configuration": "asked"}], ids=["short", "asked"]
)
def test_short_items_are_not_believed(
    make_site: MakeSite, server: Server, switches: dict[str, str]
) -> None:
    """A list without configurations shows nothing of them: each object is read."""
    site = made(make_site, server)
    with server.switched(**switches):
        assert pending(site.plan()) == []
    assert asked(server) == {"list": 1, "GET": 1 + COUNT}


def test_an_edit_from_outside_shows_in_the_list(make_site: MakeSite, server: Server) -> None:
    """What a list tells is compared as what a read tells; a field it lacks is asked for."""
    site = made(make_site, server)
    first, second, *_ = server.objects("storage")
    edited = {"configuration": {"base_path": "/elsewhere"}}
    server.send("PATCH", f"/_emulator/objects/storage/{first['id']}/", edited)
    emptied: dict[str, object] = {"configuration": {}}
    server.send("PATCH", f"/_emulator/objects/storage/{second['id']}/", emptied)
    server.send("DELETE", "/_emulator/requests/")
    assert len(pending(site.plan())) == 2
    assert asked(server)["GET"] <= 2


def test_what_the_list_lacks_is_asked_for_by_its_id(make_site: MakeSite, server: Server) -> None:
    """An object that was deleted is known to be gone only then; it is made anew once."""
    site = made(make_site, server)
    gone = server.objects("storage")[-1]
    server.send("DELETE", f"/_emulator/objects/storage/{gone['id']}/")
    server.send("DELETE", "/_emulator/requests/")
    (line,) = pending(site.plan())
    assert line.endswith("recreate-missing")
    assert asked(server)["GET"] == 2


def test_a_list_that_fails_costs_only_reads(make_site: MakeSite, server: Server) -> None:
    """Each object is read by its id then, and nothing is taken for absent."""
    site = made(make_site, server)
    server.faults({"match": {"path": "/storages/"}, "do": {"status": 404}})
    try:
        assert pending(site.plan()) == []
    finally:
        server.faults()
    assert asked(server)["GET"] == COUNT


def test_a_few_recorded_objects_are_read_by_their_ids(make_site: MakeSite) -> None:
    """The list may be long; three reads are not. A look at it tells of second ones of a name."""
    site = make_site(groups=0, extra_storages=3)
    assert site.apply().code == 0
    site.server.send("DELETE", "/_emulator/requests/")
    assert pending(site.plan()) == []
    assert asked(site.server) == {"GET": 3, "list": 1}
