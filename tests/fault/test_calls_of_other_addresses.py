"""A call that may still act is known whatever its object is called since, and by whichever API."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from fault.commands import FOREVER, applying, kill
from fault.convergence import command, on_api
from fault.site import LATER, SEPARATOR, MakeSite, Site, pending
from fault.test_creates_that_act_again import POST, STORAGE
from fault.test_creates_that_act_again import killed as killed_create
from fault.test_lost_updates import PLUGIN, begun, change_outside, declare, killed, live, update
from fault.test_lost_updates_told import OTHER_API, told
from forges.loopback_server import wait_until

from synapse_apply import open_state

NEW = "plugin/renamed"


def rename(site: Site, old: str, new: str) -> None:
    """Give a plugin another name in its manifest, and in all that names it."""
    path: Path = site.root / "manifests" / "group-0.yaml"
    documents = [json.loads(text) for text in path.read_text().split(SEPARATOR)]
    for document in documents:
        if document["kind"] == "Plugin" and document["metadata"]["name"] == old:
            document["metadata"]["name"] = new
        if document["spec"].get("plugin") == old:
            document["spec"]["plugin"] = new
    path.write_text(SEPARATOR.join(map(json.dumps, documents)))


@on_api("v1", "v2")
def test_no_update_while_a_call_of_its_earlier_name_may_act(make_site: MakeSite) -> None:
    """A backup from before a rename is restored: the call was sent under the other address."""
    site = begun(make_site, settle_after=300)
    backup = site.root.with_name("before.db")
    command(site, f"state backup {backup} -t site")
    command(site, f"state mv {PLUGIN} {NEW} -t site")
    rename(site, "plugin-0", "renamed")
    killed(site, site.server, "before")
    command(site, f"state restore {backup} --auto-approve -t site")
    rename(site, "renamed", "plugin-0")
    declare(site, "eleven")
    refused = site.apply()
    assert refused.code == 7
    assert live(site.server) == "nine"
    change_outside(site, site.server, "ten")  # as the killed call does now
    assert "changed outside" not in command(site, "plan -t site") + command(site, "drift -t site")
    assert site.apply(ahead=LATER).code == 0
    assert live(site.server) == "eleven"
    assert pending(site.plan(ahead=LATER)) == []


@on_api("v1", "v2")
@pytest.mark.parametrize("is_repeated", [False, True])
@pytest.mark.parametrize("way", ["adopt", "import"])
def test_no_update_over_another_api_while_a_call_may_act(
    make_site: MakeSite, api: str, way: str, *, is_repeated: bool
) -> None:
    """Each version has ids of its own: the object is known by its natural key."""
    site = begun(make_site, settle_after=300)
    killed(site, site.server, "before")
    if is_repeated:
        assert site.apply().code == 0
    before = live(site.server)
    declare(site, "ten", api=OTHER_API[api], unsupported_fields="warning")
    command(site, f"state rm {PLUGIN} release/plugin-0@1.0.0 -t site")
    rename(site, "plugin-0", "renamed")
    declare(site, "eleven")
    if way == "import":
        ((remote_id,),) = [ids for name, ids in site.server.ids().items() if name == PLUGIN]
        command(site, f"import {NEW} {remote_id} -t site")
    said = told(command(site, "plan -t site"))
    assert f"{NEW} cannot be applied: an earlier update of {PLUGIN}, which may be the same" in said
    command(site, "apply --auto-approve --adopt -t site", code=7)
    assert live(site.server) == before


@on_api("v1", "v2")
@pytest.mark.parametrize("has_own_ids", [False, True])
@pytest.mark.parametrize("is_repeated", [False, True])
def test_no_update_by_another_api_of_the_same_address_while_a_call_may_act(
    make_site: MakeSite,
    api: str,
    *,
    is_repeated: bool,
    has_own_ids: bool,
) -> None:
    """Only `api:` of the target changes: the adopted record still has the call of the other one."""
    site = begun(make_site, settle_after=300)
    killed(site, site.server, "before")
    if is_repeated:
        assert site.apply().code == 0
    if has_own_ids:  # as of a platform whose versions do not share their ids
        with open_state(site.where()) as state, state.store.lock("test"):
            (record,) = (
                one for at, one in state.store.read_state().records.items() if str(at) == PLUGIN
            )
            calls = tuple(replace(call, remote_id="77") for call in record.given_up)
            state.store.write_records(replace(record, remote_id="77", given_up=calls))
    before = live(site.server)
    declare(site, "eleven", api=OTHER_API[api], unsupported_fields="warning")
    said = told(command(site, "plan -t site"))
    assert " cannot be " in said
    assert ": an earlier update" in said
    command(site, "apply --auto-approve --adopt -t site", code=7)
    assert live(site.server) == before
    if is_repeated:  # nothing is to be sent, so that the object can be adopted
        declare(site, before, api=OTHER_API[api], unsupported_fields="warning")
        command(site, "apply --auto-approve --adopt -t site")
        assert f"update of {PLUGIN} (call " in told(command(site, "state show -t site"))
        declare(site, "eleven", api=OTHER_API[api], unsupported_fields="warning")
        assert site.apply().code == 7
        assert live(site.server) == before
    assert site.apply(adopt=True, ahead=LATER).code == 0
    assert live(site.server) == "eleven"


@on_api("v1", "v2")
def test_an_update_that_was_found_done_is_not_forgotten_with_its_record(
    make_site: MakeSite,
) -> None:
    """A gateway may repeat it: whoever records the object again waits for it, or is told of it."""
    site = begun(make_site, settle_after=300)
    killed(site, site.server, "after")
    assert "update was done" in command(site, "state settle -t site")
    ((remote_id,),) = [ids for name, ids in site.server.ids().items() if name == PLUGIN]
    said = told(command(site, f"state rm {PLUGIN} -t site"))
    assert f"update of {PLUGIN} (call " in told(command(site, "state show -t site")), said
    command(site, f"import {PLUGIN} {remote_id} -t site")
    assert f"update of {PLUGIN} (call " in told(command(site, "state show -t site"))
    declare(site, "eleven")
    assert site.apply().code == 7
    assert site.apply(ahead=LATER).code == 0
    assert live(site.server) == "eleven"


def test_a_create_that_was_found_done_is_not_forgotten_with_its_record(make_site: MakeSite) -> None:
    """Its address is refused for so long; what was forgotten is recorded by nobody but a person."""
    site = make_site(groups=0, extra_storages=1, settle_after=300)
    killed_create(site, site.server, POST, "after")
    assert site.apply().code == 0
    command(site, f"state rm {STORAGE} -t site")
    assert f"create of {STORAGE} (call " in told(command(site, "state show -t site"))
    assert site.apply().code == 7
    assert site.records() == {}
    settled = told(command(site, "state settle --wait -t site"))
    assert "was forgotten" in settled
    assert site.records() == {}
    command(site, "apply --auto-approve -t site", code=5)
    assert f"{STORAGE} will be imported" in told(command(site, "plan --adopt -t site"))


def test_a_create_that_was_found_done_outlives_a_restored_backup(make_site: MakeSite) -> None:
    """The backup is from before it: the create is looked up again, and still told of."""
    site = make_site(groups=1, extra_storages=1, settle_after=300)
    more: Path = site.root / "manifests" / "more.yaml"
    text = more.read_text()
    more.unlink()
    assert site.apply().code == 0
    backup = site.root.with_name("before.db")
    command(site, f"state backup {backup} -t site")
    more.write_text(text)
    killed_create(site, site.server, POST, "after")
    assert site.apply().code == 0
    assert f"create of {STORAGE} (call " in command(site, "state show -t site")
    command(site, f"state restore {backup} --auto-approve -t site")
    assert f"create of {STORAGE} (call " in told(command(site, "state show -t site"))
    assert site.apply().code == 0
    assert STORAGE in site.records()
    assert "and would create a second object." in told(command(site, "plan -t site"))


@pytest.mark.parametrize("way", ["state mv", "moved"])
def test_what_is_renamed_to_the_address_of_an_open_create_is_not_forgotten(
    make_site: MakeSite, way: str
) -> None:
    """The create lands: its object and the renamed one have one address, and both are kept."""
    site = make_site(groups=0, extra_storages=1, settle_after=300)
    more: Path = site.root / "manifests" / "more.yaml"
    text = more.read_text()
    other = json.loads(text)
    other["metadata"]["name"] = other["spec"]["name"] = "other"
    more.write_text(json.dumps(other))
    assert site.apply().code == 0
    more.write_text(SEPARATOR.join([json.dumps(other), text]))
    killed_create(site, site.server, POST)
    other["metadata"]["name"] = "more-0"
    more.write_text(json.dumps(other))
    if way == "state mv":
        said = told(command(site, f"state mv storage/other {STORAGE} -t site", code=1))
        assert (
            f"It is still unknown whether an earlier call (create of {STORAGE}) was done." in said
        )
    else:
        project = json.loads((site.root / "synapse-apply.yaml").read_text())
        project["moved"] = [{"from": "storage/other", "to": STORAGE}]
        (site.root / "synapse-apply.yaml").write_text(json.dumps(project))
    (before,) = site.records().items()
    site.server.send("POST", "/storages/", json.loads(text)["spec"])  # as the killed call does now
    if way == "state mv":
        command(site, "state settle -t site")
        assert sorted(site.records()) == [STORAGE, "storage/other"]
    else:
        site.apply()
        assert sorted(site.records()) == [STORAGE, "storage/other"]
        said = told(command(site, "plan --prune -t site"))
        assert f"storage/other cannot become {STORAGE}: {STORAGE} is also recorded." in said
        assert "will be destroyed" not in said
        command(site, f"state rm {STORAGE} -t site")
        assert site.apply(ahead=LATER).code == 0
        assert site.records() == {STORAGE: before[1]}


@pytest.mark.parametrize("api", ["v2"], indirect=True)
def test_each_of_two_calls_of_one_address_is_looked_at(make_site: MakeSite) -> None:
    """They are of two objects, one of which is declared elsewhere: no update of it precedes its call."""
    site = make_site(groups=2, settle_after=300)
    assert site.apply().code == 0
    ids = site.records()
    manifests = sorted((site.root / "manifests").iterdir())
    for path in manifests:
        path.write_text(path.read_text().replace('"description": "a"', '"description": "first"'))
    site.server.faults({"match": update(site), "do": {"hang": FOREVER}})
    with applying(site, parallelism=2) as process:
        wait_until(lambda: site.server.counts()[0]["done"] == 2, 60, "both updates are held")
        assert kill(process)
    site.server.faults()
    rename(site, "plugin-0", "renamed")
    declare(site, "newer")
    manifests[1].unlink()
    command(site, f"state rm {PLUGIN} plugin/plugin-1 -t site")
    command(site, f"import {PLUGIN} {ids['plugin/plugin-1']} -t site")
    command(site, f"state rm {PLUGIN} -t site")
    assert list(map(str, site.open_intents())) == [PLUGIN, PLUGIN]
    said = told(command(site, "apply --auto-approve --adopt -t site", code=7))
    assert f"{NEW} cannot be applied: an earlier update of {PLUGIN}, which may be the same" in said
    assert "newer" not in str(site.server.objects("plugin"))


@on_api("v1", "v2")
@pytest.mark.parametrize("is_repeated", [False, True])
def test_over_another_api_a_recorded_object_is_not_imported_under_another_name(
    make_site: MakeSite, api: str, *, is_repeated: bool
) -> None:
    """Two records would be of one object, and only the older one has the call."""
    site = begun(make_site, settle_after=300)
    killed(site, site.server, "before")
    if is_repeated:
        assert site.apply().code == 0
    before = live(site.server)
    declare(site, "eleven", api=OTHER_API[api], unsupported_fields="warning")
    rename(site, "plugin-0", "renamed")
    ((remote_id,),) = [ids for name, ids in site.server.ids().items() if name == PLUGIN]
    said = told(command(site, f"import {NEW} {remote_id} -t site", code=1))
    assert "The object already has an address" in said
    assert f"`synapse-apply state mv {PLUGIN} {NEW} -t site`" in said
    assert NEW not in site.records()
    if is_repeated:
        command(site, f"state mv {PLUGIN} {NEW} -t site")
        assert site.apply(adopt=True).code == 7
    else:
        assert site.apply().code == 7
    assert live(site.server) == before
    change_outside(site, site.server, "ten")  # as the killed call does now
    assert "changed outside" not in command(site, "plan -t site")
    command(site, "state settle -t site")
    if not is_repeated:
        command(site, f"state mv {PLUGIN} {NEW} -t site")
    assert site.apply(adopt=True, ahead=LATER).code == 0
    assert live(site.server) == "eleven"


@on_api("v1", "v2")
def test_an_object_of_another_code_does_not_close_a_create(make_site: MakeSite, api: str) -> None:
    """A wrong id was typed: what the create makes is found, and is nobody's unknown object."""
    site = make_site(groups=1, settle_after=300)
    killed_create(
        site, site.server, {"method": "POST", "path": "/plugins/" if api == "v1" else "/v2/plugin*"}
    )
    path: Path = site.root / "manifests" / "group-0.yaml"
    text = path.read_text()
    body = json.loads(text.split(SEPARATOR)[0])["spec"]
    other = site.server.send("POST", "/plugins/", {**body, "code": "other"})["id"]
    said = told(command(site, f"import {PLUGIN} {other} -t site"))
    assert f"create of {PLUGIN} (call " in said
    assert PLUGIN in map(str, site.open_intents())
    assert f"create of {PLUGIN} (call " in told(command(site, "state show -t site"))
    assert site.apply().code == 7
    made = site.server.send("POST", "/plugins/", body)["id"]  # as the killed call does now
    said = told(command(site, "state settle -t site", code=7))
    assert (
        f"(id {made}) is not recorded: {PLUGIN} is id {other}" in said
        if api == "v2"
        else f"if it is there: `synapse-apply state rm {PLUGIN} -t site`" in said
    )
    command(site, f"state rm {PLUGIN} -t site")
    command(site, f"import {PLUGIN} {made} -t site")
    assert PLUGIN not in map(str, site.open_intents())
    assert site.apply(ahead=LATER).code == 0
    assert site.open_intents() == []
    assert site.records()[PLUGIN] == str(made)
