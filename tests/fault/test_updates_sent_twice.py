"""An update that one run sends twice: its first try may still act, whatever becomes of the second."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from fault.commands import FOREVER, applying, ended, kill, reaches
from fault.convergence import command, on_api, on_store
from fault.site import LATER, MakeSite, Server, Site, pending
from fault.test_lost_updates import (
    PLUGIN,
    begun,
    change_outside,
    declare,
    live,
    results,
    update,
    wait_for,
)
from git_repositories import make_bare_repository

SECOND = {
    "killed": {"hang": FOREVER, "commit": "after"},
    "found in the run": {"hang": 2},
    "found later": {"hang": 5},
}


def lost_twice(site: Site, server: Server, second: str) -> None:
    """Send an update twice; of the first try nobody knows, the second acts and is not answered."""
    server.faults(
        {"match": update(site, nth=1), "do": {"reset": "before"}},
        {"match": update(site, nth=2), "do": SECOND[second]},
    )
    if second == "killed":
        with applying(site) as process:
            wait_for(server, "ten")
            assert kill(process)
    else:
        assert site.apply().code == (0 if second == "found in the run" else 7)
        wait_for(server, "ten")
    server.faults()


@on_api("v1", "v2")
@on_store("sqlite", "s3")
@pytest.mark.parametrize("second", SECOND)
def test_a_newer_value_waits_for_the_first_try(make_shared_site: MakeSite, second: str) -> None:
    """What the second try did shows nothing of the first, which would overwrite a newer value."""
    site = begun(make_shared_site)
    declare(site, "ten", settle_after=10 if second == "found in the run" else 0.2)
    lost_twice(site, site.server, second)
    declare(site, "eleven")
    assert site.apply().code == 7
    assert live(site.server) == "ten"
    assert site.apply(ahead=LATER).code == 0
    assert live(site.server) == "eleven"
    assert pending(site.plan()) == []


def test_a_state_in_git_remembers_the_first_try(
    make_site: MakeSite, server: Server, tmp_path: Path
) -> None:
    """It is written down before the second one is sent."""
    remote = make_bare_repository(tmp_path / "state.git")
    site = begun(make_site, state_url=f"git:file://{remote}?pace=0")
    lost_twice(site, server, "killed")
    assert f"{PLUGIN}: update was done" in command(site, "state settle -t site")
    assert "A call that was given up may still act" in command(site, "state show -t site")
    declare(site, "eleven")
    assert site.apply().code == 7
    assert live(server) == "ten"


def test_an_open_call_that_was_sent_twice_is_told_of_once(make_site: MakeSite) -> None:
    """Until it is settled it is one call of unknown outcome; found done, its first try is told of."""
    site = begun(make_site)
    site.server.faults({"match": update(site), "do": {"reset": "before"}})
    assert site.apply().code == 7
    site.server.faults()
    assert command(site, "state show -t site").count("may still act") == 1
    change_outside(site, site.server, "ten")
    said = command(site, "state settle -t site")
    assert f"{PLUGIN}: update was done" in said
    assert said.count("A call that was given up may still act") == 1


SECOND_ANSWERS: dict[str, tuple[dict[str, Any], str]] = {
    "502 after": ({"status": 502, "commit": "after"}, "done"),
    "502 before": ({"status": 502}, "unknown"),
    "400": ({"status": 400}, "unknown"),
    "403": ({"status": 403}, "unknown"),
    "404": ({"status": 404}, "unknown"),
}


@on_api("v1", "v2")
@pytest.mark.parametrize("answer", SECOND_ANSWERS)
def test_the_report_tells_of_both_tries(make_site: MakeSite, server: Server, answer: str) -> None:
    """A second try that was refused says nothing of the first, which then acts."""
    site, (deed, result) = begun(make_site), SECOND_ANSWERS[answer]
    server.faults(
        {"match": update(site, nth=1), "do": {"reset": "before"}},
        {"match": update(site, nth=2), "do": deed},
    )
    applied = site.apply()
    server.faults()
    assert applied.report is not None
    (outcome,) = [one for one in applied.report.outcomes if str(one.address) == PLUGIN]
    assert outcome.result.value == result
    assert applied.code == (0 if result == "done" else 7)
    told = [finding for finding in outcome.diagnostics if "sent twice" in finding.summary]
    assert len(told) == 1
    assert "The first attempt may still act" in told[0].detail
    assert len(site.open_intents()) == (0 if result == "done" else 1)
    declare(site, "eleven")
    assert site.apply().code == 7
    if result == "unknown":
        change_outside(site, server, "ten")  # as the first try does now
        assert "update was done" in command(site, "state settle -t site")
    assert results(site)[0] == ("done" if result == "done" else "settled: done")
    assert site.apply(ahead=LATER).code == 0
    assert live(server) == "eleven"


@on_api("v1", "v2")
def test_a_run_that_is_told_to_stop_sends_nothing_again(make_site: MakeSite) -> None:
    """The signal comes while the first try has no answer; then its connection breaks."""
    site = begun(make_site)
    site.server.faults({"match": update(site), "do": {"cut": 1_000_000, "wait": 2}})
    with applying(site, drain=600.0) as process:
        reaches(site.server, process)
        process.send_signal(signal.SIGTERM)
        code, out, err = ended(process)
    assert "Stopping" in err
    assert site.server.counts()[0]["done"] == 1, out
    assert code == 7, out
    assert "sent twice" not in out
