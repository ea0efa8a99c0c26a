"""What is said of a call that may still act, and of what it did, is so whatever happened beside it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from controllers.backend_proxy import BackendProxy
from fault.commands import FOREVER, applying, ended, kill, kill_amid, reaches
from fault.convergence import command, on_api, on_store, without_a_list_of_plugins
from fault.site import LATER, SEPARATOR, MakeSite, Server, Site
from fault.test_lost_updates import (
    PLUGIN,
    begun,
    change_outside,
    declare,
    killed,
    live,
    results,
    rotated,
    token,
    update,
    wait_for,
)

from synapse_apply import open_state

UTC = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
MAY_ACT = re.compile(
    rf"An earlier update of {PLUGIN} \(call \S+ of apply \S+, sent at [^)]*\) may still act until"
    rf" {UTC}, and would set description back\."
)


def told(text: str) -> str:
    return " ".join(text.split())


@on_api("v1", "v2")
@pytest.mark.parametrize("on_drift", ["hold", "revert"])
def test_what_somebody_sets_is_not_told_as_kept_while_a_call_may_undo_it(
    make_site: MakeSite, on_drift: str
) -> None:
    """The same was sent again at once; then somebody changed it, and the first call still may act."""
    site = begun(make_site)
    declare(site, "ten", on_drift=on_drift)
    killed(site, site.server, "before")
    assert site.apply().code == 0
    assert "may still act" not in command(site, "plan -t site")
    change_outside(site, site.server, "by hand")
    for line in ("plan -t site", "drift -t site"):
        said = told(command(site, line))
        assert len(MAY_ACT.findall(said)) == 1, said
        assert "`synapse-apply state settle --wait -t site` waits for the call" in said
    document = json.loads(command(site, "drift -t site --json"))
    assert [d["address"] for d in document["diagnostics"]] == [PLUGIN]
    assert MAY_ACT.search(told(command(site, f"drift -t site --write {PLUGIN} --dry-run")))
    applied = told(command(site, "apply --auto-approve -t site"))
    assert MAY_ACT.search(applied), applied
    assert live(site.server) == ("by hand" if on_drift == "hold" else "ten")


@on_api("v1", "v2")
@on_store("sqlite", "s3")
@pytest.mark.parametrize("way", ["rm", "apply"])
def test_what_a_settled_call_sets_is_told_after_its_object_was_forgotten(
    make_shared_site: MakeSite, way: str
) -> None:
    """Until it can no longer act, the state has the call, whoever forgot the object."""
    site = begun(make_shared_site, settle_after=300)
    remote_id = site.records()[PLUGIN]
    killed(site, site.server, "before")
    declare(site, "nine")
    command(site, f"state settle {PLUGIN} --absent -t site")
    may_act = "A call that was settled as not done may still act"
    if way == "rm":
        assert may_act in command(site, f"state rm {PLUGIN} -t site")
    else:
        project, group = site.root / "synapse-apply.yaml", site.root / "manifests" / "group-0.yaml"
        before = {path: path.read_text() for path in (project, group)}
        removed = {"removed": [{"address": one} for one in (PLUGIN, "release/plugin-0@1.0.0")]}
        project.write_text(json.dumps(json.loads(before[project]) | removed))
        group.write_text(before[group].split(SEPARATOR)[2])
        command(site, "apply --auto-approve -t site")
        for path, text in before.items():
            path.write_text(text)
    assert PLUGIN not in site.records()
    for line in ("state show", "state settle", f"import {PLUGIN} {remote_id}", "state show"):
        said = told(command(site, f"{line} -t site"))
        assert may_act in said, line
        assert "and set description" in said, line
    change_outside(site, site.server, "ten")
    for line in ("plan", "drift"):
        said = told(command(site, f"{line} -t site"))
        assert '"ten"' in said
        assert "who set it is unknown" in said, line
        assert "changed outside" not in said, line


def test_what_is_kept_beside_a_change_of_git_is_told_as_what_a_call_may_undo(
    make_site: MakeSite,
) -> None:
    """The change of Git waits, and until it is done nothing that is printed for what is kept works."""
    site = begun(make_site)
    path: Path = site.root / "manifests" / "group-0.yaml"
    plugin, *others = map(json.loads, path.read_text().split(SEPARATOR))
    name = "author" if site.api == "v1" else "name"
    plugin["spec"][name] = "Ann"
    path.write_text(SEPARATOR.join(map(json.dumps, (plugin, *others))))
    declare(site, "ten", on_drift="hold")
    killed(site, site.server, "before")
    assert site.apply().code == 0
    change_beside(site.server, {"author": "Eve"})
    declare(site, "eleven")
    kept = "author was changed outside and is kept (on_drift: hold)"
    would = rf"may still act until {UTC}, and would set author back\."
    for line in ("plan -t site", f"plan --only {PLUGIN} -t site"):
        said = told(command(site, line))
        assert "may still act and overwrite a newer change" in said
        assert len(re.findall(would, said)) == 1, said
        assert kept in said
        assert "drift --write" not in said
        assert "--revert-drift" not in said
    later = command(site, "state settle --wait -t site") + command(site, "plan -t site")
    assert kept in told(later)
    assert f"`synapse-apply apply --only {PLUGIN} --revert-drift" in told(later)


@pytest.mark.parametrize("declared", ["nine", "ten"])
def test_what_is_kept_alone_prints_no_way_out_that_would_be_refused(
    make_site: MakeSite, declared: str
) -> None:
    """The call is one of the imported record; an update with its own values would not wait."""
    site = begun(make_site)
    path: Path = site.root / "manifests" / "group-0.yaml"
    plugin, *others = map(json.loads, path.read_text().split(SEPARATOR))
    name = "author" if site.api == "v1" else "name"
    plugin["spec"][name] = "Ann"
    path.write_text(SEPARATOR.join(map(json.dumps, (plugin, *others))))
    declare(site, "nine", on_drift="hold")
    assert site.apply().code == 0
    declare(site, "ten")
    killed(site, site.server, "before")
    if declared == "ten":
        assert site.apply().code == 0
    else:
        declare(site, "nine")
        remote_id = site.records()[PLUGIN]
        command(site, f"state rm {PLUGIN} -t site")
        command(site, f"import {PLUGIN} {remote_id} -t site")
    change_beside(site.server, {"author": "Eve"})
    said = told(command(site, "plan -t site"))
    assert "author was changed outside and is kept (on_drift: hold)" in said
    for way, line in (
        ("drift --write", f"drift --write {PLUGIN} --dry-run"),
        ("--revert-drift", f"apply --only {PLUGIN} --revert-drift --auto-approve"),
    ):
        assert (way in said) is (declared == "ten"), said
        code = 0 if declared == "ten" else 1 if way == "drift --write" else 7
        command(site, f"{line} -t site", code)


def test_a_call_that_was_found_done_is_told_of_while_it_may_act_again(make_site: MakeSite) -> None:
    """Somebody had set the same, so it looked done; what is set after that it may undo."""
    site = begun(make_site)
    declare(site, "ten", on_drift="hold")
    killed(site, site.server, "before")
    change_outside(site, site.server, "ten")
    assert site.apply().code == 0
    change_outside(site, site.server, "by hand")
    assert MAY_ACT.search(told(command(site, "plan -t site")))
    assert MAY_ACT.search(told(command(site, "drift -t site")))


def told_of_settled(site: Site, address: str, deed: str) -> None:
    """Every command that reads the object tells what the call may still do, until it cannot."""
    would = re.compile(
        rf", since settled as not done\) may still act until {UTC}, and would {deed}"
    )
    for line in ("plan", "drift"):
        said = told(command(site, f"{line} -t site"))
        assert len(would.findall(said)) == 1, said
        assert "state settle --wait" not in said
    for line in ("state show", f"state show {address}", "state settle", f"state settle {address}"):
        said = told(command(site, f"{line} -t site"))
        assert "A call that was settled as not done may still act" in said, line
    assert re.search(
        rf"^{address} .*Z  may still act$", command(site, "state show -t site"), re.MULTILINE
    )
    # It waits for nobody, and what was answered is not asked again.
    assert "Waiting" not in command(site, "state settle --wait -t site")
    assert site.open_intents() == []
    site.waited.append(LATER)
    for line in ("plan", "drift", "state show", "state settle"):
        assert "still act" not in command(site, f"{line} -t site"), line


@on_api("v1", "v2")
def test_a_call_that_was_settled_by_hand_is_told_of_while_it_may_act(make_site: MakeSite) -> None:
    """Nothing waits for it: what is newer is sent, and may be undone."""
    site = begun(make_site)
    killed(site, site.server, "before")
    command(site, f"state settle -t site {PLUGIN} --absent")
    assert "A call that was settled as not done may still act" in command(site, "doctor -t site")
    declare(site, "eleven")
    assert site.apply().code == 0
    assert live(site.server) == "eleven"
    told_of_settled(site, PLUGIN, "set description")


@pytest.mark.parametrize("api", ["v2"], indirect=True)
@pytest.mark.parametrize("verb", ["lock", "delete"])
def test_so_is_one_that_is_for_good(make_site: MakeSite, verb: str) -> None:
    """Git took it back; nothing else names the lock or the delete that may still come."""
    site = make_site(groups=1)
    assert site.apply().code == 0
    path: Path = site.root / "manifests" / "group-0.yaml"
    was, name = path.read_text(), "release/plugin-0@1.0.0"
    if verb == "lock":
        path.write_text(was.replace('"version": "1.0.0"', '"version": "1.0.0", "locked": true'))
        kill_amid(
            site, {"method": "POST", "path": "/v2/plugin-releases/*/release/"}, commit="before"
        )
    else:
        plugin, _, *others = was.split(SEPARATOR)
        path.write_text(SEPARATOR.join([plugin, *others]))
        kill_amid(site, {"method": "DELETE"}, commit="before")
    path.write_text(was)
    command(site, f"state settle -t site {name} --absent")
    assert "No changes" in command(site, "plan -t site")
    told_of_settled(site, name, f"{verb} it")


@on_api("v1", "v2")
def test_sending_the_same_again_promises_no_more_than_it_does(make_site: MakeSite) -> None:
    """A PUT is the whole object as it was read: what somebody sets beside it may be set back."""
    site = begun(make_site)
    killed(site, site.server, "before")
    second = site.apply()
    (said,) = [d for d in second.plan.diagnostics if d.summary == "Apply repeats an earlier call"]
    assert "difference" not in said.detail
    assert "An apply sends the same declared fields again" in said.detail
    beside = "may still revert other fields that somebody changed since"
    assert (beside in said.detail) is (site.api == "v1")


@pytest.mark.parametrize("api", ["v2"], indirect=True)
@pytest.mark.parametrize("by_hand", [False, True])
def test_a_late_delete_of_ours_is_not_told_as_somebody_elses(
    make_site: MakeSite, *, by_hand: bool
) -> None:
    """It was declared again, and then the delete landed."""
    site = make_site(groups=1)
    assert site.apply().code == 0
    path: Path = site.root / "manifests" / "group-0.yaml"
    whole = path.read_text()
    plugin, release, storage = whole.split("\n---\n")
    path.write_text(f"{plugin}\n---\n{storage}")
    kill_amid(site, {"method": "DELETE"}, commit="before")
    ((name, (remote_id,)),) = [
        (name, ids) for name, ids in site.server.ids().items() if name.startswith("release/")
    ]
    assert release
    if by_hand:
        command(site, f"state settle -t site {name} --absent")
    path.write_text(whole)
    assert site.apply(ahead=LATER).code == 0
    site.server.send("DELETE", f"/v2/plugin-releases/{remote_id}/")  # as the killed call does now
    said = told(command(site, "drift -t site") + command(site, "plan -t site"))
    assert len(re.findall(r": call \S+ of apply \S+ may have deleted this object", said)) == 2
    assert "outside" not in said
    document: dict[str, Any] = json.loads(command(site, "drift -t site --json"))
    (gone,) = document["resource_drift"]
    assert gone["gone"]
    assert gone["origin"].startswith("call ")


def test_what_nobody_can_tell_is_not_summed_up_as_changed_outside(make_site: MakeSite) -> None:
    """With `on_drift: hold`, a value that an earlier call may have set is kept, and told so."""
    site = begun(make_site, settle_after=0.1)
    declare(site, "ten", on_drift="hold")
    site.server.faults({"match": {"method": "PUT"}, "do": {"reset": "before"}})
    assert site.apply().code == 7
    site.server.faults()
    command(site, "state settle -t site --wait")
    declare(site, "eleven")
    assert site.apply().code == 0
    change_outside(site, site.server, "ten")
    said = command(site, "plan -t site")
    assert "who set it is unknown" in told(said)
    assert (
        "No changes. Apply keeps the live values that differ from the manifests (on_drift: hold)."
    ) in said
    assert "outside" not in said


@on_api("v1", "v2")
@pytest.mark.parametrize("also", ["", "Ann"])
def test_a_report_does_not_call_what_may_be_ours_changed_outside(
    make_site: MakeSite, also: str
) -> None:
    """Somebody settled the call by hand; it acts, also where Git has a change of its own."""
    site = begun(make_site)
    declare(site, "ten")
    killed(site, site.server, "before")
    command(site, f"state settle -t site {PLUGIN} --absent")
    declare(site, "nine")
    if also:
        declare_name(site, also)
    change_outside(site, site.server, "ten")
    for form in ("markdown", "html"):
        command(site, f"plan -t site --report {form}=report")
        said = told((site.root / "report").read_text())
        assert "who set it is unknown" in said
        assert "These objects differ from what was last applied. Apply restores" in said
        assert ("also not as last applied: see Drift" in said) is bool(also)
        assert "changed outside" not in said
        change_beside(site.server, {"description": "Eve"})
        command(site, f"plan -t site --report {form}=report")
        said = told((site.root / "report").read_text())
        assert "These objects were changed outside Git. Apply restores" in said
        change_outside(site, site.server, "ten")


@on_api("v1", "v2")
def test_accepting_says_which_call_is_open(make_site: MakeSite) -> None:
    """Nobody recorded anything meanwhile: how a call ended is not recorded yet."""
    site = begun(make_site)
    killed(site, site.server, "before")
    change_outside(site, site.server, "by hand")
    said = told(command(site, f"state accept -t site {PLUGIN} --auto-approve", code=1))
    assert "A call of this object is open" in said
    sent = rf"Apply \S+ sent update of {PLUGIN} at \S+ The outcome of the call is not recorded yet"
    assert re.search(sent, said)
    assert f"`synapse-apply state settle {PLUGIN} --wait -t site`" in said
    assert "Another run" not in said


def test_a_call_that_may_still_act_is_named_wherever_its_object_is_looked_at(
    make_site: MakeSite,
) -> None:
    """It was sent again and answered since: nothing is open, and yet it may act."""
    site = begun(make_site)
    killed(site, site.server, "before")
    assert site.apply().code == 0
    for line in ("state settle", f"state settle {PLUGIN}", f"state show {PLUGIN}", "state show"):
        said = told(command(site, f"{line} -t site"))
        assert "A call that was given up may still act" in said, line
        assert re.search(
            r"\(call \S+ of apply \S+, sent at \S+, outcome unknown\)",
            said,
        )
    command(site, "state settle -t site storage/storage-0", code=1)
    said = command(site, f"state show {PLUGIN} -t site --json")
    (shown,) = json.JSONDecoder().raw_decode(said[said.index("{\n") :])[0]["diagnostics"]
    assert shown["address"] == PLUGIN
    assert "until an earlier call can no longer act" in command(site, "state settle --wait -t site")
    for line in (f"state show {PLUGIN}", "state show"):
        assert "given up" not in command(site, f"{line} -t site")


def test_of_a_gone_object_settling_says_what_apply_does(make_site: MakeSite) -> None:
    """What differs cannot be sent to it."""
    site = begun(make_site)
    killed(site, site.server, "before")
    ((remote_id,),) = [ids for name, ids in site.server.ids().items() if name == PLUGIN]
    site.server.send("DELETE", f"/_emulator/objects/plugin/{remote_id}/")
    said = told(command(site, "state settle -t site"))
    assert "(its object is gone); apply creates it again" in said
    assert "what differs" not in said


@on_api("v1", "v2")
@pytest.mark.parametrize("commit", ["before", "after"])
def test_drift_judges_nothing_that_another_run_has_a_call_of(
    make_site: MakeSite, commit: str
) -> None:
    """It is no run that was killed: its call may act at any moment, and its answer may yet come."""
    site = begun(make_site)
    site.server.faults({"match": update(site), "do": {"hang": FOREVER, "commit": commit}})
    with applying(site) as process:
        reaches(site.server, process)
        said = told(command(site, "drift -t site --detailed-exitcode", code=1))
        document = json.loads(command(site, "drift -t site --json", code=1))
    assert "No drift" not in said
    assert "It is still unknown whether an object has drifted" in said
    assert f"{PLUGIN}: update was sent at " in said
    assert "the run in progress has not recorded how the call ended" in said
    assert bool(re.search(rf"the call may act until {UTC}", said)) is (commit == "before")
    assert document["errored"]
    assert [d["address"] for d in document["diagnostics"] if d["severity"] == "error"] == [PLUGIN]
    assert not document["resource_drift"]


def change_beside(server: Server, fields: dict[str, Any]) -> None:
    """Change fields of the plugin by hand, whatever else it has."""
    ((remote_id,),) = [ids for name, ids in server.ids().items() if name == PLUGIN]
    server.send("PATCH", f"/_emulator/objects/plugin/{remote_id}/", fields)


BESIDE: dict[str, tuple[dict[str, Any], str]] = {
    "a field": ({"author": "Ann"}, "author"),
    "a key that is new": ({"configuration": {"own": 1, "x": 1}}, "configuration.x"),
    "another value of a key": ({"configuration": {"own": 2}}, "configuration.own"),
    "a key that is gone": ({"configuration": {}}, "configuration.own"),
    "two": ({"author": "Ann", "configuration": {"own": 2}}, "author, configuration.own"),
}


@pytest.mark.parametrize("changed", BESIDE)
def test_what_a_late_put_would_set_back_beside_ours_is_named(
    make_site: MakeSite, server: Server, changed: str
) -> None:
    """It is the whole object as it was read; nobody declared these fields, somebody set them."""
    fields, names = BESIDE[changed]
    site = make_site(groups=1)
    declare(site, "nine")
    assert site.apply().code == 0
    change_beside(server, {"configuration": {"own": 1}})
    declare(site, "ten")
    killed(site, server, "before")
    assert "would set" not in command(site, "plan -t site")
    change_beside(server, fields)
    would = rf"may still act until {UTC}, and would set {re.escape(names)} back\."
    assert len(re.findall(would, told(command(site, "plan -t site")))) == 1
    assert site.apply().code == 0  # the same again, with what was set meanwhile
    for line in ("plan -t site", "drift -t site"):
        said = told(command(site, line))
        assert len(re.findall(would, said)) == 1, said
        assert "Ann" not in said
    document = json.loads(command(site, "drift -t site --json"))
    assert not document["drifted"]
    assert "would set" not in told(command(site, "state show plugin/plugin-0 -t site --json"))
    assert not site.apply(ahead=LATER).plan.diagnostics


@pytest.mark.parametrize("on_drift", ["hold", "revert"])
def test_what_a_late_put_set_back_is_not_told_as_changed_outside(
    make_site: MakeSite, on_drift: str
) -> None:
    """It was found done, Git went on, also with what nobody had declared; then it acts again."""
    site = begun(make_site, settle_after=300)
    path: Path = site.root / "manifests" / "group-0.yaml"
    change_beside(site.server, {"configuration": {"q": 1}})
    declare(site, "ten", on_drift=on_drift)
    killed(site, site.server, "after")
    assert site.apply().code == 0
    plugin, *others = path.read_text().split(SEPARATOR)
    document = json.loads(plugin)
    document["spec"] |= {"author": "Ann", "configuration": {"q": 2, "extra": "x"}}
    path.write_text(SEPARATOR.join([json.dumps(document), *others]))
    declare(site, "eleven")
    assert site.apply().code == 0
    change_beside(site.server, {"description": "ten", "author": "", "configuration": {"q": 1}})
    origins = [
        field["origin"]
        for one in document_of(command(site, "drift -t site --json"))["resource_drift"]
        for field in one["fields"]
    ]
    said = told(command(site, "plan -t site") + command(site, "drift -t site"))
    assert "outside" not in said
    assert (len(origins), len({*origins})) == (4, 1), origins
    assert origins[0].endswith("who set it is unknown")
    change_beside(site.server, {"author": "Eve"})
    assert "outside" in command(site, "drift -t site")


@pytest.mark.parametrize("on_drift", ["hold", "revert"])
@pytest.mark.parametrize("acts", ["in time", "late"])
def test_an_owned_key_that_our_call_set_is_told_as_its_own(
    make_site: MakeSite, acts: str, on_drift: str
) -> None:
    """Git took the key back before the call acted; nobody declares it, and the map is owned."""
    site = begun(make_site, settle_after=300)
    path: Path = site.root / "manifests" / "group-0.yaml"

    def configure(**configuration: Any) -> None:
        plugin, *others = path.read_text().split(SEPARATOR)
        document = json.loads(plugin)
        document["spec"]["configuration"] = configuration
        document["lifecycle"] = {"own": ["/configuration"]}
        path.write_text(SEPARATOR.join([json.dumps(document), *others]))

    configure(q=1)
    declare(site, "nine", on_drift=on_drift)
    assert site.apply().code == 0
    configure(q=1, extra="x")
    killed(site, site.server, "before")
    configure(q=1)
    if acts == "late":
        command(site, "state settle --wait -t site")
    else:
        remote_id = site.records()[PLUGIN]
        command(site, f"state rm {PLUGIN} -t site")
        command(site, f"import {PLUGIN} {remote_id} -t site")
    change_beside(site.server, {"configuration": {"q": 1, "extra": "x"}})
    said = told(command(site, "plan -t site"))
    if acts == "late":
        said += told(command(site, "drift -t site"))
    assert "outside" not in said
    name = r"call \S+ of apply [0-9a-f-]+"
    whose = rf"equals what {name} sent; who set it" if acts == "late" else rf"set by {name}, which"
    assert re.search(whose, said), said
    change_beside(site.server, {"configuration": {"q": 1, "extra": "y"}})
    assert "outside" in command(site, "plan -t site")


def test_what_a_late_call_holds_is_compared_with_what_was_sent_last(
    hiding: Site, server: Server
) -> None:
    """Of a secret that nobody sees the call would change nothing that is not so already."""
    declare(hiding, "ten")
    server.faults({"match": update(hiding), "do": {"reset": "after"}})
    assert rotated(hiding).apply().code == 7
    server.faults()
    assert f"{PLUGIN}: update was done (id " in command(rotated(hiding), "state settle -t site")
    assert "would set" not in command(rotated(hiding), "plan -t site")
    assert hiding.apply().code == 0  # rolled back: now it would
    assert re.search(
        rf"since found done\) may still act until {UTC}, and would set configuration.token back",
        told(command(hiding, "plan -t site")),
    )
    for line in ("doctor", "state show"):
        said = told(command(hiding, f"{line} -t site"))
        assert "A call that was found done may still act" in said, line
    assert "none of unknown outcome" not in told(command(hiding, "doctor -t site"))


def test_a_secret_that_the_server_shows_is_not_told_as_not_known(
    hiding: Site, mask: BackendProxy, server: Server
) -> None:
    """It did not while the update was looked up, and does by now."""
    declare(hiding, "ten")
    server.faults({"match": update(hiding), "do": {"reset": "after"}})
    assert rotated(hiding).apply().code == 7
    server.faults()
    assert "it is unknown whether its secrets arrived" in command(
        rotated(hiding), "state settle -t site"
    )
    assert "live value not known" in command(hiding, "plan -t site")
    mask.alter_answer = bytes
    said = command(hiding, "plan -t site")
    assert "not known" not in said
    assert "token = (sensitive, changed)" in said


@on_api("v1", "v2")
def test_a_plan_that_is_kept_tells_no_time_from_now(make_site: MakeSite) -> None:
    """Whoever reads it later is told when, by the clock."""
    site = begun(make_site)
    killed(site, site.server, "before")
    declare(site, "eleven")
    command(site, "plan --out early.plan -t site")
    assert site.apply(ahead=0.0).code == 7
    declare(site, "ten")
    assert site.apply().code == 0
    declare(site, "eleven")
    command(site, "plan --out acting.plan -t site")
    for file in ("early.plan", "acting.plan"):
        said = told(command(site, f"show {file}"))
        assert re.search(rf"plan again after {UTC}", said), said
        assert not re.search(r"\b\d+ s\b", said), said


TRIES: dict[str, dict[str, Any]] = {
    "reset": {"reset": "before"},
    "502": {"status": 502},
    "cut": {"reset": "after"},
}


@on_api("v1", "v2")
@pytest.mark.parametrize("deed", ["reset", "502"])
def test_an_update_that_was_sent_twice_is_told_as_what_is_known(
    make_site: MakeSite, deed: str
) -> None:
    """A proxy answered, or nobody; and what waits until the first try is over is the same on v2."""
    site = begun(make_site)
    site.server.faults({"match": update(site, nth=1), "do": TRIES[deed]})
    said = told(command(site, "apply --auto-approve -t site"))
    assert "An update was sent twice" in said
    assert "The server did not say whether it acted on the first attempt (" in said
    assert f"and {PLUGIN} did not show its effect. The first attempt may still act" in said
    assert "apply sends no different value for a field that" in said
    assert "answer was lost" not in said
    declare(site, "eleven")
    assert site.apply().code == 7
    assert live(site.server) == "ten"


def test_of_a_hidden_secret_nobody_says_that_the_first_try_did_nothing(
    hiding: Site, server: Server
) -> None:
    """It had acted, and the object looked as before."""
    server.faults({"match": update(hiding, nth=1), "do": TRIES["cut"]})
    said = told(command(rotated(hiding), "apply --auto-approve -t site"))
    assert "The server did not say whether it acted on the first attempt (" in said
    assert f"and {PLUGIN} did not show its effect" in said
    assert token(server) == "r0tated-s3cret"
    assert "r0tated-s3cret" not in said


ACTS = re.compile(
    rf"update of {PLUGIN} \(call \S+ of apply \S+, sent at \S+, outcome unknown\)"
    r" may act for another \d+ s and set description"
    r"(, and all other fields to their values of \S+)?\."
)


def document_of(said: str) -> dict[str, Any]:
    read: dict[str, Any] = json.JSONDecoder().raw_decode(said[said.index("{\n") :])[0]
    return read


def document(site: Site, line: str) -> dict[str, Any]:
    return document_of(command(site, f"{line} -t site --json"))


@on_api("v1", "v2")
@pytest.mark.parametrize("again", [False, True])
def test_who_forgets_a_record_forgets_no_call_that_may_act(
    make_site: MakeSite, *, again: bool
) -> None:
    """It stays open: nothing is imported by an apply and sent before, and an import takes it over."""
    site = begun(make_site)
    killed(site, site.server, "before")
    if again:  # then it was given up
        assert site.apply().code == 0
    remote_id = site.records()[PLUGIN]
    said = told(command(site, f"state rm -t site {PLUGIN}"))
    assert "A call of unknown outcome may still act" in said
    assert ACTS.search(said), said
    assert PLUGIN not in site.records()
    assert list(map(str, site.open_intents())) == [PLUGIN]
    for line, code in (("state show", 0), (f"state show {PLUGIN}", 1)):
        assert ACTS.search(told(command(site, f"{line} -t site", code=code))), line
    declare(site, "eleven")
    assert site.apply(adopt=True).code == 7
    assert live(site.server) == ("ten" if again else "nine")
    change_outside(site, site.server, "nine")
    command(site, f"import -t site {PLUGIN} {remote_id}")
    assert site.open_intents() == []
    # Another value waits for the call, and what it sets late is told as its own.
    assert site.apply().code == 7
    assert live(site.server) == "nine"
    change_outside(site, site.server, "ten")  # as the killed call does now
    (origin,) = [f.origin for change in site.plan(ahead=0.0).changes for f in change.fields]
    assert origin.startswith("set by call ")
    assert origin.endswith("which was given up")
    assert site.apply(ahead=LATER).code == 0
    assert live(site.server) == "eleven"


@on_api("v1", "v2")
def test_what_was_forgotten_stays_so_once_its_call_is_settled(make_site: MakeSite) -> None:
    """It had acted: nothing of it is recorded again, to be deleted by an apply with --prune."""
    site = begun(make_site)
    killed(site, site.server, "after")
    command(site, f"state rm -t site {PLUGIN}")
    assert "update was done" in command(site, "state settle -t site --wait")
    assert PLUGIN not in site.records()
    assert site.open_intents() == []


def test_nothing_is_forgotten_by_an_apply_while_a_call_of_it_may_act(make_site: MakeSite) -> None:
    """Its manifest is gone: the record stays until the call is over."""
    site = begun(make_site)
    killed(site, site.server, "before")
    assert site.apply().code == 0
    path: Path = site.root / "manifests" / "group-0.yaml"
    path.write_text(path.read_text().split("\n---\n")[2])
    first = site.apply()
    assert first.code == 7
    (refusal,) = [r for change in first.plan.changes for r in change.refusals]
    assert "may still act, and no record would show it once this is forgotten" in refusal.reason
    assert refusal.ways_out[0].startswith("plan again after ")
    assert PLUGIN in site.records()
    assert site.apply(ahead=LATER).code == 0
    assert PLUGIN not in site.records()


@on_store("sqlite", "s3")
@pytest.mark.parametrize("again", [False, True])
def test_a_restored_state_knows_of_the_calls_that_may_act(
    make_shared_site: MakeSite, *, again: bool
) -> None:
    """The backup is older than they are."""
    site = begun(make_shared_site)
    file = site.root / "before.backup"
    command(site, f"state backup -t site {file}")
    killed(site, site.server, "before")
    if again:
        assert site.apply().code == 0
    said = told(command(site, f"state restore -t site {file} --auto-approve"))
    assert ACTS.search(said), said
    assert list(map(str, site.open_intents())) == ([] if again else [PLUGIN])
    change_outside(site, site.server, "nine")
    declare(site, "eleven")
    assert site.apply().code == 7
    assert live(site.server) == "nine"
    assert site.apply(ahead=LATER).code == 0
    assert live(site.server) == "eleven"


@on_store("sqlite", "s3")
def test_a_restored_state_knows_of_an_open_call_however_late_it_is(
    make_shared_site: MakeSite,
) -> None:
    """Nobody has looked yet whether it was done: it is no change that somebody made outside."""
    site = begun(make_shared_site, settle_after=0.1)
    file = site.root / "before.backup"
    command(site, f"state backup -t site {file}")
    killed(site, site.server, "after")
    site.waited.append(LATER)
    command(site, f"state restore -t site {file} --auto-approve")
    assert list(map(str, site.open_intents())) == [PLUGIN]
    plan = site.plan(ahead=0.0)
    assert "was done" in str(plan.diagnostics)
    assert [change.address for change in plan.changes if change.fields] == []
    assert site.apply().code == 0
    assert "done" in results(site)[0]
    assert site.open_intents() == []


@without_a_list_of_plugins()
def test_a_create_is_not_made_again_after_a_restore(make_site: MakeSite, server: Server) -> None:
    """The backup is from before it, and its time is over; nobody has said how it ended."""
    site = begun(make_site, settle_after=0.1)
    file = site.root / "before.backup"
    command(site, f"state backup -t site {file}")
    path: Path = site.root / "manifests" / "group-0.yaml"
    document = path.read_text().split(SEPARATOR)[0].replace("plugin-0", "plugin-new")
    path.with_name("new.yaml").write_text(document)
    kill_amid(site, {"method": "POST", "path": "/plugins/"}, commit="after")
    count = len(server.objects("plugin"))
    site.waited.append(LATER)
    command(site, f"state restore -t site {file} --auto-approve")
    assert site.apply().code == 7
    assert len(server.objects("plugin")) == count


@pytest.mark.parametrize("ending", ["--absent", "found done"])
def test_a_backup_opens_no_call_again_that_was_settled(make_site: MakeSite, ending: str) -> None:
    """What was settled by hand stays so; what was found done is looked up once more."""
    site = begun(make_site)
    killed(site, site.server, "before" if ending == "--absent" else "after")
    file = site.root / "open.backup"
    command(site, f"state backup -t site {file}")
    by_hand = f" {PLUGIN} --absent" if ending == "--absent" else ""
    command(site, f"state settle -t site{by_hand}")
    said = told(command(site, f"state restore -t site {file} --auto-approve"))
    assert ("found done) may act for another" if by_hand == "" else "unknown) may act") in said
    if by_hand:
        assert site.open_intents() == []
        assert site.apply().code == 0
    else:
        assert "was done" in str(site.plan().diagnostics)
        assert site.apply().code == 0


def test_a_restored_state_without_such_calls_says_nothing(make_site: MakeSite) -> None:
    """A call that the backup knows is in it once; one that cannot act any more is not added."""
    site = begun(make_site, settle_after=0.1)
    killed(site, site.server, "before")
    file = site.root / "open.backup"
    command(site, f"state backup -t site {file}")
    assert ACTS.search(told(command(site, f"state restore -t site {file} --auto-approve")))
    assert list(map(str, site.open_intents())) == [PLUGIN]
    assert site.apply(ahead=LATER).code == 0
    assert results(site)[:2] == ["done", "settled: not done"]
    declare(site, "eleven")
    assert site.apply().code == 0


@on_api("v1", "v2")
def test_settling_by_hand_says_for_how_long_the_call_may_act(make_site: MakeSite) -> None:
    """And that nothing waits for the call."""
    site = begun(make_site)
    killed(site, site.server, "before")
    said = told(command(site, f"state settle -t site {PLUGIN} --absent"))
    assert f"Settled {PLUGIN}: update was not done. The next apply may do it." in said
    assert "A call that was settled as not done may still act" in said
    assert ACTS.search(said)
    assert "Nothing waits for the call: it may act after the next apply" in said


def test_a_call_is_told_of_beside_its_record(make_site: MakeSite) -> None:
    """While it is open, and once it was given up; in the table, in the text and in JSON."""
    site = begun(make_site)
    assert document(site, f"state show {PLUGIN}")["open"] == []
    assert "CALL" not in command(site, "state show -t site")
    killed(site, site.server, "before")
    shown = told(command(site, f"state show {PLUGIN} -t site"))
    assert ACTS.search(shown)
    assert f"Outcome unknown: {PLUGIN}. The next apply looks it up." in shown
    (opened,) = document(site, f"state show {PLUGIN}")["open"]
    assert opened["verb"] == "update"
    assert opened["id"] in shown
    assert opened["plan_id"] in shown
    assert opened["sent_at"] in shown
    assert document(site, "state show storage/storage-0")["open"] == []
    listed = command(site, "state show -t site")
    assert re.search(rf"^{PLUGIN} .*Z  outcome unknown$", listed, re.MULTILINE)
    assert re.search(r"^storage/storage-0 .*Z$", listed, re.MULTILINE)
    settled = command(site, "state settle -t site", code=7)
    assert f"`synapse-apply state settle {PLUGIN} --wait -t site` waits for it" in settled
    assert "apply --wait" not in settled
    assert site.apply().code == 0
    listed = command(site, "state show -t site")
    assert re.search(rf"^{PLUGIN} .*Z  may still act$", listed, re.MULTILINE)


def test_a_given_up_call_is_found_by_a_pattern_a_move_and_by_hand(make_site: MakeSite) -> None:
    """Its address has no open call, which is not all there is to say."""
    site = begun(make_site)
    killed(site, site.server, "before")
    assert site.apply().code == 0
    assert ACTS.search(told(command(site, "state settle -t site plugin/*")))
    for option in ("--absent", "--job 3"):
        said = told(command(site, f"state settle -t site {PLUGIN} {option}", code=1))
        assert "No call of this address is open" in said
        assert ACTS.search(said)
    command(site, f"state mv -t site {PLUGIN} plugin/other")
    said = told(command(site, "state show -t site plugin/other"))
    assert ACTS.search(said.replace("plugin/other (call", f"{PLUGIN} (call"))


@pytest.mark.parametrize("way", ["settle", "by hand", "import", "apply"])
def test_the_history_tells_who_sent_a_call_and_who_settled_it(
    make_site: MakeSite, way: str
) -> None:
    """The run that sent it keeps its row, while the call is open and once another has settled it."""
    site = begun(make_site)
    ann = replace(site, environ={**site.environ, "LOGNAME": "ann"})
    bob = replace(site, environ={**site.environ, "LOGNAME": "bob"})
    killed(ann, site.server, "after" if way == "settle" else "before")
    opened, *others = document(bob, "state history")["runs"]
    assert (opened["command"], opened["results"]) == ("apply", {"not known yet": 1})
    assert opened["who"].startswith("ann@")
    assert opened["calls"][0]["digest"].startswith("sha256:")
    typed = {
        "settle": "state settle",
        "by hand": f"state settle {PLUGIN} --absent",
        "import": f"import {PLUGIN} {site.records()[PLUGIN]}",
        "apply": "apply --auto-approve",
    }[way]
    command(bob, f"{typed} -t site")
    runs = {run["plan_id"]: run for run in document(bob, "state history")["runs"]}
    sent = runs[opened["plan_id"]]
    assert (sent["who"], sent["command"]) == (opened["who"], "apply")
    (call,) = sent["calls"]
    assert call["result"].startswith("settled")
    assert call["settled_by"].startswith("bob@")
    by_command = {"apply": "apply", "import": "import"}.get(way, "state settle")
    assert f", {by_command}" in call["settled_by"]
    shown = command(bob, f"state history -t site show {opened['plan_id']}")
    assert f"who: {opened['who']}\n" in shown
    assert f"{call['result']}, by {call['settled_by']}" in shown
    (row,) = [
        r for r in command(bob, "state history -t site").splitlines() if opened["plan_id"] in r
    ]
    assert re.search(r"ann@\S+, settled by bob@", row)
    assert len(runs) == len(others) + 1 + (way in {"import", "apply"})
    if way == "apply":  # found also by the plan that settled it
        assert call["settled_by"].split()[-1] in runs


def plugin_id(site: Site, server: Server) -> str:
    ((remote_id,),) = [ids for name, ids in server.ids().items() if name == PLUGIN]
    return str(remote_id)


def set_field(site: Site, server: Server, **fields: str) -> None:
    """Set single fields, as a call that changes these does."""
    server.send("PATCH", f"/v2/plugins/{plugin_id(site, server)}/", fields)


def declare_name(site: Site, name: str) -> None:
    path: Path = site.root / "manifests" / "group-0.yaml"
    texts = path.read_text().split("\n---\n")
    plugin = json.loads(texts[0])
    plugin["spec"]["name"] = name
    path.write_text("\n---\n".join([json.dumps(plugin), *texts[1:]]))


@on_api("v2")
@pytest.mark.parametrize("late", ["first", "second"])
@pytest.mark.parametrize("on_drift", ["hold", "revert"])
def test_an_import_takes_over_every_call_of_its_object(
    make_site: MakeSite, late: str, on_drift: str
) -> None:
    """Two may act, each on a field of its own; both are named, and a newer value waits for both."""
    site = begun(make_site)
    declare(site, "ten", on_drift=on_drift)
    killed(site, site.server, "before")
    assert site.apply().code == 0
    declare_name(site, "Second")
    killed(site, site.server, "before")
    remote_id = plugin_id(site, site.server)
    command(site, f"state rm -t site {PLUGIN}")
    assert len(site.open_intents()) == 2
    assert command(site, "state show -t site").count(f"Outcome unknown: {PLUGIN}.") == 1
    said = told(command(site, f"import -t site {PLUGIN} {remote_id}"))
    assert len(re.findall("A call that was given up may still act", said)) == 2
    assert site.open_intents() == []
    if late == "first":
        declare(site, "eleven")
    declare_name(site, "Second" if late == "first" else "Third")
    assert site.apply(ahead=0.0).code == 7
    field, value = ("description", "ten") if late == "first" else ("name", "Second")
    set_field(site, site.server, **{field: "nine" if late == "first" else "First"})
    set_field(site, site.server, **{field: value})  # as the killed call does now
    assert "changed outside" not in command(site, "plan -t site")
    assert site.apply(ahead=LATER).code == 0
    (row,) = site.server.objects("plugin")
    assert row["body"][field] == ("eleven" if late == "first" else "Third")


@on_api("v1", "v2")
@pytest.mark.parametrize("backup", ["older", "open", "given up"])
@pytest.mark.parametrize("forgotten", [False, True])
def test_a_restored_record_keeps_the_calls_that_were_given_up(
    make_site: MakeSite, backup: str, *, forgotten: bool
) -> None:
    """What is live is the deed of a later call: it says nothing of the first one, which may act."""
    site = begun(make_site)
    file = site.root / "kept.backup"
    save = f"state backup -t site {file}"
    if backup == "older":
        command(site, save)
    killed(site, site.server, "before")
    if backup == "open":
        command(site, save)
    assert site.apply().code == 0
    if backup == "given up":
        command(site, save)
    if forgotten:
        command(site, f"state rm -t site {PLUGIN}")
    said = told(command(site, f"state restore -t site {file} --auto-approve"))
    assert len(ACTS.findall(said)) == 1, said
    assert len(ACTS.findall(told(command(site, "state show -t site")))) == 1
    assert site.open_intents() == []
    declare(site, "eleven")
    second = site.apply()
    assert second.code == 7
    assert "was looked up" not in str(second.plan.diagnostics)
    assert live(site.server) == "ten"
    assert site.apply(ahead=LATER).code == 0
    assert live(site.server) == "eleven"


@on_api("v1", "v2")
@pytest.mark.parametrize("way", ["import", "adopt"])
def test_a_call_follows_its_object_to_another_address(make_site: MakeSite, way: str) -> None:
    """Its address was forgotten: whoever records the object under another one waits for the call."""
    site = begun(make_site)
    killed(site, site.server, "before")
    remote_id = plugin_id(site, site.server)
    release = next(name for name in site.records() if name.startswith("release/"))
    command(site, f"state rm -t site {PLUGIN} {release}")
    declare(site, "eleven")
    path: Path = site.root / "manifests" / "group-0.yaml"
    texts = path.read_text().split("\n---\n")
    plugin = json.loads(texts[0])
    plugin["metadata"] = {"name": "renamed", "id": remote_id}
    path.write_text("\n---\n".join([json.dumps(plugin), texts[2]]))
    if way == "import":
        said = told(command(site, f"import -t site plugin/renamed {remote_id}"))
        assert ACTS.search(said.replace("plugin/renamed (call", f"{PLUGIN} (call")), said
        assert site.open_intents() == []
    assert site.apply(adopt=True).code == 7
    assert live(site.server) == "nine"
    assert site.apply(ahead=LATER, adopt=True).code == 0
    assert live(site.server) == "eleven"


@on_api("v1", "v2")
def test_a_forgotten_address_is_told_as_it_is(make_site: MakeSite) -> None:
    """Its call stays open: no drift is judged, nothing is promised, and nobody forgets the call."""
    site = begun(make_site)
    killed(site, site.server, "before")
    remote_id = plugin_id(site, site.server)
    command(site, f"state rm -t site {PLUGIN}")
    said = told(command(site, "plan -t site"))
    assert (
        f"`synapse-apply import {PLUGIN} {remote_id} -t site` records the forgotten object" in said
    )
    assert "The outcome of an earlier call is still unknown" in said
    assert "--wait" not in said
    assert "plan again" not in said
    said = told(command(site, "drift -t site", code=1))
    assert "It is still unknown whether an object has drifted" in said
    assert "No drift" not in said
    assert "sends the same fields again" not in command(site, "state settle -t site", code=7)
    said = told(command(site, f"state settle -t site {PLUGIN} --absent", code=1))
    assert "No record would show this call" in said
    assert ACTS.search(said)
    assert f"`synapse-apply import {PLUGIN} {remote_id} -t site` keeps it in a new record" in said
    assert list(map(str, site.open_intents())) == [PLUGIN]
    command(site, f"import -t site {PLUGIN} {remote_id}")
    declare(site, "eleven")
    assert site.apply(ahead=0.0).code == 7
    change_outside(site, site.server, "ten")  # as the killed call does now
    assert "changed outside" not in command(site, "plan -t site")


@on_api("v1", "v2")
@pytest.mark.parametrize("outside", ["nine", "by hand"])
def test_settling_a_forgotten_address_promises_nothing(make_site: MakeSite, outside: str) -> None:
    """No apply knows the object: what was not done is not done by the next one."""
    site = begun(make_site)
    killed(site, site.server, "before")
    command(site, f"state rm -t site {PLUGIN}")
    change_outside(site, site.server, outside)
    said = told(command(site, "state settle -t site --wait"))
    expected = {
        "nine": "update was not done; the state has no record of this address",
        "by hand": "whether update was done; the next plan shows what differs",
    }
    assert expected[outside] in said
    assert "next apply" not in said
    way = (
        f"`synapse-apply import {PLUGIN} {plugin_id(site, site.server)} -t site` records the "
        "object again"
    )
    assert f"The state no longer has the object: {way}" in said


@on_api("v1", "v2")
def test_a_plan_says_how_a_forgotten_object_is_recorded_again(make_site: MakeSite) -> None:
    """Its call was not done, and yet its object is there, found by its id alone."""
    site = begun(make_site, settle_after=0.1)
    site.server.faults({"match": update(site), "do": {"reset": "before"}})
    assert site.apply().code == 7
    site.server.faults()
    command(site, f"state rm -t site {PLUGIN}")
    (found,) = [
        one for one in site.plan().diagnostics if one.summary == "An earlier call was looked up"
    ]
    typed = f"import {PLUGIN} {plugin_id(site, site.server)}"
    assert f"`synapse-apply {typed}" in found.hint
    command(site, f"{typed} -t site")
    assert site.apply(ahead=LATER).code == 0
    assert live(site.server) == "ten"


@pytest.mark.parametrize("key", ["another", "none"])
def test_what_cannot_be_compared_is_not_told_as_left_alone(make_site: MakeSite, key: str) -> None:
    """The digests of what nobody declared are of a state key that is not in use any more."""
    site = begun(make_site)
    declare(site, "ten", on_drift="hold")
    killed(site, site.server, "before")
    assert site.apply().code == 0
    change_beside(site.server, {"author": "Ann"})
    if key == "another":
        command(site, "state rekey -t site --auto-approve")
    else:
        for path in site.root.rglob("*.key"):
            path.unlink()
    for line in ("plan -t site", "drift -t site"):
        said = told(command(site, line))
        assert re.search(
            rf"may still act until {UTC}, and may revert changes made to other fields since "
            r"\S+, which cannot be compared without the former state key\.",
            said,
        ), said
    later = site.apply(ahead=LATER).plan.diagnostics
    assert not [found for found in later if found.address == PLUGIN]


def test_accepting_what_a_call_may_undo_says_so(make_site: MakeSite) -> None:
    """Before the question, and where nobody is asked."""
    site = begun(make_site)
    declare(site, "ten", on_drift="hold")
    killed(site, site.server, "before")
    assert site.apply().code == 0
    change_outside(site, site.server, "by hand")
    said = told(command(site, f"state accept -t site {PLUGIN} --auto-approve"))
    assert len(MAY_ACT.findall(said)) == 1, said
    assert said.index("may still act") < said.index(f"Accepted {PLUGIN}")


@pytest.mark.parametrize("status", [400, 403, 404, 408])
def test_a_refusal_of_an_edge_is_no_answer_of_the_backend(
    server: Server, tmp_path: Path, status: int
) -> None:
    """The backend has acted on it by then, or may still: the call is looked up."""
    with BackendProxy(server.url) as proxy:
        site = Site.make(tmp_path / "site", Server(proxy.url), groups=1)
        declare(site, "nine")
        assert site.apply().code == 0
        declare(site, "ten")
        proxy.write_answer = status, "<html><title>edge</title></html>"
        applied = site.apply()
        assert applied.report is not None
        found = [d for outcome in applied.report.outcomes for d in outcome.diagnostics]
        assert [d.summary for d in found] == ["A lost answer: the outcome was looked up"]
        assert f"the edge answered {status}" in found[0].detail
        assert "refused" not in found[0].detail
        assert applied.code == 0
        assert live(server) == "ten"
        assert results(site)[0] == "done"


def test_a_call_of_a_run_under_way_is_not_told_as_lost(make_site: MakeSite) -> None:
    """That run waits for the answer, which may yet come."""
    site = begun(make_site)
    site.server.faults({"match": update(site), "do": {"hang": FOREVER, "commit": "before"}})
    with applying(site) as process:
        reaches(site.server, process)
        for line in ("state show", f"state show {PLUGIN}"):
            said = told(command(site, f"{line} -t site"))
            assert "may still get its answer" in said, said
            assert "lost" not in said.replace("no open call as lost", "")
            assert "looks it up" not in said
        said = told(command(site, "doctor -t site"))
        assert "may still get their answers" in said
        assert kill(process)
    site.server.faults()
    assert "The next apply looks it up" in command(site, "state show -t site")


def test_a_doctor_tells_of_a_call_that_was_given_up(make_site: MakeSite) -> None:
    """It is not open any more, and of unknown outcome all the same."""
    site = begun(make_site)
    killed(site, site.server, "before")
    assert site.apply().code == 0
    said = told(command(site, "doctor -t site"))
    assert "A call that was given up may still act" in said
    assert "none of unknown outcome" not in said
    command(site, "state settle --wait -t site")
    assert "none of unknown outcome" in told(command(site, "doctor -t site"))


@on_api("v1", "v2")
def test_a_put_is_told_as_the_whole_object_that_it_is(make_site: MakeSite) -> None:
    """It has one field of the manifest's change, and sets all others as they were read."""
    site = begun(make_site)
    killed(site, site.server, "before")
    remote_id = site.records()[PLUGIN]
    lines = ["state show", f"state show {PLUGIN}"]
    site.apply()  # then it was given up
    lines += ["state show", "state settle", "doctor", f"state rm {PLUGIN}"]
    lines += [f"import {PLUGIN} {remote_id}"]
    whole = r"sent at (\S+), .* and set description, and all other fields to their values of \1\."
    for line in lines:
        said = told(command(site, f"{line} -t site"))
        assert ACTS.search(said), said
        assert bool(re.search(whole, said)) is (site.api == "v1"), said


