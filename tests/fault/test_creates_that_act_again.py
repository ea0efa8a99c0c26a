"""A create that was found done, or imported, is told of while it may make a second object."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fault.commands import kill_amid
from fault.convergence import command, on_api
from fault.site import LATER, SEPARATOR, MakeSite, Server, Site, pending
from fault.test_lost_updates_told import told

STORAGE = "storage/more-0"
POST = {"method": "POST", "path": "/storages/"}
SECOND = f"create of {STORAGE} \\(call \\S+ of apply \\S+, sent at .*\\) may act .*and create a second object\\."


def rows(server: Server) -> list[dict[str, Any]]:
    return [row for row in server.objects("storage") if row["body"]["name"] == "more-0"]


def killed(site: Site, server: Server, match: dict[str, Any], commit: str = "before") -> None:
    kill_amid(site, match, commit=commit)


def make_storage(site: Site, server: Server) -> str:
    """Make what is declared, as another person or the killed call does."""
    body = {**json.loads((site.root / "manifests" / "more.yaml").read_text())["spec"]}
    return str(server.send("POST", "/storages/", body)["id"])


def lost(make_site: MakeSite, server: Server) -> tuple[Site, str]:
    """A site whose create was killed, and the id of what somebody made in its place."""
    site = make_site(groups=0, extra_storages=1, settle_after=300)
    killed(site, server, POST)
    return site, make_storage(site, server)


@pytest.mark.parametrize("way", ["apply", "settle", "import"])
def test_another_persons_object_does_not_end_the_create(
    make_site: MakeSite, server: Server, way: str
) -> None:
    """It has the declared name; our call still makes a second one, and every look says so."""
    site, remote_id = lost(make_site, server)
    typed = {
        "apply": "apply --auto-approve",
        "settle": "state settle",
        "import": f"import {STORAGE} {remote_id}",
    }[way]
    said = told(command(site, f"{typed} -t site"))
    if way == "apply":
        assert re.search(rf"create of {STORAGE}, sent at \S+ by apply \S+, was done\.", said)
        assert "and would create a second object." in said
    else:
        assert re.search(SECOND, said), said
    for line in ("state show", f"state show {STORAGE}", f"state settle {STORAGE}", "doctor"):
        assert re.search(SECOND, told(command(site, f"{line} -t site"))), line
    for line in ("plan", "drift"):
        said = told(command(site, f"{line} -t site"))
        assert f"An earlier create of {STORAGE} (call " in said, line
        assert said.count("and would create a second object.") == 1
    assert site.apply().code == 0
    make_storage(site, server)  # as the killed call does now
    assert len(rows(server)) == 2
    assert "second object" not in str(site.plan(ahead=LATER).diagnostics)


def test_what_is_about_to_be_made_anew_is_told_of_too(make_site: MakeSite, server: Server) -> None:
    """The object is gone again: then there may be two of ours."""
    site, remote_id = lost(make_site, server)
    assert site.apply().code == 0
    server.send("DELETE", f"/_emulator/objects/storage/{remote_id}/")
    assert "and would create a second object." in told(command(site, "plan -t site"))


def test_an_imported_object_is_not_forgotten_while_the_create_may_act(
    make_site: MakeSite, server: Server
) -> None:
    """Nobody would know of it; `state settle --wait` waits until it is certain."""
    site, remote_id = lost(make_site, server)
    command(site, f"import {STORAGE} {remote_id} -t site")
    file: Path = site.root / "manifests" / "more.yaml"
    file.write_text(file.read_text().replace("more-0", "more-1"))
    refused = site.apply()
    assert refused.code == 7
    assert "no record would show it once this is forgotten" in str(pending(refused.plan))
    assert site.apply(ahead=LATER).code == 0
    assert list(site.records()) == ["storage/more-1"]


def test_a_value_that_the_create_sent_is_no_deed_of_it(make_site: MakeSite) -> None:
    """It makes an object and changes none: newer values go out, and others set the older one."""
    site = make_site(groups=1, settle_after=300)
    file: Path = site.root / "manifests" / "group-0.yaml"
    plugin = json.loads(file.read_text().split(SEPARATOR)[0])
    del plugin["spec"]["code"]
    file.write_text(json.dumps(plugin))
    killed(site, site.server, {"method": "POST", "path": "/plugins/"})
    ours = {"code": "by-hand", **plugin["spec"]}
    remote_id = site.server.send("POST", "/plugins/", ours)["id"]
    command(site, f"import plugin/plugin-0 {remote_id} -t site")
    file.write_text(json.dumps(plugin).replace('"a"', '"b"'))
    assert site.apply().code == 0
    said = told(command(site, "plan -t site"))
    assert "and would create a second object." in said
    assert "would set" not in said
    site.server.send("PUT", f"/plugins/{remote_id}/", ours)
    said = told(command(site, "drift -t site"))
    assert "drift: changed outside" in said
    assert "equals what call" not in said


@on_api("v1", "v2")
def test_what_a_backend_has_once_is_not_told_as_made_twice(make_site: MakeSite) -> None:
    """A code, and a version of a plugin, are refused to whoever comes second."""
    site = make_site(groups=1, settle_after=300)
    path = "/v2/plugins/" if site.api == "v2" else "/plugin_releases/"
    killed(site, site.server, {"method": "POST", "path": path}, "after")
    said = told(command(site, "apply --auto-approve -t site"))
    assert re.search(r"create of \S*( and)? ?release/plugin-0@1.0.0, .*sent at \S+ by apply", said)
    assert "create of release/plugin-0@1.0.0 (call" not in said
    assert "create of plugin/plugin-0 (call" not in said
    listed = command(site, "state show -t site")
    assert "may still act" not in "".join(r for r in listed.splitlines() if "plugin-0" in r)


@pytest.mark.parametrize("api", ["v2"], indirect=True)
@pytest.mark.parametrize("half", ["plugin/plugin-0", "release/plugin-0@1.0.0"])
def test_one_request_is_settled_by_hand_as_one(make_site: MakeSite, half: str) -> None:
    """It makes a plugin with its first release: neither half was done without the other."""
    site = make_site(groups=1, settle_after=300)
    killed(site, site.server, {"method": "POST", "path": "/v2/plugins/"})
    both = sorted(map(str, site.open_intents()))
    assert len(both) == 2
    said = told(command(site, f"state settle {half} --absent -t site"))
    (other,) = {*both} - {half}
    assert f"One request creates {half} and {other}: both were settled as not done." in said
    assert site.open_intents() == []
    told_apart = [entry.result for entry in site.written()[1] if entry.address in both]
    assert told_apart == ["settled by hand: not done"] * 2
    assert site.apply().code == 0


@pytest.mark.parametrize("has_looked", [False, True])
@pytest.mark.parametrize("way", ["state mv", "moved"])
def test_a_renamed_create_is_settled_before_it_is_moved(
    make_site: MakeSite, way: str, *, has_looked: bool
) -> None:
    """It was done, and the manifest has another name since: the steps are told in their order."""
    site = make_site(groups=0, extra_storages=1)
    killed(site, site.server, POST, "after")
    file: Path = site.root / "manifests" / "more.yaml"
    document = json.loads(file.read_text())
    document["metadata"]["name"] = "renamed"
    file.write_text(json.dumps(document))
    move = f"state mv {STORAGE} storage/renamed"
    said = told(command(site, f"{move} -t site", code=1))
    assert "A call is not settled yet" in said
    assert f"`synapse-apply state settle {STORAGE} --wait -t site`" in said
    if has_looked:
        assert site.apply().code == 5
    said = told(command(site, "plan -t site"))
    first = "first `synapse-apply state settle -t site` to record an earlier call, then "
    assert (f"{first}`synapse-apply {move} -t site`" in said) is not has_looked, said
    assert f"`synapse-apply {move} -t site`" in said
    if way == "moved":
        project = json.loads((site.root / "synapse-apply.yaml").read_text())
        project["moved"] = [{"from": STORAGE, "to": "storage/renamed"}]
        (site.root / "synapse-apply.yaml").write_text(json.dumps(project))
    else:
        for typed in re.findall(r"`synapse-apply (state [^`]*)`", said):
            command(site, typed)
    assert site.apply().code == 0
    assert list(site.records()) == ["storage/renamed"]
    assert len(site.server.objects("storage")) == 1


def paths_of(server: Server) -> list[str]:
    return [row["body"]["configuration"]["base_path"] for row in rows(server)]


@pytest.mark.parametrize("way", ["apply", "settle"])
def test_an_object_with_other_values_is_not_ours_by_its_name(make_site: MakeSite, way: str) -> None:
    """Somebody made it: nothing of it is overwritten before a person adopts it."""
    site = make_site(groups=0, extra_storages=1, settle_after=300)
    killed(site, site.server, POST)
    body = json.loads((site.root / "manifests" / "more.yaml").read_text())["spec"]
    body["configuration"]["base_path"] = "/theirs"
    site.server.send("POST", "/storages/", body)
    if way == "settle":
        assert "too early to know" in told(command(site, "state settle -t site", 7))
    assert site.apply().code == 7
    assert paths_of(site.server) == ["/theirs"]
    refused = site.apply(ahead=LATER)
    assert refused.code == 5
    assert f"{STORAGE} cannot be imported" in command(site, "plan -t site")
    assert paths_of(site.server) == ["/theirs"]
    assert site.records() == {}
    settled = told(command(site, "state history -t site"))
    assert "1 create settled: cannot be told" in settled


def test_a_create_that_lands_beside_a_restored_record_takes_its_place_nowhere(
    make_site: MakeSite,
) -> None:
    """A backup brought back the record of another object of this address."""
    site = make_site(groups=0, extra_storages=1)
    assert site.apply().code == 0
    backup = site.root.with_name("before.db")
    command(site, f"state backup {backup} -t site")
    command(site, f"state rm {STORAGE} -t site")
    file: Path = site.root / "manifests" / "more.yaml"
    first = file.read_text()
    renamed = json.loads(first)
    renamed["spec"]["name"] = "other"
    file.write_text(json.dumps(renamed))
    killed(site, site.server, POST, "after")
    command(site, f"state restore {backup} --auto-approve -t site")
    said = told(command(site, "state settle -t site"))
    first_id = site.records()[STORAGE]
    assert re.search(rf"{STORAGE}: create was done \(id \d+\); the object with its name", said)
    assert f"is not recorded: {STORAGE} is id {first_id}" in said
    file.write_text(first)
    assert pending(site.plan()) == []
