"""One call makes a plugin and its first release: whatever is cut short, both are recorded."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from typing import Any

import pytest
from fault.commands import FOREVER, applying, kill, kill_amid, reaches
from fault.convergence import Row, command, converge, some, tells_the_truth
from fault.site import READ_SECONDS, Applied, MakeSite, Server, Site
from forges.loopback_server import wait_until

from synapse_apply import open_state

pytestmark = pytest.mark.parametrize("api", ["v2"], indirect=True)
CALL = {"method": "POST", "path": "/v2/plugins/", "nth": 1}
PLUGIN, RELEASE = "plugin/plugin-0", "release/plugin-0@1.0.0"
HANG = READ_SECONDS + 0.2
# How the call goes wrong, and the results of plugin and release that are the truth then.
LOST: dict[str, tuple[dict[str, Any], tuple[str | None, str | None]]] = {
    "not-done": ({"status": 400}, ("failed", "skipped")),
    "done-502": ({"status": 502, "commit": "after"}, ("done", "done")),
    "done-reset": ({"reset": "after"}, ("done", "done")),
    "done-cut": ({"truncate": 20}, ("done", "done")),
    "done-late": ({"hang": HANG, "commit": "after"}, ("done", "done")),
    "nobody-knows": ({"status": 500}, ("unknown", "unknown")),
}


def digest(site: Site) -> str | None:
    """What is recorded of the bytes that were published."""
    with open_state(site.where()) as state:
        records = {str(at): record for at, record in state.store.read_state().records.items()}
        return records[RELEASE].digest


def ended(applied: Applied) -> tuple[str | None, str | None]:
    outcomes = applied.report.outcomes if applied.report else ()
    results = {str(outcome.address): outcome.result.value for outcome in outcomes}
    return results.get(PLUGIN), results.get(RELEASE)


@pytest.mark.parametrize("how", LOST)
def test_an_answer_is_lost(how: str, make_site: MakeSite, server: Server, row: Row) -> None:
    """Both rows tell the same truth; the next run makes what is missing, and nothing twice."""
    fault, results = LOST[how]
    site = make_site(groups=1)
    server.faults({"match": CALL, "do": fault})
    first = site.apply()
    assert server.counts()[0]["done"] == 1
    assert ended(first) == results
    assert first.report is not None
    tells_the_truth(site, first.report)
    converge(site, first, row)
    assert (digest(site) or "").startswith("pkg1:sha256:")


def test_the_release_is_found_by_the_next_run(make_site: MakeSite, row: Row) -> None:
    """The plugin is there, and no list of releases can be had: only the release is in doubt."""
    site = make_site(groups=1)
    listed = {"method": "GET", "path": "/v2/plugin-releases/", "from": 1}
    site.server.faults(
        {"match": CALL, "do": {"reset": "after"}}, {"match": listed, "do": {"status": 400}}
    )
    first = site.apply()
    assert first.code == 7
    assert ended(first)[1] == "unknown"
    converge(site, first, row)
    assert digest(site)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_at_each_write(moment: str, make_site: MakeSite, row: Row) -> None:
    """Between the two announcements, between the two records, and around each."""
    for nth in some(6, 3, turn=1):
        site = make_site(groups=1)
        with applying(site, signal=signal.SIGKILL, nth=nth, moment=moment) as process:
            assert process.wait(60) == -signal.SIGKILL, nth
        converge(site, None, row)
        assert digest(site), nth


@pytest.mark.parametrize("commit", ["before", "after"])
def test_killed_at_the_call(commit: str, make_site: MakeSite, row: Row) -> None:
    """The server has the package and may or may not have made both."""
    site = make_site(groups=1)
    site.server.faults({"match": CALL, "do": {"hang": FOREVER, "commit": commit}})
    with applying(site) as process:
        reaches(site.server, process)
        assert kill(process)
    assert sorted(map(str, site.open_intents())) == [PLUGIN, RELEASE]
    converge(site, None, row)
    assert digest(site)


def test_a_late_commit_is_not_made_again(make_site: MakeSite, row: Row) -> None:
    """While the call may still be on its way, neither is believed absent."""
    site = make_site(groups=1)
    site.server.faults({"match": CALL, "do": {"hang": HANG}})
    first = site.apply()
    wait_until(lambda: "POST /v2/plugins/" in site.server.requests(), 60, "it is acted on")
    converge(site, first, row)
    assert digest(site)


def test_the_history_tells_of_both(make_site: MakeSite) -> None:
    """One call is one request and an entry for each object, with the same request."""
    site = make_site(groups=1)
    assert site.apply().code == 0
    _, audit = site.written()
    told = {entry.address: entry for entry in audit}
    assert told[PLUGIN].request_id == told[RELEASE].request_id != ""
    assert [entry.verb for entry in (told[PLUGIN], told[RELEASE])] == ["create", "create"]
    assert json.dumps(site.server.requests()).count("POST /v2/plugin") == 1


def test_no_other_api_is_offered_while_the_one_call_may_act(make_site: MakeSite) -> None:
    """It would make the plugin a second time: what waits for the release ends by itself."""
    site = make_site(groups=1)
    kill_amid(site, CALL)
    with (
        site.opened() as session,
        session.store.lock("settle"),
    ):  # as an earlier version did, which closed one half alone
        (half,) = (
            one for one in session.store.read_state().open_intents if str(one.address) == PLUGIN
        )
        closed = replace(half, state=type(half.state)("absent"))
        entry = session.actor.build_audit_entry(closed, "settled", moment=half.sent_at)
        session.store.close_ended_intent(closed, None, entry)
    said = " ".join(command(site, "plan -t site").split())
    assert "creates a plugin together with its first release" in said
    assert "solve release/plugin-0@1.0.0 first" in said
    assert "another API version" not in said