def renamed(site: Site, *, moved: bool = False) -> None:
    """Declare the plugin, and its release, under another name."""
    path: Path = site.root / "manifests" / "group-0.yaml"
    plugin, release, storage = map(json.loads, path.read_text().split("\n---\n"))
    plugin["metadata"]["name"] = release["spec"]["plugin"] = "renamed"
    path.write_text("\n---\n".join(map(json.dumps, (plugin, release, storage))))
    if moved:
        project = site.root / "synapse-apply.yaml"
        move = {"from": PLUGIN, "to": "plugin/renamed"}
        project.write_text(json.dumps({**json.loads(project.read_text()), "moved": [move]}))


def told_to_wait(site: Site, why: str) -> None:
    """Drift is not judged, and the one row of the new name has no way out that is refused."""
    said = told(command(site, "drift -t site", code=1))
    assert "No drift" not in said
    assert f"plugin/renamed: {why}" in said, said
    errors = document_of(command(site, "drift -t site --json", code=1))["diagnostics"]
    assert "plugin/renamed" in {d["address"] for d in errors if d["severity"] == "error"}
    said = told(command(site, "plan -t site"))
    assert said.count("! plugin/renamed cannot be ") == 1, said
    assert "! plugin/renamed cannot be created" not in said
    assert why in said
    assert "state mv" not in said
    assert "moved: [" not in said
    assert re.search(f"plan again after {UTC}: the next run looks up the call", said)


