"""Wall clocks that are set between a call and the look at what became of it."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest
from fault.commands import FOREVER, LEASE, applying, ended, kill, reaches, replacing
from fault.convergence import Row, chosen, converge, on_api
from fault.site import MakeSite, Site, tally
from stopping import suspend

HOURS = 7200.0
STORAGE = 2  # the number of a create that can be looked up


def next_run(site: Site, **altered: Any) -> dict[str, Any]:
    """The report of one more apply."""
    with applying(site, **altered) as process:
        code, out, err = ended(process)
    report: dict[str, Any] = json.loads(out)
    assert code == report["exit_code"], err
    return report


SET = {"back": HOURS, "forward": -HOURS}


@on_api("v1")
@pytest.mark.parametrize("clock", chosen(SET, "forward"))
def test_a_call_that_may_still_arrive_is_waited_for(
    clock: str, make_site: MakeSite, row: Row
) -> None:
    """The server has it and has not done it; the next run does not believe that it was not made."""
    site = make_site()
    site.server.faults({"match": {"method": "POST", "nth": STORAGE}, "do": {"hang": FOREVER}})
    with applying(site, ahead=SET[clock]) as process:
        reaches(site.server, process)
        assert kill(process)
    report = next_run(site)
    assert report["exit_code"] == 7
    ways = json.dumps(report["refusals"])
    assert "plan again after " in ways
    assert "--absent" not in ways
    converge(site, None, row)


@on_api("v1")
def test_a_call_that_never_arrives_is_made_again_in_time(make_site: MakeSite, row: Row) -> None:
    """A clock that was set back by hours makes nobody wait for hours."""
    site = make_site()
    stop = {
        "signal": signal.SIGKILL,
        "write": "open_intent_and_use_up_its_approvals",
        "nth": STORAGE,
        "moment": "after",
    }
    with applying(site, ahead=HOURS, **stop) as process:
        assert process.wait(60) == -signal.SIGKILL
    report = next_run(site, later=100.0)
    assert report["exit_code"] == 0
    converge(site, None, row)


def test_a_lease_knows_no_wall_clock(make_site: MakeSite, row: Row) -> None:
    """Two whose clocks are hours apart: who works is not replaced, who is silent is."""
    site = make_site()
    under_way = {"hang": FOREVER, "commit": "after"}
    site.server.faults({"match": {"method": "POST", "nth": STORAGE}, "do": under_way})
    with applying(site, lease=LEASE, host="elsewhere") as first:
        reaches(site.server, first)
        with applying(site, "--lock-timeout", str(LEASE), lease=LEASE, ahead=HOURS) as second:
            code, _, _ = ended(second)
        assert code == 6
        suspend(first, site.state_file)
        assert next_run(site, **replacing(site), ahead=HOURS)["exit_code"] == 0
        requests, written = site.server.requests(), site.written()
        first.send_signal(signal.SIGCONT)
        code, out, err = ended(first)
    assert code == 7, out + err
    assert (site.server.requests(), site.written()) == (requests, written)
    assert not tally(site.server, site.expected)["duplicates"]
    converge(site, None, row)
