"""Each sentence on a call of unknown outcome is so, and each way out that is printed is accepted."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fault.commands import FOREVER, applying, kill, reaches
from fault.convergence import command, on_api, without_a_list_of_plugins
from fault.site import LATER, SEPARATOR, MakeSite, Server, Site
from fault.test_creates_that_act_again import POST, STORAGE
from fault.test_creates_that_act_again import killed as killed_at
from fault.test_lost_updates import PLUGIN, begun, change_outside, declare, killed, live, update
from fault.test_lost_updates_told import change_beside, told, unrecorded

RELEASE = "release/plugin-0@1.0.0"
NEXT = "release/plugin-0@1.1.0"
PRINTED = re.compile(r"`synapse-apply ([^`]+)`")


def documents(site: Site) -> list[dict[str, Any]]:
    path = site.root / "manifests" / "group-0.yaml"
    return [json.loads(text) for text in path.read_text().split(SEPARATOR)]


def write(site: Site, *found: dict[str, Any]) -> None:
    path: Path = site.root / "manifests" / "group-0.yaml"
    path.write_text(SEPARATOR.join(map(json.dumps, found)))


def release_next(site: Site) -> None:
    """Declare version 1.1.0 in the place of 1.0.0."""
    plugin, release, *others = documents(site)
    release["spec"]["version"] = "1.1.0"
    write(site, plugin, release, *others)
    config = site.root / "plugins" / "plugin-0" / "config.yaml"
    config.write_text(config.read_text().replace("1.0.0", "1.1.0"))


def ways_out(said: str) -> list[str]:
    """The commands that the rows of a plan, or of `state settle`, print as ways out."""
    rows = [row for row in told(said).split("  ") if row]
    printed = " ".join(rows).partition("Ways out:")[2].partition("Refused:")[0]
    return list(dict.fromkeys(PRINTED.findall(printed)))


def test_a_create_whose_object_is_recorded_under_another_address_ends_by_itself(
    make_site: MakeSite,
) -> None:
    """It acted; its manifest was renamed, and what it made was imported under the new name."""
    site = make_site(groups=0, extra_storages=1, settle_after=300)
    killed_at(site, site.server, POST, "after")
    more: Path = site.root / "manifests" / "more.yaml"
    document = json.loads(more.read_text())
    document["metadata"]["name"] = "renamed"
    more.write_text(json.dumps(document))
    (remote_id,) = (row["id"] for row in site.server.objects("storage"))
    command(site, f"import storage/renamed {remote_id} -t site")
    said = told(command(site, "plan -t site"))
    assert f"! {STORAGE} cannot be created: an earlier create was sent at " in said
    assert "it is too early to know" in said
    assert "import storage" not in said
    assert "of the manifests wait" not in told(command(site, "drift -t site"))
    settled = told(command(site, "state settle --wait -t site"))
    assert f"the object with its name (id {remote_id}) is recorded as storage/renamed" in settled
    assert site.open_intents() == []
    assert "No changes" in command(site, "plan -t site")
    assert site.records() == {"storage/renamed": str(remote_id)}


@on_api("v1", "v2")
@pytest.mark.parametrize("then", ["open", "given up"])
def test_what_depends_on_an_object_with_a_call_waits_for_it_also_if_that_is_not_selected(
    make_site: MakeSite, then: str
) -> None:
    """The plan has no row of the plugin, so that the release's own row says how to wait."""
    site = begun(make_site, settle_after=300)
    killed(site, site.server, "before")
    if then == "given up":
        assert site.apply().code == 0
    declare(site, "eleven")
    release_next(site)
    only = f"--only {NEXT} -t site"
    said = told(command(site, f"apply --auto-approve {only}", code=7))
    assert f"! {NEXT} cannot be created: it depends on {PLUGIN}, which this plan cannot" in said
    assert "solve plugin" not in said
    (way,) = ways_out(command(site, f"plan {only}"))
    assert way == f"apply --wait {only}"
    command(site, f"plan --out p.plan {only}")
    # What waits is no drift.
    assert "No drift" in command(site, f"drift {only}")
    command(site, f"{way} --auto-approve")
    assert NEXT in site.records()


