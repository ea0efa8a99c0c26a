"""What commands say of an open call is so where another run, a file or a name stands beside it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from fault.commands import FOREVER, applying, kill_amid, reaches
from fault.convergence import command, on_api
from fault.site import LATER, SEPARATOR, MakeSite, Site
from fault.test_lost_updates import (
    PLUGIN,
    begun,
    change_outside,
    declare,
    killed,
    live,
    results,
    update,
)
from fault.test_lost_updates_told import change_beside, told, unrecorded

from synapse_apply import PlanOptions, plan

WOULD = "may still act until"


@on_api("v1", "v2")
def test_beside_a_run_under_way_nobody_is_sent_to_settle(make_site: MakeSite) -> None:
    """It holds the lock: settling is refused then, and the run is named."""
    site = begun(make_site)
    site.server.faults({"match": update(site), "do": {"hang": FOREVER, "commit": "before"}})
    with applying(site) as process:
        reaches(site.server, process)
        change_beside(site.server, {"description": "by hand"})
        said = told(command(site, f"state accept {PLUGIN} --auto-approve -t site", code=1))
        assert "A call of this object is open" in said
        assert "Another run is changing this target" in said
        assert "running apply since" in said
        assert "Try again when the other run has ended." in said
        assert "state settle" not in said


@on_api("v1", "v2")
def test_show_tells_of_the_call_that_a_run_under_way_has_open(make_site: MakeSite) -> None:
    """As the plan does; of another object it says nothing."""
    site = begun(make_site)
    site.server.faults({"match": update(site), "do": {"hang": FOREVER, "commit": "before"}})
    with applying(site) as process:
        reaches(site.server, process)
        said = told(command(site, f"show {PLUGIN} -t site"))
        assert "running apply since" in said
        assert f"{PLUGIN}: update was sent at " in said
        assert "the run in progress has not recorded how the call ended" in said
        assert "running apply" not in told(command(site, "show storage/storage-0 -t site"))


def test_settling_a_name_waits_for_the_calls_of_that_name_alone(make_site: MakeSite) -> None:
    """A call of another object that was given up may still act; nothing of this one waits for it."""
    site = make_site(groups=2)
    declare(site, "nine")
    assert site.apply().code == 0
    declare(site, "ten", settle_after=300)
    killed(site, site.server, "before")
    assert site.apply().code == 0  # the same again: the first try may act for five minutes
    path: Path = site.root / "manifests" / "group-1.yaml"
    path.write_text(path.read_text().replace('"description": "a"', '"description": "b"'))
    killed(site, site.server, "after")
    said = told(command(site, "state settle plugin/plugin-1 --wait -t site"))
    assert "plugin/plugin-1: update was done" in said
    assert "Waiting" not in said
    assert PLUGIN not in said


def test_an_address_without_an_open_call_sends_nobody_to_a_plan(make_site: MakeSite) -> None:
    """Nothing is refused there: a call was settled already."""
    site = begun(make_site)
    killed(site, site.server, "before")
    command(site, f"state settle {PLUGIN} --absent -t site")
    said = told(command(site, f"state settle {PLUGIN} --absent -t site", code=1))
    assert "`synapse-apply state history -t site` shows how earlier calls ended." in said
    assert "what is refused" not in said


@on_api("v2")
@pytest.mark.parametrize("is_declared", [True, False])
def test_what_is_adopted_is_not_to_be_imported_as_well(
    make_site: MakeSite, *, is_declared: bool
) -> None:
    """The address is taken then: the forgotten object is not recorded under it again."""
    site = begun(make_site, settle_after=0.1)
    killed(site, site.server, "before")
    ((old_id,),) = [ids for name, ids in site.server.ids().items() if name == PLUGIN]
    command(site, f"state rm {PLUGIN} -t site")
    if not is_declared:
        (site.root / "manifests" / "group-0.yaml").unlink()
    with site.opened(LATER) as session:
        found = plan(session, PlanOptions(adopt=True)).plan
    (told_of,) = [d for d in found.diagnostics if d.summary == "An earlier call was looked up"]
    assert (f"import {PLUGIN} {old_id}" in told_of.hint) is not is_declared


@on_api("v1", "v2")
def test_one_update_is_counted_once_whatever_becomes_of_its_record(make_site: MakeSite) -> None:
    """Imported, forgotten, which opens it again, and imported under another address."""
    site = begun(make_site)
    killed(site, site.server, "before")
    ((id_,),) = [ids for name, ids in site.server.ids().items() if name == PLUGIN]

    def counts() -> dict[str, int]:
        runs = json.loads(command(site, "state history -t site --json"))["runs"]
        (lost,) = [run for run in runs if "update" in str(run["counts"])]
        assert sum(lost["results"].values()) == 1
        return dict(lost["counts"])

    assert counts() == {"update not known yet": 1}
    command(site, f"import {PLUGIN} {id_} -t site")
    assert counts() == {"update settled by hand: imported": 1}
    command(site, f"state rm {PLUGIN} -t site")
    assert counts() == {"update not known yet": 1}
    command(site, f"import plugin/zed {id_} -t site")
    assert counts() == {"update settled by hand: imported": 1}


@on_api("v1", "v2")
def test_one_update_is_counted_once(make_site: MakeSite) -> None:
    """A later run found it done; then the file with its answer was recorded."""
    site = begun(make_site)
    file = unrecorded(site, site.server)
    assert "update was done" in command(site, "state settle -t site")
    declare(site, "eleven")
    assert site.apply().code == 0
    command(site, f"state record {file} -t site")
    runs = json.loads(command(site, "state history -t site --json"))["runs"]
    (lost,) = [run for run in runs if len(run["calls"]) == 2]
    assert [call["result"] for call in lost["calls"]] == ["settled: done", "done"]
    assert lost["counts"] == {"update": 1}
    assert "settled" not in command(site, "state history -t site")


@on_api("v1", "v2")
def test_what_a_file_knows_is_not_called_unknown(make_site: MakeSite) -> None:
    """The call was answered, so that it cannot act any more; one hint says what to do."""
    site = begun(make_site, settle_after=300)
    file = unrecorded(site, site.server)
    file = file.rename(site.root / ".synapse-apply" / file.name)
    said = told(command(site, "state show -t site"))
    assert f"`synapse-apply state record {file} -t site` records it" in said
    assert "may act" not in said
    said = told(command(site, "doctor -t site"))
    assert "The next `synapse-apply apply -t site` without a saved plan records them" in said
    assert "The next apply looks them up" not in said


@on_api("v1", "v2")
def test_of_a_call_that_was_sent_twice_the_first_is_told_of_beside_the_file(
    make_site: MakeSite,
) -> None:
    """Only the second one was answered."""
    site = begun(make_site, settle_after=300)
    file = unrecorded(site, site.server, {"match": update(site, nth=1), "do": {"reset": "before"}})
    file.rename(site.root / ".synapse-apply" / file.name)
    assert "may act for another" in told(command(site, "state show -t site"))


@on_api("v1", "v2")
@pytest.mark.parametrize("then", ["forgotten", "another"])
def test_what_was_forgotten_no_file_records_again(make_site: MakeSite, then: str) -> None:
    """Its call is closed; the object comes back by `import` alone."""
    site = begun(make_site)
    file = unrecorded(site, site.server)
    remote_id = site.records()[PLUGIN]
    command(site, f"state rm {PLUGIN} -t site")
    other_id = ""
    if then == "another":
        body = {**site.spec("plugin-0"), "name": "other", "code": "other"}
        other_id = str(site.server.send("POST", "/plugins/", body)["id"])
        command(site, f"import {PLUGIN} {other_id} -t site")
    said = told(command(site, f"state record {file} -t site"))
    assert "Recorded: 1. Known before: 0." in said
    assert "An object was forgotten" in said
    assert site.records().get(PLUGIN, "") == other_id
    assert site.open_intents() == []
    assert results(site)[0] == "done"
    if other_id:
        return
    assert f"`synapse-apply import {PLUGIN} {remote_id} -t site` records the object again" in said
    command(site, f"import {PLUGIN} {remote_id} -t site")
    assert "No changes" in command(site, "plan -t site")


@on_api("v1", "v2")
@pytest.mark.parametrize("on_drift", ["hold", "revert"])
def test_a_value_that_the_server_rewrites_is_not_set_back_by_the_same(
    make_site: MakeSite, on_drift: str
) -> None:
    """The earlier call sent what was sent again, and the server made the same of it."""
    site = begun(make_site, settle_after=300)
    declare(site, "ten  ", on_drift=on_drift)
    killed(site, site.server, "before")
    assert site.apply().code == 0
    if live(site.server) != "ten":
        change_outside(site, site.server, "ten")
    said = told(command(site, "plan -t site"))
    assert "No changes" in said
    assert WOULD not in said
    change_outside(site, site.server, "by hand")
    assert "and would set description back" in told(command(site, "plan -t site"))


@on_api("v1", "v2")
def test_a_plan_that_can_do_nothing_waits_for_nothing(make_site: MakeSite) -> None:
    """What it refuses it refuses for good, and one that was applied is used up."""
    site = begun(make_site, settle_after=300)
    declare(site, "eleven")
    command(site, "plan --out used.plan -t site")
    command(site, "apply used.plan -t site")
    declare(site, "ten")
    killed(site, site.server, "before")
    declare(site, "twelve")
    command(site, "plan --out early.plan -t site")
    said = told(command(site, "apply early.plan --wait -t site", code=4))
    assert "The plan refused all its rows" in said
    assert "Waiting" not in said
    said = told(command(site, "apply used.plan --wait -t site", code=4))
    assert "This plan was already applied" in said
    assert "Waiting" not in said


@pytest.mark.parametrize("api", ["v2"], indirect=True)
@pytest.mark.parametrize("end", ["settled", "answered"])
def test_of_a_lock_that_was_sent_twice_both_tries_are_told_until_it_is_locked(
    make_site: MakeSite, end: str
) -> None:
    """After it nothing of its object changes, whichever of them it was."""
    site = make_site(groups=1, settle_after=300)
    assert site.apply().code == 0
    path: Path = site.root / "manifests" / "group-0.yaml"
    path.write_text(
        path.read_text().replace('"version": "1.0.0"', '"version": "1.0.0", "locked": true')
    )
    name = "release/plugin-0@1.0.0"
    match = {"method": "POST", "path": "/v2/plugin-releases/*/release/"}
    site.server.faults({"match": match, "do": {"reset": "before"}})
    for _ in range(2):
        assert site.apply().code == 7
    site.server.faults()
    tries = rf"(?:lock of {name} \(call|lock of {name}) "
    for line in ("state show", f"state show {name}", "doctor"):
        assert len(re.findall(tries, told(command(site, f"{line} -t site")))) == 2, line
    said = told(command(site, "state settle -t site", code=7))
    assert said.count(f"lock of {name} (call ") == 1
    assert f"! {name}: lock of " in said
    for line in ("plan", "drift", f"show {name}"):
        said = told(command(site, f"{line} -t site"))
        assert f"The outcome of lock of {name}" in said, line
        assert f"An earlier lock of {name} (call " in said, line
        assert "and would lock it." in said, line
    if end == "settled":
        ((remote_id,),) = [
            found for found_name, found in site.server.ids().items() if found_name == name
        ]
        site.server.send("POST", f"/v2/plugin-releases/{remote_id}/release/")
        assert "lock was done" in command(site, "state settle -t site")
    else:
        assert site.apply().code == 0
    for line in ("state show", f"state show {name}", "state settle --wait", "plan", "drift"):
        said = command(site, f"{line} -t site")
        assert "act " not in said, line
        assert "Waiting" not in said


def without_releases(site: Site) -> None:
    for path in (site.root / "manifests").glob("group-*.yaml"):
        plugin, _, storage = path.read_text().split(SEPARATOR)
        path.write_text(SEPARATOR.join((plugin, storage)))


@pytest.mark.parametrize("api", ["v2"], indirect=True)
@pytest.mark.parametrize("asked", ["show", "blame"])
def test_each_object_of_several_open_calls_is_told_of_its_own(
    make_site: MakeSite, asked: str
) -> None:
    """The plan tells of all at once, and names no address then."""
    site = make_site(groups=2)
    assert site.apply().code == 0
    without_releases(site)
    site.server.faults({"match": {"method": "DELETE"}, "do": {"reset": "before"}})
    assert site.apply().code == 7
    site.server.faults()
    assert "The outcome of 2 earlier calls is still unknown" in command(site, "plan -t site")
    for name in ("plugin-0", "plugin-1"):
        said = told(command(site, f"{asked} release/{name}@1.0.0 -t site"))
        assert f"delete of release/{name}@1.0.0 was sent at " in said
        assert f"`synapse-apply state settle release/{name}@1.0.0 --wait -t site` waits" in said
    assert "unknown" not in command(site, f"{asked} storage/storage-0 -t site")


@pytest.mark.parametrize("api", ["v2"], indirect=True)
@pytest.mark.parametrize("asked", ["show", "blame"])
def test_what_a_killed_run_deleted_is_told_as_deleted(make_site: MakeSite, asked: str) -> None:
    """The state still has a record of it, which `state show` shows."""
    site = make_site(groups=1)
    assert site.apply().code == 0
    without_releases(site)
    kill_amid(site, {"method": "DELETE"}, commit="after")
    said = told(command(site, f"{asked} release/plugin-0@1.0.0 -t site", code=1))
    assert "release/plugin-0@1.0.0 is not declared, and its delete of 2" in said
    assert "was done. Hint: The next `synapse-apply apply -t site` removes the record." in said
    assert site.apply().code == 0
    said = told(command(site, f"{asked} release/plugin-0@1.0.0 -t site", code=1))
    assert "release/plugin-0@1.0.0 is not declared or recorded." in said