@on_api("v1", "v2")
@pytest.mark.parametrize("moved", [False, True])
def test_a_renamed_object_waits_for_its_call(make_site: MakeSite, *, moved: bool) -> None:
    """It is an object with an open call, whatever it is called by now."""
    site = begun(make_site)
    killed(site, site.server, "before")
    renamed(site, moved=moved)
    told_to_wait(site, f"an earlier update of {PLUGIN}, which may be the same object, was sent at ")
    assert site.apply().code == 7
    assert live(site.server) == "nine"
    command(site, "state settle -t site --wait")
    assert "It is still unknown whether" not in command(site, "drift -t site")
    if not moved:
        assert f"state mv {PLUGIN} plugin/renamed" in command(site, "plan -t site")
        command(site, f"state mv -t site {PLUGIN} plugin/renamed")
    assert site.apply().code == 0
    assert live(site.server) == "ten"


@on_api("v2")
def test_a_renamed_object_waits_for_the_calls_of_what_is_renamed_with_it(
    make_site: MakeSite,
) -> None:
    """`state mv` renames the releases, too, and is refused while a call of one is open."""
    site = make_site(groups=1)
    assert site.apply().code == 0
    path: Path = site.root / "manifests" / "group-0.yaml"
    path.write_text(
        path.read_text().replace('"version": "1.0.0"', '"version": "1.0.0", "locked": true')
    )
    lock = {"method": "POST", "path": "/v2/plugin-releases/*/release/"}
    kill_amid(site, lock, commit="before")
    renamed(site)
    (name,) = map(str, site.open_intents())
    told_to_wait(site, f"an earlier lock of {name}, which is renamed with it, was sent at ")
    command(site, "state settle -t site --wait")
    command(site, f"state mv -t site {PLUGIN} plugin/renamed")
    assert site.apply().code == 0