@without_a_list_of_plugins()
@pytest.mark.parametrize("end", ["killed", "cut"])
def test_the_address_of_what_was_made_anew_is_freed_before_the_import(
    make_site: MakeSite, end: str
) -> None:
    """The recorded object is gone, and the address still has it."""
    site = make_site(groups=1)
    plugin, _, storage = documents(site)
    write(site, plugin, storage)
    assert site.apply().code == 0
    ((old_id,),) = [ids for name, ids in site.server.ids().items() if name == PLUGIN]
    site.server.send("DELETE", f"/_emulator/objects/plugin/{old_id}/")
    freed = [f"state rm {PLUGIN} -t site", f"import {PLUGIN} ID -t site"]
    said = told(command(site, "plan -t site"))
    assert (
        "If the object exists: `synapse-apply state rm ADDRESS -t site`, then `synapse-apply import"
    ) in said
    match = {"method": "POST", "path": "/plugins/"}
    if end == "killed":
        site.server.faults({"match": match, "do": {"hang": FOREVER, "commit": "after"}})
        with applying(site, "--recreate") as process:
            reaches(site.server, process)
            assert kill(process)
    else:
        site.server.faults({"match": match, "do": {"reset": "after"}})
        said = told(command(site, "apply --auto-approve --recreate -t site", code=7))
        assert PRINTED.findall(said.partition("if the object exists, ")[2])[:2] == freed
    site.server.faults()
    for line, code in (("plan", 0), ("state settle", 7)):
        assert ways_out(command(site, f"{line} -t site", code=code))[:2] == freed, line
    listed = told(command(site, "state show -t site"))
    assert PRINTED.findall(listed.partition("if it is there: ")[2])[:2] == freed
    ((new_id,),) = [ids for name, ids in site.server.ids().items() if name == PLUGIN]
    for way in freed:
        command(site, way.replace(" ID ", f" {new_id} "))
    assert site.open_intents() == []
    assert "No changes" in command(site, "plan -t site")


@without_a_list_of_plugins()
@pytest.mark.parametrize("has_code", [True, False])
def test_what_was_forgotten_over_an_open_update_is_imported_and_not_made_again(
    make_site: MakeSite, *, has_code: bool
) -> None:
    """Nothing but its id leads to it; a create would fail for its code, or make a second one."""
    site = make_site(groups=1)
    plugin, _, storage = documents(site)
    if not has_code:
        del plugin["spec"]["code"]
    write(site, plugin, storage)
    assert site.apply().code == 0
    declare(site, "ten")
    killed(site, site.server, "before")
    remote_id = site.records()[PLUGIN]
    command(site, f"state rm {PLUGIN} -t site")
    way = f"import {PLUGIN} {remote_id} -t site"
    only_way = f"Way out: `synapse-apply {way}` records the forgotten object"
    assert only_way in told(command(site, "plan -t site"))  # while the update may act
    for line in ("apply --wait", "plan", "apply", f"apply --exclude {PLUGIN}", "apply"):
        is_refused = line.startswith("apply") and "exclude" not in line
        approval = "" if line == "plan" else " --auto-approve"
        said = command(site, f"{line}{approval} -t site", code=5 if is_refused else 0)
        told_way = f"Way out: `synapse-apply {way}` records the object again"
        assert (told_way in told(said)) is ("exclude" not in line), line
        assert [row["id"] for row in site.server.objects("plugin")] == [int(remote_id)]
    command(site, way)
    assert site.apply().code == 0
    assert [row["body"]["description"] for row in site.server.objects("plugin")] == ["ten"]
    assert site.open_intents() == []
    assert "No changes" in command(site, "plan -t site")


