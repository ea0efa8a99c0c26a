"""`settle` finds out what became of calls whose outcome is unknown, and changes nothing else."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest
from fault.commands import TESTS, kill_amid
from fault.convergence import command, on_vendor, without_a_list_of_plugins
from fault.site import LATER, MakeSite, Server, Site
from installed import environment

# Of an apply of three resources, in the order of its creates.
STORAGE, PLUGIN, RELEASE = 1, 2, 3


def killed(make_site: MakeSite, server: Server, nth: int, commit: str) -> Site:
    """A site whose apply was killed while its nth create was under way."""
    site = make_site(groups=1)
    rule = {"method": "POST", "nth": nth}
    kill_amid(site, rule, commit=commit)
    return site


def test_what_was_done_is_recorded(make_site: MakeSite, server: Server) -> None:
    """The object is found, and the next apply makes only the rest."""
    site = killed(make_site, server, STORAGE, "after")
    said = command(site, "state settle -t site")
    assert "storage/storage-0: create was done (id " in said
    assert "Settled: 1. Still open: 0." in said
    assert site.records() == {name: one for name, (one,) in server.ids().items()}
    assert site.open_intents() == []
    assert "No call is open." in command(site, "state settle -t site")


@without_a_list_of_plugins()
@pytest.mark.parametrize("api", ["v2"], indirect=True)
def test_what_one_call_made_together_is_recorded_together(
    make_site: MakeSite, server: Server
) -> None:
    """On v2 a plugin can be looked up, with the release that came along, not with its package."""
    site = killed(make_site, server, PLUGIN, "after")
    said = command(site, "state settle -t site")
    assert "plugin/plugin-0: create was done (id " in said
    assert "release/plugin-0@1.0.0: it is unknown whether create was done (a release of" in said
    assert "Settled: 2. Still open: 0." in said
    assert site.records() == {name: one for name, (one,) in server.ids().items()}


def test_absence_is_not_believed_too_early(make_site: MakeSite, server: Server) -> None:
    """The request may still be on its way: exit 7 says in how many seconds to look again."""
    site = killed(make_site, server, STORAGE, "before")
    said = command(site, "state settle -t site", code=7)
    assert "! storage/storage-0: create of " in said
    assert "run again in " in said
    assert "--absent" not in said
    assert "Settled: 0. Still open: 1." in said


@on_vendor()
@pytest.mark.parametrize("commit", ["before", "after"])
def test_a_plugin_that_is_listed_is_settled(
    commit: str, make_site: MakeSite, server: Server
) -> None:
    """By what the list shows: nothing stays open once the time for such a call is over."""
    site = killed(make_site, server, PLUGIN, commit)
    done = commit == "after"
    said = command(site, "state settle -t site", code=0 if done else 7)
    assert ("plugin/plugin-0: create was done (id " in said) is done
    assert "--absent" not in said
    assert site.apply(ahead=LATER).code == 0
    assert len(server.ids()["plugin/plugin-0"]) == 1
    assert site.open_intents() == []


@without_a_list_of_plugins()
def test_what_nobody_can_tell_comes_with_its_two_commands(
    make_site: MakeSite, server: Server
) -> None:
    """A plugin cannot be looked up: either command closes the call."""
    for commit, typed in (("after", "import plugin/plugin-0 ID -t site"),
                          ("before", "state settle plugin/plugin-0 --absent -t site")):  # fmt: skip
        site = killed(make_site, server, PLUGIN, commit)
        said = command(site, "state settle -t site plugin/plugin-0", code=7)
        assert f"`synapse-apply {typed}`" in said
        there = server.ids().get("plugin/plugin-0")
        told = command(site, typed.replace(" ID", f" {there[0]}") if there else typed)
        assert ("create was not done. The next apply may do it." in told) is (commit == "before")
        assert "No call is open." in command(site, "state settle -t site")
        assert site.apply().code == 0
        assert len(server.ids()["plugin/plugin-0"]) == 1


@without_a_list_of_plugins()
def test_json_tells_each_call(make_site: MakeSite, server: Server) -> None:
    """A script sees what is open and why."""
    site = killed(make_site, server, PLUGIN, "after")
    document = json.loads(command(site, "state settle -t site --json", code=7))
    assert document["open"] == 1
    (call,) = document["calls"]
    assert (call["address"], call["verb"], call["result"]) == ("plugin/plugin-0", "create", "open")
    assert call["why"] == "this API cannot show whether it was created"
    assert len(call["ways_out"]) == 2


def test_an_address_without_an_open_call_is_an_error(make_site: MakeSite, server: Server) -> None:
    """It names the calls that are open; nothing is settled."""
    site = killed(make_site, server, PLUGIN, "after")
    said = command(site, "state settle -t site storage/storage-0", code=1)
    assert "Open: plugin/plugin-0" in said
    assert len(site.open_intents()) == 1


@without_a_list_of_plugins()
def test_history_keeps_what_was_settled(make_site: MakeSite, server: Server) -> None:
    """The call has its line, with its digest, under the plan that announced it."""
    site = killed(make_site, server, RELEASE, "after")
    command(site, "state settle -t site")
    runs = json.loads(command(site, "state history -t site --json"))["runs"]
    (call,) = [c for run in runs for c in run["calls"] if c["address"].startswith("release/")]
    assert call["result"] == "settled: cannot be told"
    assert call["digest"].startswith("pkg1:sha256:")


def test_who_stops_it_is_told_that_what_was_settled_stays(
    make_site: MakeSite, server: Server
) -> None:
    """The signal arrives right after the outcome was written."""
    site = killed(make_site, server, STORAGE, "after")
    altered = json.dumps({"signal": signal.SIGTERM, "nth": 1, "moment": "after"})
    stopped = subprocess.run(
        [sys.executable, "-m", "fault.altered", altered, "state", "settle", "-t", "site"],
        cwd=site.root, env={**environment(site.environ), "PYTHONPATH": str(TESTS)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert stopped.returncode == 143, stopped.stderr
    said = " ".join(stopped.stderr.split())
    assert said.startswith("Terminated. Calls that were settled before that are recorded: ")
    assert "`synapse-apply state history -t site` shows them." in said
    assert "create settled: done" in command(site, "state history -t site")