def unrecorded(site: Site, server: Server, *more: dict[str, Any]) -> Path:
    """The file, on another machine, of an update that was done while the state was away."""
    state = site.root / ".synapse-apply" / "state" / "site.db"
    server.faults(
        {"match": update(site, nth=len(more) + 1), "do": {"hang": 0.3, "commit": "after"}}, *more
    )
    with applying(site) as process:
        reaches(server, process)
        state.replace(site.root / "lost.db")
        assert ended(process)[0] == 7
    server.faults()
    (site.root / "lost.db").replace(state)
    (file,) = (site.root / ".synapse-apply").glob("unrecorded-*")
    return file.rename(site.root / file.name)


@on_api("v1", "v2")
@pytest.mark.parametrize("way", ["sent again", "moved", "found done", "by hand"])
def test_the_answer_of_a_call_that_was_given_up_is_recorded(make_site: MakeSite, way: str) -> None:
    """It cannot act any more: another value waits for the call no longer."""
    site = begun(make_site)
    file = unrecorded(site, site.server)
    change_outside(site, site.server, "ten" if way == "found done" else "nine")
    if way == "by hand":
        command(site, f"state settle {PLUGIN} --absent -t site")
    assert site.apply().code == 0
    declare(site, "eleven")
    assert site.apply().code == (0 if way in {"found done", "by hand"} else 7)
    change_outside(site, site.server, "nine")
    if way == "moved":
        command(site, f"state mv -t site {PLUGIN} plugin/renamed")
        renamed(site)
    copy = shutil.copy(file, site.root / "copy.jsonl")
    said = command(site, f"state record -t site {file}")
    assert "Recorded: 1. Known before: 0." in said
    # What was found done, or by hand not done: only of the latter the values are not recorded.
    keeps = "The call was given up before, and the record keeps its values."
    assert (keeps in said) is (way != "found done"), said
    assert ("Recorded the outcome of update of plugin/" in said) is (way != "found done")
    assert not file.exists()
    assert "Recorded: 0. Known before: 1." in command(site, f"state record -t site {copy}")
    assert "may act" not in command(site, "state show -t site")
    assert "may still act" not in command(site, "plan -t site")
    assert site.apply().code == 0
    assert live(site.server) == "eleven"
    assert "done" in results(site)[1:3]
    change_outside(site, site.server, "ten")
    assert "who set it is unknown" in told(command(site, "plan -t site"))