@without_a_list_of_plugins()
def test_of_what_is_gone_and_cannot_be_looked_up_drift_promises_no_apply(
    make_site: MakeSite,
) -> None:
    """A guard stops the apply, and says when `--recreate` is right."""
    site = make_site(groups=1)
    plugin, _, storage = documents(site)
    write(site, plugin, storage)
    assert site.apply().code == 0
    remote_id = site.records()[PLUGIN]
    site.server.send("DELETE", f"/_emulator/objects/plugin/{remote_id}/")
    said = told(command(site, "drift -t site"))
    assert "restores the declared values" not in said
    assert "and --recreate was not given" in said
    (way,) = PRINTED.findall(said)
    assert "If the object does not exist: --recreate" in told(command(site, way))
    command(site, "apply --auto-approve -t site", code=5)
    command(site, "apply --recreate --auto-approve -t site")
    assert "No drift" in command(site, "drift -t site")


@on_api("v1", "v2")
def test_a_saved_plan_that_is_used_up_is_not_to_be_applied_again(make_site: MakeSite) -> None:
    """What its apply left open is for a new plan; a reviewed plan may be applied again."""
    site = begun(make_site)
    command(site, "plan --out p.plan -t site")
    site.server.faults({"match": update(site), "do": {"reset": "before"}})
    said = told(command(site, "apply p.plan -t site", code=7))
    site.server.faults()
    assert (
        "Plan again to finish the rest, because this plan is used up. Apply does not repeat a call"
    ) in said
    assert "un apply again" not in said
    command(site, "apply p.plan -t site", code=4)
    site.server.faults({"match": update(site), "do": {"reset": "before"}})
    said = told(command(site, "apply --auto-approve --reviewed p.plan -t site", code=7))
    site.server.faults()
    assert (
        "Run apply again to finish the rest. Apply does not repeat a call that is recorded as done."
        in said
    )
    command(site, "apply --auto-approve --reviewed p.plan -t site")
    assert live(site.server) == "ten"


@on_api("v2")
def test_an_update_of_single_fields_is_not_told_to_set_back_others(make_site: MakeSite) -> None:
    """A PATCH sends its own fields alone."""
    site = begun(make_site)
    killed(site, site.server, "before")
    for line in ("plan", "drift"):
        said = told(command(site, f"{line} -t site"))
        assert "The earlier call may still set description again." in said, line
        assert "revert other fields" not in said, line


@on_api("v1", "v2")
@pytest.mark.parametrize("on_drift", ["hold", "revert"])
def test_what_drift_cannot_write_yet_is_not_offered(make_site: MakeSite, on_drift: str) -> None:
    """A call of the object is open, which is about to be sent again."""
    site = begun(make_site)
    declare(site, "ten", on_drift=on_drift)
    killed(site, site.server, "before")
    change_beside(site.server, {"name": "by hand"})
    for line in ("plan", "drift"):
        said = command(site, f"{line} -t site")
        assert "by hand" in said
        assert "drift --write" not in said, line
    command(site, f"drift --write {PLUGIN} -t site", code=1)
    command(site, "state settle --wait -t site")
    (way,) = re.findall("`synapse-apply (drift --write [^`]*)`", command(site, "drift -t site"))
    command(site, way.replace("ADDRESS", PLUGIN))


@pytest.mark.parametrize("api", ["v2"], indirect=True)
def test_drift_of_what_is_no_longer_declared_cannot_be_told_while_its_lock_may_act(
    make_site: MakeSite,
) -> None:
    """It is recorded, and the plan refuses its row: nobody knows whether it is locked."""
    site = make_site(groups=1, settle_after=300)
    assert site.apply().code == 0
    plugin, release, storage = documents(site)
    release["spec"]["locked"] = True
    write(site, plugin, release, storage)
    killed_at(site, site.server, {"method": "POST", "path": "/v2/plugin-releases/*/release/"})
    write(site, plugin, storage)
    said = told(command(site, "drift -t site", code=1))
    assert "No drift" not in said
    assert f"{RELEASE}: an earlier lock was sent at " in said
    assert "of the manifests wait" not in said


