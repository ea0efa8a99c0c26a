"""A call that was done after its client had given up is found before the run ends."""

from __future__ import annotations

import pytest
from fault.convergence import Row, converge, tells_the_truth
from fault.site import READ_SECONDS, TOTAL_SECONDS, MakeSite, Server

# After which the client has given up; an upload may take all of its time.
GIVEN_UP = {
    ("/storages/", "v1"): READ_SECONDS,
    ("/plugins/", "v1"): READ_SECONDS,
    ("/plugin_releases/", "v1"): TOTAL_SECONDS,
    ("/v2/plugins/", "v2"): TOTAL_SECONDS,
}


@pytest.mark.parametrize(("path", "api"), GIVEN_UP, indirect=["api"])
def test_found_in_the_same_run(
    path: str, api: str, make_site: MakeSite, server: Server, row: Row
) -> None:
    """Exit 0 in one run, what depends on it included, where the API can tell."""
    with server.switched(plugin_list="list"):
        site = make_site(groups=2, settle_after=5.0)
        # Long enough for the look-up right after the call to come too early, also on a busy machine.
        late = {"hang": GIVEN_UP[path, api] + 0.5}
        server.faults({"match": {"method": "POST", "path": path, "nth": 1}, "do": late})
        first = site.apply()
        assert first.code == 0
        assert first.report is not None
        tells_the_truth(site, first.report)
        summaries = [one.summary for out in first.report.outcomes for one in out.diagnostics]
        assert set(summaries) == {"The outcome of a call was looked up"}
        converge(site, first, row)
    assert row.runs == 1


def test_what_was_not_done_stays_unknown(make_site: MakeSite, row: Row) -> None:
    """Not found within `settle_after` proves nothing: nothing is sent again in this run."""
    site = make_site(groups=2)
    lost = {"match": {"method": "POST", "path": "/storages/", "nth": 1}, "do": {"reset": "before"}}
    site.server.faults(lost)
    first = site.apply()
    assert first.code == 7
    assert first.report is not None
    assert [one.result.value for one in first.report.outcomes].count("unknown") == 1
    assert site.server.requests().count("POST /storages/") == 1
    converge(site, first, row)
    assert row.runs == 2