def told_file(site: Site) -> Path:
    """The file of an update that was done while the state was away, where a run left it."""
    file = unrecorded(site, site.server)
    return file.rename(site.root / ".synapse-apply" / file.name)


NOT_YET_KNOWN = "lists calls that were done and that the state does not have yet"


@on_api("v1", "v2")
def test_a_file_is_told_of_until_the_state_knows_its_calls(make_site: MakeSite) -> None:
    """Found done by a look-up, the file says nothing new; recorded late, the address is today's."""
    site = begun(make_site)
    file = told_file(site)
    lines = ("plan -t site", "state show -t site", "doctor -t site")
    for line in lines:
        assert NOT_YET_KNOWN in told(command(site, line)), line
    said = told(command(site, "state settle -t site"))
    assert "update was done" in said
    for line in lines:
        assert NOT_YET_KNOWN not in told(command(site, line)), line
    command(site, f"state mv {PLUGIN} plugin/renamed -t site")
    said = command(site, f"state record {file} -t site")
    assert "Recorded update of plugin/renamed (id " in said


def test_who_forgets_an_object_is_told_of_the_file(make_site: MakeSite) -> None:
    """It alone knows that an update of the object was done."""
    site = begun(make_site)
    file = told_file(site)
    said = told(command(site, f"state rm {PLUGIN} -t site"))
    assert NOT_YET_KNOWN in said
    assert f"state record {file} -t site" in said