def test_what_waits_to_be_forgotten_is_not_told_as_declared(make_site: MakeSite) -> None:
    """It stands in no manifest any more; the change that waits is one of the manifests."""
    site = make_site(groups=0, extra_storages=2)
    assert site.apply().code == 0
    more: Path = site.root / "manifests" / "more.yaml"
    more.write_text(more.read_text().split(SEPARATOR)[0])
    said = told(command(site, "drift -t site"))
    assert "1 change in the manifests waits for an apply" in said
    assert "declared change" not in said


def rekeyed(site: Site) -> str:
    return told(command(site, "state rekey --auto-approve -t site"))


@pytest.mark.parametrize("end", ["open", "found done", "given up"])
def test_a_rekey_reaches_the_calls_that_may_still_act(
    secret: Site, server: Server, end: str
) -> None:
    """The value that was sent is at hand: the same is sent again, and nobody is told of another."""
    declare(secret, "nine", settle_after=300)
    assert secret.apply().code == 0
    rotate(secret)
    killed(secret, server, "after" if end == "found done" else "before")
    if end == "given up":
        assert secret.apply().code == 0
    if end == "found done":
        assert "update was done" in command(secret, "state settle -t site")
    said = rekeyed(secret)
    if end == "open":
        (way,) = PRINTED.findall(said)
        assert way == f"apply --resend-secrets --only {PLUGIN} -t site"
        command(secret, f"{way} --auto-approve")
    for line in ("plan", "drift"):
        said = command(secret, f"{line} -t site")
        assert "would set configuration" not in said, line
        assert "cannot be applied" not in said, line
    assert secret.apply().code == 0


def rotate(site: Site) -> None:
    site.environ["RAW_TOKEN"] = "r0tated-s3cret"


@pytest.fixture
def secret(make_site: MakeSite, api: str) -> Site:
    """A site whose plugin has a secret, which the server shows."""
    site = make_site(groups=1)
    site.environ["RAW_TOKEN"] = "s3cret-token"
    plugin, *others = documents(site)
    plugin["lifecycle"] = {"sensitive": ["/configuration/token"]}
    plugin["spec"]["configuration"] = {"token": {"valueFrom": {"env": "RAW_TOKEN"}}}
    write(site, plugin, *others)
    return site


@on_api("v1", "v2")
def test_a_call_that_was_given_up_and_whose_answer_a_file_has_cannot_act(
    make_site: MakeSite,
) -> None:
    """A later run sent the same again and kept it; then the file was found."""
    site = begun(make_site, settle_after=300)
    file = unrecorded(site, site.server)
    change_outside(site, site.server, "nine")
    assert site.apply().code == 0
    assert "may act" in command(site, "state show -t site")
    file = file.rename(site.root / ".synapse-apply" / file.name)
    change_outside(site, site.server, "by hand")
    for line in ("state show", f"state show {PLUGIN}", "doctor", "plan", "drift", "state settle"):
        said = told(command(site, f"{line} -t site"))
        assert not re.search(r"may (still )?act\b", said), line
    assert "Waiting" not in command(site, "state settle --wait -t site")
    declare(site, "eleven")
    assert site.apply().code == 0
    assert live(site.server) == "eleven"
    command(site, f"state record {file} -t site")
    assert site.apply().code == 0


@on_api("v1", "v2")
def test_of_a_call_that_was_sent_twice_the_first_may_act_beside_the_file(
    make_site: MakeSite,
) -> None:
    """The file has the answer of the second try alone, also once both were given up."""
    site = begun(make_site, settle_after=300)
    file = unrecorded(site, site.server, {"match": update(site, nth=1), "do": {"reset": "before"}})
    change_outside(site, site.server, "nine")
    assert site.apply().code == 0
    file.rename(site.root / ".synapse-apply" / file.name)
    for line in ("state show", f"state show {PLUGIN}", "doctor"):
        assert "may act for another" in told(command(site, f"{line} -t site")), line
    declare(site, "eleven")
    assert site.apply().code == 7
    assert site.apply(ahead=LATER).code == 0


