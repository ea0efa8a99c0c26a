"""Answers that are lost, in bulk and at random: found again in the same run, or in the next."""

from __future__ import annotations

from typing import Any

import pytest
from fault.commands import applying, ended
from fault.convergence import PROFILES, Row, converge, on_api, on_vendor, tells_the_truth
from fault.site import SEPARATOR, MakeSite, Server, Site, pending, tally
from hypothesis import given
from hypothesis import strategies as st
from laws.effort import effort
from profiles import PAGE

POSTS = {"method": "POST", "path": "/storages/"}
LOST: list[dict[str, Any]] = [
    {"reset": "after"},
    {"truncate": 0},
    {"status": 502, "commit": "after"},
    {"status": 500, "commit": "after"},
    {"truncate": 30},
]


def test_five_of_a_hundred_are_found_in_the_same_run(make_site: MakeSite, row: Row) -> None:
    """The installed command, ten calls at once: one run, exit 0, no duplicate, nothing to do."""
    site = make_site(groups=0, extra_storages=100)
    site.server.faults(
        *[
            {"match": {**POSTS, "nth": nth}, "do": do}
            for nth, do in zip((3, 27, 50, 51, 98), LOST, strict=True)
        ]
    )
    with applying(site, parallelism=10) as process:
        code, out, err = ended(process)
    assert code == 0, out + err
    assert [count["done"] for count in site.server.counts()] == [1] * 5
    site.server.faults()
    row.add(1, 0)
    found = tally(site.server, site.expected)
    row.duplicates, row.losses = found["duplicates"], found["losses"]
    assert not any(found.values())
    assert pending(site.plan()) == []
    posts = [asked for asked in site.server.requests() if asked == "POST /storages/"]
    assert len(posts) == 100


@pytest.mark.parametrize("profile", PROFILES, indirect=True)
@pytest.mark.parametrize("plugin_list", ["none", "list"])
def test_a_lost_plugin(plugin_list: str, make_site: MakeSite, server: Server, row: Row) -> None:
    """Where plugins are listed it is found at once; on plain v1 nobody can tell, and it is said.

    The vendor's makes a first release of each plugin, by which it is found without a list.
    """
    is_found = plugin_list == "list" or server.profile != PAGE
    with server.switched(plugin_list=plugin_list):
        site = make_site(groups=2)
        server.faults({"match": {"path": "/plugins/", "method": "POST", "nth": 1}, "do": LOST[0]})
        first = site.apply()
        assert first.code == (0 if is_found else 7)
        converge(site, first, row)
    assert row.unknowns == (not is_found)


DEEDS: list[dict[str, Any]] = [
    *LOST,
    {"reset": "before"},
    {"status": 503},
    {"status": 500},
    {"status": 429, "retry_after": 0},
    {"latency": 5},
]
RULES = st.builds(
    lambda nth, do, method: {"match": {"nth": nth, **method}, "do": do},
    st.integers(1, 16),
    st.sampled_from(DEEDS),
    st.sampled_from(
        [
            {},
            {"method": "POST"},
            {"method": "GET"},
            {"path": "*/plugin*"},
            {"method": "PUT"},
            {"method": "PATCH"},
        ]
    ),
)


SCHEDULES = st.fixed_dictionaries(
    {
        "schedule": st.lists(RULES, min_size=1, max_size=5),
        "parallelism": st.sampled_from([1, 4]),
        "listed": st.booleans(),
        "changed": st.booleans(),
    }
)


@on_api("v1", "v2")
@effort(8, 500)
@given(SCHEDULES)
def test_random_schedules(
    make_site: MakeSite, server: Server, row: Row, drawn: dict[str, Any]
) -> None:
    """Several faults in one apply, several calls at once, plugins listed or not (on v1)."""
    goes_through(make_site, server, row, **drawn)


@on_vendor()
@effort(2, 300)
@given(SCHEDULES)
def test_random_schedules_on_vendor(
    make_site: MakeSite, server: Server, row: Row, drawn: dict[str, Any]
) -> None:
    """The same on the vendor's profile, whatever the profile of all tests is."""
    goes_through(make_site, server, row, **drawn)


def goes_through(
    make_site: MakeSite,
    server: Server,
    row: Row,
    schedule: list[dict[str, Any]],
    parallelism: int,
    listed: bool,
    changed: bool,
) -> None:
    """An apply under these faults, and what is found afterwards."""
    with server.switched(plugin_list="list" if listed else "none"):
        site = make_site(groups=2)
        before: set[str] = set()
        if changed:
            assert site.apply().code == 0
            before = set(server.ids())
            _change(site)
        server.faults(*schedule)
        first = site.apply(parallelism=parallelism)
        if first.report:
            tells_the_truth(site, first.report, before)
        converge(site, first, row)


def _change(site: Site) -> None:
    for path in (site.root / "manifests").iterdir():
        changed = path.read_text().replace('"description": "a"', '"description": "b"')
        more = changed.split(SEPARATOR)[-1].replace("storage-", "second-")
        path.write_text(SEPARATOR.join([changed, more]))