@on_api("v1", "v2")
def test_the_answer_of_a_second_try_says_nothing_of_the_first(make_site: MakeSite) -> None:
    """That one was lost, and may still act: what waits for the call goes on waiting."""
    site = begun(make_site)
    file = unrecorded(site, site.server, {"match": update(site, nth=1), "do": {"reset": "before"}})
    change_outside(site, site.server, "nine")
    assert site.apply().code == 0
    assert "Recorded: 0. Known before: 1." in command(site, f"state record -t site {file}")
    declare(site, "eleven")
    assert site.apply().code == 7
    assert live(site.server) == "ten"
    assert site.apply(ahead=LATER).code == 0


@on_api("v1", "v2")
@pytest.mark.parametrize("backup", ["older", "open"])
def test_a_restored_record_keeps_the_first_of_two_tries(make_site: MakeSite, backup: str) -> None:
    """The second one shows, and the first one may still act: nobody takes it for done."""
    site = begun(make_site)
    file = site.root / "kept.backup"
    if backup == "older":
        command(site, f"state backup -t site {file}")
    site.server.faults(
        {"match": update(site, nth=2), "do": {"hang": FOREVER, "commit": "before"}},
        {"match": update(site, nth=1), "do": {"reset": "before"}},
    )
    with applying(site) as process:
        reaches(site.server, process)
        assert kill(process)
    site.server.faults()
    if backup == "open":
        command(site, f"state backup -t site {file}")
    change_outside(site, site.server, "ten")  # as the second try does now
    assert ACTS.search(told(command(site, f"state restore -t site {file} --auto-approve")))
    declare(site, "eleven")
    assert site.apply().code == 7
    assert live(site.server) == "ten"
    assert site.apply(ahead=LATER).code == 0
    assert live(site.server) == "eleven"


def test_what_is_only_gone_is_not_told_as_kept(make_site: MakeSite) -> None:
    """Where drift is held, what is gone is created again all the same."""
    site = begun(make_site)
    assert site.apply().code == 0
    declare(site, "ten", on_drift="hold")
    (storage,) = site.server.objects("storage")
    site.server.send("DELETE", f"/_emulator/objects/storage/{storage['id']}/")
    said = command(site, "drift -t site")
    assert "`synapse-apply apply -t site` restores the declared values." in said
    assert "keeps it" not in said
    change_outside(site, site.server, "by hand")
    said = told(command(site, "drift -t site"))
    assert "keeps the drift (on_drift: hold)" in said
    assert "Apply creates missing objects again in any case." in said
    assert site.apply().code == 0
    assert live(site.server) == "by hand"
    assert site.server.objects("storage")


@pytest.mark.parametrize("api", ["v2"], indirect=True)
def test_a_delete_that_is_sent_again_is_told_as_a_delete(make_site: MakeSite) -> None:
    """It has no fields; and that it may still act is what is wanted."""
    site = make_site(groups=1)
    server = site.server
    assert site.apply().code == 0
    path: Path = site.root / "manifests" / "group-0.yaml"
    plugin, _, storage = path.read_text().split("\n---\n")
    path.write_text(f"{plugin}\n---\n{storage}")
    server.faults({"match": {"method": "DELETE"}, "do": {"hang": FOREVER, "commit": "before"}})
    for _ in range(2):
        with applying(site) as process:
            reaches(server, process)
            assert kill(process)
        server.faults({"match": {"method": "DELETE"}, "do": {"hang": FOREVER, "commit": "before"}})
        said = told(command(site, "plan -t site --prune"))
        assert "The outcome of delete of release/plugin-0@1.0.0" in said
        assert "An apply sends it again." in said
        assert "fields" not in said
        assert "would delete it" not in said
    drift = told(command(site, "drift -t site", code=1))  # what is not known is no drift, nor none
    assert "delete of release/plugin-0@1.0.0 was sent at" in drift
    server.faults()
    assert site.apply().code == 0
    assert not [name for name in server.ids() if name.startswith("release/")]


@pytest.mark.parametrize("api", ["v2"], indirect=True)
@pytest.mark.parametrize("is_killed", [False, True])
def test_a_lock_that_was_done_acts_no_more(make_site: MakeSite, *, is_killed: bool) -> None:
    """After it nothing of its object changes; and it is told as a lock."""
    site = make_site(groups=1)
    assert site.apply().code == 0
    path: Path = site.root / "manifests" / "group-0.yaml"
    path.write_text(
        path.read_text().replace('"version": "1.0.0"', '"version": "1.0.0", "locked": true')
    )
    lock = {"method": "POST", "path": "/v2/plugin-releases/*/release/"}
    deed = {"hang": FOREVER, "commit": "after"} if is_killed else {"reset": "after"}
    site.server.faults({"match": lock, "do": deed})
    with applying(site, as_json=False) as process:
        reaches(site.server, process)
        if is_killed:
            assert kill(process)
        else:
            code, out, err = ended(process)
            assert code == 0
            assert "lock of release/plugin-0@1.0.0 failed" in out + err
            assert "update of release" not in out + err
    site.server.faults()
    if is_killed:
        assert "lock was done" in command(site, "state settle -t site")
    for line in ("state show", "state settle", "plan", "drift"):
        assert "act " not in command(site, f"{line} -t site"), line
    assert site.apply().code == 0