OPEN: dict[str, tuple[str, dict[str, Any]]] = {
    "update": (PLUGIN, {}),
    "storage": (STORAGE, POST),
    "release": (NEXT, {"method": "POST", "path": "*/plugin*releases/"}),
}


@on_api("v1", "v2")
@pytest.mark.parametrize("what", OPEN)
@pytest.mark.parametrize("line", ["plan", "state settle"])
def test_every_way_out_that_is_printed_is_accepted(
    make_site: MakeSite, server: Server, api: str, what: str, line: str
) -> None:
    """Each is typed as it stands, in a project of its own."""
    number, count = 0, 1
    while number < count:
        site = make_site(groups=1, settle_after=300)
        declare(site, "nine")
        assert site.apply().code == 0
        if what == "storage":
            (site.root / "manifests" / "more.yaml").write_text(
                json.dumps({"apiVersion": "synapse-apply/v1", "kind": "Storage",
                            "metadata": {"name": "more-0"},
                            "spec": {"name": "more-0", "provider": "file_system",
                                     "category": "internal",
                                     "configuration": {"base_path": "/0"}}})
            )  # fmt: skip
        address, match = OPEN[what]
        if what == "update":
            declare(site, "ten")
            match = update(site)
        if what == "release":
            release_next(site)
            match = {
                "method": "POST",
                "path": "/v2/plugin-releases/" if api == "v2" else "/plugin_releases/",
            }
        killed_at(site, server, match)
        if what == "update":
            declare(site, "eleven")
        ways = ways_out(command(site, f"{line} -t site", code=7 if line == "state settle" else 0))
        assert ways, line
        count, way = len(ways), ways[number]
        command(site, f"{way} --auto-approve" if way.startswith("apply ") else way)
        assert "Outcome unknown" not in command(site, "state show -t site")
        assert site.apply(ahead=LATER).code == 0
        assert site.open_intents() == []
        assert address in site.records()
        number += 1


@on_api("v1", "v2")
@pytest.mark.parametrize("option", ["", "--reviewed "])
def test_a_plan_that_was_refused_in_a_row_is_not_to_be_waited_with(
    make_site: MakeSite, option: str
) -> None:
    """Neither way does what the file was refused in: a new plan does."""
    site = begun(make_site, settle_after=300)
    killed(site, site.server, "before")
    declare(site, "eleven")
    command(site, "plan --out p.plan -t site")
    said = told(command(site, f"apply --auto-approve {option}p.plan -t site", code=7))
    assert "plan again after " in said
    assert "apply --wait" not in said
    command(site, f"apply --auto-approve --wait {option}p.plan -t site", code=4)
    (way,) = [one for one in ways_out(command(site, "plan -t site")) if "--wait" in one]
    command(site, f"{way} --auto-approve")
    assert live(site.server) == "eleven"


def test_the_call_of_what_is_not_selected_is_waited_for_by_what_is_printed(
    make_site: MakeSite, server: Server
) -> None:
    """`apply --wait` waits for what is selected alone."""
    site = begun(make_site, extra_storages=1, settle_after=0.1)
    killed(site, server, "before")
    selection = "--only storage/more-0"
    for line in (f"plan {selection}", f"plan --exclude {PLUGIN}", f"drift {selection}"):
        said = told(command(site, f"{line} -t site"))
        assert "it is too early to know" in said
        assert "apply --wait" not in said
        assert f"`synapse-apply state settle {PLUGIN} --wait -t site` waits for the call." in said
    command(site, f"state settle {PLUGIN} --wait -t site")
    assert site.open_intents() == []
    assert "too early" not in command(site, f"plan {selection} -t site")
