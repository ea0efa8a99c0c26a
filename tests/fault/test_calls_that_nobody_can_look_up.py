"""A create that its API cannot look up: every text says so at once, with the two ways to settle it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fault.commands import FOREVER, applying, ended, kill_amid, reaches
from fault.convergence import command, without_a_list_of_plugins
from fault.site import MakeSite
from fault.test_lost_updates_told import UTC, told

PLUGIN = "plugin/plugin-0"
POST = {"method": "POST", "path": "/plugins/"}
IMPORT = f"`synapse-apply import {PLUGIN} ID -t site`"
ABSENT = f"`synapse-apply state settle {PLUGIN} --absent -t site`"
LOST: dict[str, dict[str, Any]] = {
    "reset before": {"reset": "before"},
    "reset after": {"reset": "after"},
    "502 after": {"status": 502, "commit": "after"},
}


@without_a_list_of_plugins()
@pytest.mark.parametrize("deed", LOST)
def test_the_apply_that_lost_it_says_what_to_do(make_site: MakeSite, deed: str) -> None:
    """Another apply would only say that it is unknown."""
    site = make_site(groups=1)
    site.server.faults({"match": POST, "do": LOST[deed]})
    said = told(command(site, "apply --auto-approve -t site", code=7))
    site.server.faults()
    assert (
        f"This API cannot look up the call. Check in Synapse: if the object exists, {IMPORT}; "
        f"if it does not, {ABSENT}." in said
    )
    assert "the next run looks it up" not in said
    assert "The next run looks up" not in said
    assert (
        "First settle manually the calls that this API cannot look up: the errors above say "
        "how. Run apply"
    ) in said


@without_a_list_of_plugins()
def test_what_was_stopped_at_once_says_the_same(make_site: MakeSite) -> None:
    """The second signal ends the run while its create is under way."""
    site = make_site(groups=1)
    site.server.faults({"match": POST, "do": {"hang": FOREVER, "commit": "before"}})
    with applying(site, as_json=False) as process:
        reaches(site.server, process)
        process.terminate()
        code, out, err = ended(process)
    site.server.faults()
    said = told(out + err)
    assert code == 7, said
    assert f"if the object exists, {IMPORT}; if it does not, {ABSENT}." in said
    assert "The next run looks up" not in said


def test_what_can_be_looked_up_is_looked_up_by_the_next_run(make_site: MakeSite) -> None:
    """Nothing is to be settled by hand there."""
    site = make_site(groups=0, extra_storages=1)
    site.server.faults({"match": {"method": "POST"}, "do": {"reset": "before"}})
    said = told(command(site, "apply --auto-approve -t site", code=7))
    assert "Apply again: the next run first looks up the call." in said
    assert "The next run first looks up the unknown outcomes." in said
    assert "manually" not in said


@pytest.mark.parametrize("api", ["v2"], indirect=True)
def test_of_what_is_made_together_both_are_looked_up(make_site: MakeSite) -> None:
    """Also where the run was stopped at once."""
    site = make_site(groups=1)
    match = {"method": "POST", "path": "/v2/plugins/"}
    site.server.faults({"match": match, "do": {"hang": FOREVER, "commit": "before"}})
    with applying(site, as_json=False) as process:
        reaches(site.server, process)
        process.terminate()
        _, out, err = ended(process)
    said = told(out + err)
    assert said.count("Apply again: the next run first looks up the call") == 2, said
    assert "cannot look up the call" not in said


@without_a_list_of_plugins()
def test_no_hint_promises_that_waiting_tells(make_site: MakeSite) -> None:
    """`--wait` ends at once; `--absent` comes with the time for which the call may act."""
    site = make_site(groups=1, settle_after=300)
    kill_amid(site, POST, commit="before")
    until = re.compile(rf"if it is not: {re.escape(ABSENT)}; the call may act until {UTC}")
    assert until.search(told(command(site, "plan -t site")))
    assert until.search(told(command(site, "state settle --wait -t site", code=7)))
    said = told(command(site, "state show -t site"))
    assert "waits until the outcome is certain" not in said
    assert (
        "Not every backend can show the outcome of the call: `synapse-apply state settle "
        f"{PLUGIN} -t site` asks this backend." in said
    )


def test_where_waiting_tells_the_hint_is_kept(make_site: MakeSite) -> None:
    """A storage is looked up by its name."""
    site = make_site(groups=0, extra_storages=1)
    kill_amid(site, {"method": "POST"}, commit="before")
    said = told(command(site, "state show -t site"))
    assert "`synapse-apply state settle --wait -t site` waits until the outcome is certain" in said