RELEASE = "release/plugin-0@1.0.0"


@pytest.mark.parametrize("api", ["v2"], indirect=True)
def test_a_delete_of_what_is_not_declared_is_told_while_it_may_act(make_site: MakeSite) -> None:
    """As of what is declared: the object is there, and the call would take it away."""
    site = make_site(groups=1)
    assert site.apply().code == 0
    path: Path = site.root / "manifests" / "group-0.yaml"
    plugin, _, storage = path.read_text().split("\n---\n")
    path.write_text(f"{plugin}\n---\n{storage}")
    site.server.faults({"match": {"method": "DELETE"}, "do": {"hang": FOREVER, "commit": "before"}})
    with applying(site) as process:
        reaches(site.server, process)
        assert kill(process)
    site.server.faults()
    ((id_,),) = [ids for name, ids in site.server.ids().items() if name == RELEASE]
    command(site, f"state rm {RELEASE} -t site")
    command(site, f"import {RELEASE} {id_} -t site")
    for line in ("plan", "drift"):
        said = told(command(site, f"{line} -t site"))
        assert f"An earlier delete of {RELEASE} (call " in said, line
        assert "would delete it" in said, line
    site.server.send("DELETE", f"/_emulator/objects/release/{id_}/")
    assert "would delete it" not in command(site, "plan -t site")


@pytest.mark.parametrize("api", ["v2"], indirect=True)
def test_nothing_waits_for_a_lock_that_is_live(make_site: MakeSite) -> None:
    """No call takes it back: the row is refused for that alone."""
    site = make_site(groups=1)
    assert site.apply().code == 0
    path: Path = site.root / "manifests" / "group-0.yaml"
    text = path.read_text()
    path.write_text(text.replace('"version": "1.0.0"', '"version": "1.0.0", "locked": true'))
    lock = {"method": "POST", "path": "/v2/plugin-releases/*/release/"}
    site.server.faults({"match": lock, "do": {"hang": FOREVER, "commit": "before"}})
    with applying(site) as process:
        reaches(site.server, process)
        assert kill(process)
    site.server.faults()
    ((id_,),) = [ids for name, ids in site.server.ids().items() if name == RELEASE]
    command(site, f"import {RELEASE} {id_} -t site")
    path.write_text(text.replace('"version": "1.0.0"', '"version": "1.0.0", "locked": false'))
    site.server.send("POST", f"/v2/plugin-releases/{id_}/release/")  # the call acts
    for line, code in (("plan", 0), ("drift", 0)):
        said = told(command(site, f"{line} -t site", code=code))
        assert "cannot be changed: API v2 cannot remove the lock of a release" in said, line
        assert "may still act" not in said, line


@on_api("v1", "v2")
@pytest.mark.parametrize("chosen", ["storage/storage-0", "release/plugin-0@1.0.0"])
def test_waiting_is_for_what_is_selected_and_what_it_needs(
    make_site: MakeSite, chosen: str
) -> None:
    """A call of another resource changes nothing for it."""
    site = begun(make_site)
    site.server.faults({"match": update(site, nth=1), "do": {"hang": 3}})
    with applying(site) as process:
        reaches(site.server, process)
        assert kill(process)
    with applying(site, "--wait", "--only", chosen, as_json=False) as process:
        code, out, err = ended(process)
    assert code == 0, out + err
    assert err.count("Waiting at most ") == (0 if chosen.startswith("storage/") else 1)
    wait_for(site.server, "ten")
    site.server.faults()


@on_api("v1", "v2")
def test_progress_of_what_could_not_be_recorded_says_that_it_was_done(make_site: MakeSite) -> None:
    """Its answer came: nothing of it is unknown."""
    site = begun(make_site)
    state = site.root / ".synapse-apply" / "state" / "site.db"
    site.server.faults({"match": update(site), "do": {"hang": 0.3, "commit": "after"}})
    with applying(site, as_json=False) as process:
        reaches(site.server, process)
        state.replace(site.root / "lost.db")
        code, out, err = ended(process)
    site.server.faults()
    (site.root / "lost.db").replace(state)
    assert code == 7
    assert "updated, but the state could not record it" in out
    assert "outcome of a call is unknown" not in out + err
    (line,) = [one for one in err.splitlines() if one.startswith(f"{PLUGIN}: Modif")]
    assert line.endswith(", but the state could not record it")


@on_api("v1", "v2")
def test_progress_of_a_call_that_is_looked_up_again_tells_the_whole_duration(
    make_site: MakeSite,
) -> None:
    """From the begin of the call, as the report has it."""
    site = begun(make_site, settle_after=30)
    site.server.faults({"match": update(site), "do": {"reset": "before"}})
    with applying(site, as_json=False) as process:
        assert process.stderr is not None
        first = ""
        while "Outcome unknown after" not in first:
            first = process.stderr.readline()
        change_beside(site.server, {"description": "ten"})  # as one of the tries does now
        code, out, err = ended(process)
    site.server.faults()
    assert code == 0, out + err
    assert "Modifications complete" not in err
    (whole,) = re.findall(rf"{PLUGIN} updated \(id \S+, (\S+)s\)", out)
    (begun_by,) = re.findall(r"Outcome unknown after (\S+)s", first)
    assert float(whole) >= float(begun_by)


@on_api("v1", "v2")
def test_what_was_never_live_is_not_set_back(make_site: MakeSite) -> None:
    """An import gave the call up, and live never had what it sends."""
    site = begun(make_site, settle_after=300)
    killed(site, site.server, "before")
    command(site, f"import {PLUGIN} {plugin_id(site, site.server)} -t site")
    declare(site, "nine")
    for line in ("plan -t site", "drift -t site"):
        said = told(command(site, line))
        assert "and would set description." in said, said
        assert " back" not in said
    change_outside(site, site.server, "ten")
    change_outside(site, site.server, "nine")
    assert site.apply().code == 0
    assert "and would set description." in told(command(site, "plan -t site"))


@on_api("v2")
def test_no_call_that_may_act_is_let_loose_by_newer_ones(make_site: MakeSite) -> None:
    """Calls of another field are lost one after the other; what the first one sends still waits."""
    site = begun(make_site, settle_after=300)
    killed(site, site.server, "before")
    assert site.apply().code == 0
    declare_name(site, "Second")
    for _ in range(6):
        killed(site, site.server, "before")
    declare(site, "eleven")
    assert site.apply().code == 7
    said = told(command(site, "state show -t site"))
    assert len(ACTS.findall(said)) == 1
    assert said.count("and set name.") == 6
    declare(site, "ten")
    set_field(site, site.server, description="nine")
    set_field(site, site.server, description="ten")  # as the first killed call does now
    assert "changed outside" not in command(site, "plan -t site")
    declare(site, "eleven")
    assert site.apply(ahead=LATER).code == 0
    assert live(site.server) == "eleven"


@on_api("v2")
def test_settling_by_hand_settles_every_call_of_the_address(make_site: MakeSite) -> None:
    """Two are open after `state rm`; each is named, and none stays open unseen."""
    site = begun(make_site)
    killed(site, site.server, "before")
    assert site.apply().code == 0
    declare_name(site, "Second")
    killed(site, site.server, "before")
    command(site, f"state rm -t site {PLUGIN}")
    said = told(command(site, f"state settle -t site {PLUGIN} --absent", code=1))
    assert "No record would show this call" in said
    assert len(site.open_intents()) == 2
    site.waited.append(LATER)
    said = told(command(site, f"state settle -t site {PLUGIN} --absent"))
    assert "Several calls were settled" in said
    assert len(re.findall(rf"update of {PLUGIN}, which was sent at .*?, was", said)) == 1
    assert f"Settled {PLUGIN}: update was not done." in said
    assert site.open_intents() == []
    settled = [result for result in results(site) if result == "settled by hand: not done"]
    assert len(settled) == 2


def make_twin(site: Site, server: Server) -> str:
    """The id of a second plugin, which is declared in place of the first one from now on."""
    path: Path = site.root / "manifests" / "group-0.yaml"
    plugin = json.loads(path.read_text().split("\n---\n")[0])
    plugin["spec"]["code"] = "twin"
    path.write_text(json.dumps(plugin))
    return str(server.send("POST", "/plugins/", plugin["spec"])["id"])


@on_api("v1", "v2")
@pytest.mark.parametrize("is_given_up", [False, True])
def test_a_pin_of_another_object_is_told_alone(make_site: MakeSite, *, is_given_up: bool) -> None:
    """What is live under the pinned id is compared neither with the record nor with its call."""
    site = begun(make_site)
    path: Path = site.root / "manifests" / "group-0.yaml"
    plugin, *others = map(json.loads, path.read_text().split(SEPARATOR))
    if is_given_up:
        killed(site, site.server, "before")
        command(site, f"state settle -t site {PLUGIN} --absent")
    twin = {"name": "Twin", "code": "twin", "description": "two"}
    plugin["metadata"]["id"] = str(site.server.send("POST", "/plugins/", twin)["id"])
    path.write_text(SEPARATOR.join(map(json.dumps, (plugin, *others))))
    for line in ("plan -t site", "drift -t site"):
        said = told(command(site, line, code=1))
        assert "The pinned id differs from the recorded id" in said
        assert "An earlier call may still act" not in said
        assert "outside" not in said
        assert "--adopt" not in said
    assert not json.loads(command(site, "drift -t site --json", code=1))["resource_drift"]
    assert ("may still act" in command(site, "state show -t site")) is is_given_up


@pytest.mark.parametrize("is_given_up", [False, True])
@pytest.mark.parametrize("way", ["import", "settle"])
def test_an_import_of_another_object_ends_no_call_of_the_first(
    make_site: MakeSite, way: str, *, is_given_up: bool
) -> None:
    """Its address is another object's now; who imports the first one takes the call over."""
    site = begun(make_site, settle_after=300)
    whole = (site.root / "manifests" / "group-0.yaml").read_text()
    killed(site, site.server, "before")
    if is_given_up:
        assert site.apply().code == 0
    first, second = site.records()[PLUGIN], make_twin(site, site.server)
    command(site, f"state rm -t site {PLUGIN}")
    said = told(command(site, f"import -t site {PLUGIN} {second}"))
    assert len(ACTS.findall(said)) == 1, said
    assert [*map(str, site.open_intents())] == [PLUGIN]
    assert site.apply(ahead=0.0).code == 7  # it is not sent again as one of this object either
    assert [*map(str, site.open_intents())] == [PLUGIN]
    if way == "settle":
        said = told(command(site, f"state settle -t site {PLUGIN}", code=7))
        assert site.apply(ahead=LATER).code == 0
        assert (site.records()[PLUGIN], site.open_intents()) == (second, [])
        return
    plugin = json.loads(whole.split("\n---\n")[0])
    plugin["metadata"]["name"] = "first"
    (site.root / "manifests" / "first.yaml").write_text(json.dumps(plugin))
    said = told(command(site, f"import -t site plugin/first {first}"))
    assert "A call that was given up may still act" in said
    assert site.open_intents() == []
    plugin["spec"]["description"] = "six"
    (site.root / "manifests" / "first.yaml").write_text(json.dumps(plugin))
    refused = site.apply()
    assert refused.code == 7
    assert "may still act and overwrite a newer change" in str(refused.plan.changes)


@pytest.mark.parametrize("is_given_up", [False, True])
def test_a_call_of_another_object_overwrites_no_record(
    make_site: MakeSite, *, is_given_up: bool
) -> None:
    """The backup has another object under the address than the one that the call is of."""
    site = begun(make_site, settle_after=300)
    file = site.root / "kept.backup"
    command(site, f"state backup -t site {file}")
    first, second = site.records()[PLUGIN], make_twin(site, site.server)
    command(site, f"state rm -t site {PLUGIN}")
    command(site, f"import -t site {PLUGIN} {second}")
    declare(site, "eleven")
    killed(site, site.server, "before" if is_given_up else "after")
    if is_given_up:
        assert site.apply().code == 0
    said = told(command(site, f"state restore -t site {file} --auto-approve"))
    assert len(ACTS.findall(said)) == 1, said
    assert [*map(str, site.open_intents())] == [PLUGIN]
    command(site, f"state settle -t site {PLUGIN}", code=7)
    site.apply(ahead=LATER)
    assert site.records()[PLUGIN] == first
    assert site.open_intents() == []


def test_drift_is_not_written_while_a_call_is_open(make_site: MakeSite) -> None:
    """With what is live in the files the next apply would be refused."""
    site = begun(make_site)
    killed(site, site.server, "before")
    (row,) = site.server.objects("plugin")
    site.server.send("PATCH", f"/_emulator/objects/plugin/{row['id']}/", {"description": "by hand"})
    path = site.root / "manifests" / "group-0.yaml"
    before = path.read_bytes()
    said = " ".join(command(site, f"drift --write {PLUGIN} -t site", code=1).split())
    assert "A call of this object is open" in said
    assert f"First `synapse-apply state settle {PLUGIN} --wait" in said
    assert path.read_bytes() == before


@pytest.mark.parametrize("commit", ["before", "after"])
def test_a_field_that_the_server_rewrites_hides_no_outcome(
    make_site: MakeSite, commit: str
) -> None:
    """It is live as before and as it is after: the other fields tell."""
    site = begun(make_site)
    declare(site, "ten  ")
    assert site.apply().code == 0
    assert live(site.server) == "ten"
    path = site.root / "manifests" / "group-0.yaml"
    first, *rest = path.read_text().split("\n---\n")
    document = json.loads(first)
    document["spec"]["author"] = "Bob"
    path.write_text("\n---\n".join([json.dumps(document), *rest]))
    killed(site, site.server, commit)
    if commit == "before":
        assert site.apply(ahead=LATER).code == 0
        assert results(site)[:2] == ["done", "settled: not done"]
    else:
        assert "update was done" in command(site, "state settle -t site")
    assert [row["body"]["author"] for row in site.server.objects("plugin")] == ["Bob"]


OTHER_API = {"v1": "v2", "v2": "v1"}


@on_api("v1", "v2")
@pytest.mark.parametrize("field", ["description", "configuration"])
def test_what_a_call_of_another_api_version_may_set_back_is_not_told_as_nothing(
    make_site: MakeSite, api: str, field: str
) -> None:
    """The target goes to the other version while it may act: what is beside it nobody compares."""
    site = begun(make_site, settle_after=300)
    if field == "configuration":
        path = site.root / "manifests" / "group-0.yaml"
        plugin, *rest = path.read_text().split("\n---\n")
        document = json.loads(plugin)
        document["spec"]["configuration"] = {"own": 1}
        path.write_text("\n---\n".join([json.dumps(document), *rest]))
        declare(site, "ten", unsupported_fields="warning")
    killed(site, site.server, "before")
    assert site.apply().code == 0
    declare(site, "ten", api=OTHER_API[api])
    change_beside(site.server, {"author": "Ann", "configuration": {"own": 1, "hers": 2}})
    expected = int(api == "v1")  # a PATCH sets nothing beside its fields
    says = re.compile(
        f"\\(call \\S+ of apply \\S+, sent at \\S+\\) may still act until {UTC}, and may "
        "revert changes made to other fields since \\S+, which cannot be compared in API "
        f"{OTHER_API[api]}\\."
    )
    for _ in range(2):
        for line in ("plan", "drift", f"show {PLUGIN}"):
            said = told(command(site, f"{line} -t site"))
            assert len(says.findall(said)) == expected, said
            assert expected or "may still act" not in said
        assert site.apply().code == 0
    assert "may still act" not in str(site.apply(ahead=LATER * 10).plan.diagnostics)


@pytest.mark.parametrize("is_acting", [True, False])
def test_a_call_that_was_not_done_is_kept_in_no_record_of_another_object(
    make_site: MakeSite, *, is_acting: bool
) -> None:
    """The address is another object's since: what the call may do is none of its deeds."""
    site = begun(make_site, settle_after=300 if is_acting else 0.1)
    killed(site, site.server, "before")
    second = make_twin(site, site.server)
    command(site, f"state rm -t site {PLUGIN}")
    command(site, f"import -t site {PLUGIN} {second}")
    if is_acting:
        said = told(command(site, f"state settle -t site {PLUGIN} --absent", code=1))
        assert "No record would show this call" in said
        assert f"{PLUGIN} is recorded as id {second}, and what its update may still do" in said
        assert re.search(r"Run this again in \d+ s, when the call can no longer act\.", said)
        assert [*map(str, site.open_intents())] == [PLUGIN]
    site.waited.append(LATER)
    command(site, f"state settle -t site {PLUGIN} --absent")
    with open_state(site.where()) as state:
        (record,) = (
            one for at, one in state.store.read_state().records.items() if str(at) == PLUGIN
        )
    assert (record.remote_id, record.given_up) == (second, ())
    assert site.open_intents() == []


def lost_and_found(site: Site) -> None:
    """Its answer was lost and it was looked up at once; by now Git has another value."""
    site.server.faults({"match": update(site), "do": {"reset": "after"}})
    assert site.apply().code == 0
    site.server.faults()


def settled_and_done(site: Site) -> None:
    """Somebody settled it as not done; then it acted."""
    killed(site, site.server, "before")
    command(site, f"state settle {PLUGIN} --absent -t site")
    change_outside(site, site.server, "ten")


@on_api("v1", "v2")
@pytest.mark.parametrize("lose", [lost_and_found, settled_and_done])
def test_a_call_that_may_set_back_what_an_apply_leaves_is_told_before(
    make_site: MakeSite, tmp_path: Path, lose: Callable[[Site], None]
) -> None:
    """Live is what the call sent, so that it changes nothing until the apply does."""
    site = begun(make_site, settle_after=300)
    lose(site)
    assert "would set" not in told(command(site, "plan -t site"))
    declare(site, "eleven")
    would = rf"An earlier update of {PLUGIN} \(.*\) may still act until {UTC}, and would set "
    later = rf"{would}description back after an apply\."
    planned = json.loads(command(site, "plan --json -t site"))
    (warning,) = [one for one in planned["diagnostics"] if "may still act" in one["summary"]]
    assert re.fullmatch(later, warning["detail"]), warning
    pages = {kind: tmp_path / f"report.{kind}" for kind in ("markdown", "html", "json")}
    reports = " ".join(f"--report {kind}={page}" for kind, page in pages.items())
    for line in ("plan -t site", f"apply --auto-approve {reports} -t site"):
        assert len(re.findall(later, told(command(site, line)))) == 1, line
    for page in pages.values():
        assert "would set description back after an apply" in told(page.read_text()), page
    assert re.search(rf"{would}description( back)?\.", told(command(site, "plan -t site")))


@on_api("v1", "v2")
def test_an_update_that_may_act_again_is_told_of_a_field_that_git_has_since(
    make_site: MakeSite,
) -> None:
    """A PUT sends all of the object back, a PATCH only the fields that it changes."""
    site = begun(make_site, settle_after=300)
    lost_and_found(site)
    path: Path = site.root / "manifests" / "group-0.yaml"
    plugin, *others = map(json.loads, path.read_text().split(SEPARATOR))
    name = "author" if site.api == "v1" else "name"
    plugin["spec"][name] = "Ann"
    path.write_text(SEPARATOR.join(map(json.dumps, (plugin, *others))))
    said = told(command(site, "plan -t site"))
    assert (f"and would set {name} back after an apply." in said) is (site.api == "v1"), said
    assert site.apply().code == 0
    said = told(command(site, "plan -t site"))
    assert (f"and would set {name} back." in said) is (site.api == "v1"), said


@pytest.mark.parametrize("now", ["former", "third"])
def test_an_update_that_may_send_a_secret_again_is_told_before_an_apply(
    hiding: Site, mask: BackendProxy, server: Server, now: str
) -> None:
    """Its digest is compared with that of the secret that the apply sends."""
    declare(hiding, "ten")
    server.faults({"match": update(hiding), "do": {"reset": "after"}})
    assert rotated(hiding).apply().code == 7
    server.faults()
    assert f"{PLUGIN}: update was done (id " in command(rotated(hiding), "state settle -t site")
    mask.alter_answer = bytes
    later = "and would set configuration.token back after an apply."
    assert later not in told(command(rotated(hiding), "plan -t site"))
    if now == "third":
        hiding.environ["RAW_TOKEN"] = "third-s3cret"  # type: ignore[index]
    said = told(command(hiding, "plan -t site"))
    assert later in said, said
