"""Updates whose answer nobody saw: told apart by what is live, and no newer one is sent too early."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from controllers.backend_proxy import BackendProxy, Call
from fault.commands import applying, ended, kill, kill_amid, reaches
from fault.convergence import Row, chosen, command, converge, on_api, on_store
from fault.site import LATER, MakeSite, Server, Site, pending
from forges.loopback_server import wait_until
from git_repositories import make_bare_repository

PLUGIN = "plugin/plugin-0"


def update(site: Site, **more: Any) -> dict[str, Any]:
    """The requests that a rule of faults is about."""
    method, path = ("PATCH", "/v2/plugins/*") if site.api == "v2" else ("PUT", "/plugins/*")
    return {"method": method, "path": path, **more}


def declare(site: Site, description: str | None, **of_target: Any) -> None:
    """Write another description of the plugin, None for none, and settings of the target."""
    path = site.root / "manifests" / "group-0.yaml"
    texts = path.read_text().split("\n---\n")
    document = json.loads(texts[0])
    document["spec"].pop("description", None)
    if description is not None:
        document["spec"]["description"] = description
    path.write_text("\n---\n".join([json.dumps(document), *texts[1:]]))
    project = site.root / "synapse-apply.yaml"
    content = json.loads(project.read_text())
    content["targets"]["site"].update(of_target)
    project.write_text(json.dumps(content))


def live(server: Server) -> str:
    (found,) = (row["body"]["description"] for row in server.objects("plugin"))
    return str(found)


def results(site: Site) -> list[str]:
    """How the history tells each update of the plugin, the newest first."""
    return [entry.result for entry in site.written()[1] if entry.verb == "update"]


def begun(make_site: MakeSite, **settings: Any) -> Site:
    """A site whose plugin is described as `nine`, and declared as `ten`."""
    site = make_site(groups=1, **settings)
    declare(site, "nine")
    assert site.apply().code == 0
    declare(site, "ten")
    return site


def killed(site: Site, server: Server, commit: str) -> None:
    """Kill an apply in the middle of the update; `commit` is when the server acts on it."""
    kill_amid(site, update(site), commit=commit)


LOST: dict[str, dict[str, Any]] = {
    "reset before": {"reset": "before"},
    "reset after": {"reset": "after"},
    "cut answer": {"truncate": 0},
    "502 before": {"status": 502},
    "502 after": {"status": 502, "commit": "after"},
}


@on_api("v1", "v2")
@on_store("sqlite", "s3")
@pytest.mark.parametrize("deed", chosen(LOST, "reset before", "502 after"))
def test_what_was_sent_and_what_was_there_are_told_apart(
    make_shared_site: MakeSite, row: Row, deed: str
) -> None:
    """Done at once where the server shows it; else unknown until the call cannot act any more."""
    site = begun(make_shared_site)
    site.server.faults({"match": update(site), "do": LOST[deed]})
    is_done = "before" not in deed
    first = site.apply()
    assert first.code == (0 if is_done else 7)
    site.server.faults()
    assert live(site.server) == ("ten" if is_done else "nine")
    if not is_done:
        said = command(site, "state settle -t site", code=7)
        assert f"! {PLUGIN}: update of " in said
        assert "it is too early to know" in said
        assert "was done" not in said
    converge(site, first, row)
    assert live(site.server) == "ten"
    assert results(site)[0] == "done"
    assert ("settled: not done" in results(site)) is not is_done


def test_a_state_in_git_tells_the_same(make_site: MakeSite, server: Server, tmp_path: Path) -> None:
    """After a kill the call is open; what it may still do nothing newer precedes."""
    remote = make_bare_repository(tmp_path / "state.git")
    site = begun(make_site, state_url=f"git:file://{remote}?pace=0")
    killed(site, server, "before")
    assert "it is too early to know" in command(site, "state settle -t site", code=7)
    declare(site, "eleven")
    assert site.apply().code == 7
    assert site.apply(ahead=LATER).code == 0
    assert live(server) == "eleven"
    assert results(site)[:2] == ["done", "settled: not done"]


@on_api("v1", "v2")
def test_settled_once_it_cannot_act_any_more(make_site: MakeSite) -> None:
    """`state settle` says that it was not done, and so does the history; nothing is sent."""
    site = begun(make_site)
    site.server.faults({"match": update(site), "do": {"reset": "before"}})
    assert site.apply().code == 7
    site.server.faults()
    site.server.send("DELETE", "/_emulator/requests/")
    said = command(site, "state settle -t site --wait")
    assert f"{PLUGIN}: update was not done; the next apply may repeat it" in said
    assert results(site)[0] == "settled: not done"
    assert not [asked for asked in site.server.requests() if asked.startswith("P")]
    assert live(site.server) == "nine"
    assert site.apply().code == 0
    assert live(site.server) == "ten"


@on_api("v1", "v2")
@pytest.mark.parametrize("outside", ["other", "ten"])
def test_a_value_that_is_neither_cannot_be_told(make_site: MakeSite, outside: str) -> None:
    """Somebody changed it meanwhile: nobody says that the update was done."""
    site = begun(make_site)
    site.server.faults({"match": update(site), "do": {"reset": "before"}})
    assert site.apply().code == 7
    site.server.faults()
    change_outside(site, site.server, outside)
    said = command(site, "state settle -t site --wait")
    expected = "update was done" if outside == "ten" else "it is unknown whether update was done"
    assert f"{PLUGIN}: {expected}" in said
    text = command(site, "plan -t site")
    assert ("who set it is unknown" in text) is (outside == "other")
    assert "outside" not in text
    assert site.apply().code == 0
    assert live(site.server) == "ten"
    assert pending(site.plan()) == []
    if outside == "other":  # ours has taken its place: whoever sets it now is not that one
        change_outside(site, site.server, outside)
        text = command(site, "plan -t site")
        assert "# drift: changed outside" in text
        assert "not known" not in text


def change_outside(site: Site, server: Server, description: str) -> None:
    ((remote_id,),) = [ids for name, ids in server.ids().items() if name == PLUGIN]
    path = f"/v2/plugins/{remote_id}/" if site.api == "v2" else f"/plugins/{remote_id}/"
    content = {"description": description}
    if site.api == "v1":
        (row,) = server.objects("plugin")
        content = {**row["body"], **content}
    server.send("PATCH" if site.api == "v2" else "PUT", path, content)


@on_api("v1", "v2")
@on_store("sqlite", "s3")
def test_no_newer_update_while_an_older_one_may_act(make_shared_site: MakeSite) -> None:
    """It is refused with exit 7, and sent once the older one has acted: nothing overwrites it."""
    site = begun(make_shared_site)
    site.server.faults({"match": update(site, nth=1), "do": {"hang": 3}})
    with applying(site) as process:
        reaches(site.server, process)
        assert kill(process)
    declare(site, "eleven")
    second = site.apply()
    assert second.code == 7
    (refusal,) = [r for change in second.plan.changes for r in change.refusals]
    assert "it is too early to know whether the server acted on it" in refusal.reason
    wait_for(site.server, "ten")
    site.server.faults()
    third = site.apply()
    assert third.code == 0
    assert live(site.server) == "eleven"
    assert results(site)[:2] == ["done", "settled: done"]
    assert [field.cause.value for change in third.plan.changes for field in change.fields] == [
        "git"
    ]
    assert pending(site.plan()) == []


@on_api("v1", "v2")
@pytest.mark.parametrize("verb", ["update", "create"])
def test_waiting_ends_once_the_lost_call_shows(make_site: MakeSite, verb: str) -> None:
    """Hours before it could not act any more, and asking seldom; one line says what is waited for."""
    site = begun(make_site)
    declare(site, "ten", settle_after=36_000)
    asked = update(site, nth=1)
    if verb == "create":
        path = site.root / "manifests" / "group-0.yaml"
        path.write_text(path.read_text().replace("storage-0", "storage-1"))
        asked = {"method": "POST", "path": "/storages/", "nth": 1}
    site.server.faults({"match": asked, "do": {"hang": 3}})
    with applying(site) as process:
        reaches(site.server, process)
        assert kill(process)
    declare(site, "eleven")
    site.server.send("DELETE", "/_emulator/requests/")
    with applying(site, "--wait", as_json=False) as process:
        code, out, err = ended(process)
    assert code == 0, out + err
    assert err.count("Waiting at most ") == 1
    assert live(site.server) == "eleven"
    assert pending(site.plan()) == []
    assert len(site.server.objects("storage")) == (2 if verb == "create" else 1)


def wait_for(server: Server, description: str) -> None:
    wait_until(lambda: live(server) == description, 60, description)


@on_api("v1", "v2")
def test_who_sets_the_same_meanwhile_hides_no_late_call(make_site: MakeSite) -> None:
    """Live had what was sent, so it was done; of what is there later nobody knows who set it."""
    site = begun(make_site)
    declare(site, "ten", on_drift="hold")
    killed(site, site.server, "before")
    change_outside(site, site.server, "ten")
    assert "update was done" in command(site, "state settle -t site")
    declare(site, "eleven")
    assert site.apply().code == 0
    change_outside(site, site.server, "ten")  # as the killed call does now, or somebody else
    said = [command(site, f"{asked} -t site") for asked in ("plan", "drift")]
    assert all("who set it is unknown" in text for text in said)
    assert "changed outside" not in "".join(said)
    assert site.apply().code == 0
    assert live(site.server) == "ten"


def test_a_field_that_a_late_call_may_have_removed_is_not_told_as_changed_outside(
    make_site: MakeSite,
) -> None:
    """On v1 to remove a field is to send its reset value."""
    site = begun(make_site)
    declare(site, None, on_drift="hold")
    killed(site, site.server, "before")
    change_outside(site, site.server, "")
    assert "update was done" in command(site, "state settle -t site")
    declare(site, "eleven")
    assert site.apply().code == 0
    change_outside(site, site.server, "")
    said = command(site, "plan -t site")
    assert "who set it is unknown" in said
    assert "changed outside" not in said
    assert site.apply().code == 0
    assert live(site.server) == ""


@on_api("v1", "v2")
def test_nothing_is_said_of_drift_while_a_call_may_act(make_site: MakeSite) -> None:
    """A nightly check is red, not green, of an object that it cannot judge."""
    site = begun(make_site)
    killed(site, site.server, "before")
    declare(site, "eleven")
    change_outside(site, site.server, "other")
    said = command(site, "drift -t site --detailed-exitcode", code=1)
    assert "It is still unknown whether an object has drifted" in said
    assert "No drift" not in said
    report = site.root / "drift.json"
    command(site, f"drift -t site --report codequality={report}", code=1)
    (found,) = json.loads(report.read_text())
    assert "It is still unknown whether" in found["description"]
    assert found["location"]["path"] == "manifests/group-0.yaml"
    # Sent again, and never told: other values wait, and who asks what is open is told so.
    declare(site, "ten")
    assert site.apply().code == 0
    declare(site, "eleven")
    command(site, "drift -t site", code=1)
    assert "A call that was given up may still act" in command(site, "state settle -t site")
    assert "may still act and overwrite" in command(site, "plan -t site")


def test_drift_that_git_changes_too_is_not_told_as_kept(make_site: MakeSite) -> None:
    """With `on_drift: hold`, apply keeps only what Git did not change."""
    site = begun(make_site)
    declare(site, "nine", on_drift="hold")
    change_outside(site, site.server, "other")
    assert "keeps the drift (on_drift: hold)" in command(site, "drift -t site")
    declare(site, "eleven")
    said = command(site, "drift -t site")
    assert "restores the declared values" in said
    assert "keeps it" not in said
    assert site.apply().code == 0
    assert live(site.server) == "eleven"


def test_the_history_knows_a_call_by_the_apply_that_sent_it(make_site: MakeSite) -> None:
    """While its outcome is not known, and once another apply has settled it."""
    site = begun(make_site)
    site.server.faults({"match": update(site), "do": {"reset": "before"}})
    lost = site.apply()
    site.server.faults()
    assert lost.code == 7
    shown = command(site, f"state history -t site show {lost.plan.id}")
    assert "not known yet" in shown
    later = site.apply(ahead=LATER)
    assert later.code == 0
    (said,) = [d for d in later.plan.diagnostics if d.summary == "An earlier call was looked up"]
    assert f"by apply {lost.plan.id}, was not done" in said.detail
    shown = command(site, f"state history -t site show {lost.plan.id}")
    assert f"plan: {lost.plan.id}\n" in shown
    assert re.search(rf"settled: not done, by \S+, {later.plan.id}", shown)


@on_api("v1", "v2")
def test_the_same_may_be_sent_again_at_once(make_site: MakeSite) -> None:
    """What is declared is so then, whichever acts last, and the plan says so."""
    site = begun(make_site)
    killed(site, site.server, "before")
    second = site.apply()
    assert second.code == 0
    (said,) = [d for d in second.plan.diagnostics if d.summary == "Apply repeats an earlier call"]
    assert "sends the same declared fields again" in said.detail
    assert live(site.server) == "ten"
    assert results(site)[:2] == ["done", "settled: cannot be told"]
    assert site.open_intents() == []
    # The first one still may act: what differs from it waits for that.
    declare(site, "eleven")
    assert site.apply().code == 7
    assert site.apply(ahead=LATER).code == 0
    assert live(site.server) == "eleven"


@on_api("v1", "v2")
@pytest.mark.parametrize("on_drift", ["revert", "hold"])
@pytest.mark.parametrize("ahead", [0.0, LATER])
@pytest.mark.parametrize("found", ["in the run", "by settle", "by hand"])
def test_a_late_value_of_ours_is_told_as_ours(
    make_site: MakeSite, found: str, on_drift: str, ahead: float
) -> None:
    """Nobody says who set it where the call was found done, or settled by hand as not done."""
    site = begun(make_site)
    declare(site, "ten", on_drift=on_drift)
    if found == "in the run":
        site.server.faults({"match": update(site), "do": LOST["502 after"]})
        assert site.apply().code == 0
        site.server.faults()
    else:
        killed(site, site.server, "before")
    if found == "by settle":
        change_outside(site, site.server, "ten")
        assert f"{PLUGIN}: update was done" in command(site, "state settle -t site")
    if found == "by hand":
        told = command(site, f"state settle -t site {PLUGIN} --absent")
        assert f"Settled {PLUGIN}: update was not done. The next apply may do it." in told
        assert results(site)[0] == "settled by hand: not done"
    declare(site, "eleven")
    assert site.apply().code == 0
    assert live(site.server) == "eleven"
    change_outside(site, site.server, "ten")  # as the call may do now, or a person
    untold = "who set it is unknown"
    said = [command(site, f"{asked} -t site") for asked in ("plan", "drift")]
    assert all(untold in text for text in said)
    last = site.apply(ahead=ahead)
    assert last.code == 0
    if on_drift == "hold":
        (note,) = [note for change in last.plan.changes for note in change.notes]
        assert note.startswith(
            "description is kept (on_drift: hold); description equals what call "
        )
        assert f"{untold}:" in note
        assert "outside" not in note
        assert live(site.server) == "ten"
        return
    assert "outside" not in "".join(said)
    (origin,) = [field.origin for change in last.plan.changes for field in change.fields]
    assert origin.endswith(untold)
    assert live(site.server) == "eleven"


@on_api("v1", "v2")
def test_an_import_over_an_open_update_keeps_it_in_mind(make_site: MakeSite) -> None:
    """It may still act, which is said: what is newer waits, and its late value is its own."""
    site = begun(make_site)
    declare(site, "ten", on_drift="hold")
    killed(site, site.server, "before")
    remote_id = site.records()[PLUGIN]
    said = command(site, f"import -t site {PLUGIN} {remote_id}")
    assert f"update of {PLUGIN} (call " in said
    assert " may act for another " in said
    assert site.open_intents() == []
    declare(site, "eleven")
    assert site.apply().code == 7
    assert live(site.server) == "nine"
    change_outside(site, site.server, "ten")  # as the killed call does now
    (origin,) = [f.origin for change in site.plan(ahead=0.0).changes for f in change.fields]
    assert origin.endswith("which was given up")
    assert site.apply(ahead=LATER).code == 0
    assert live(site.server) == "eleven"


@pytest.mark.parametrize("api", ["v2"], indirect=True)
def test_a_patch_is_told_of_what_it_sent_alone(make_site: MakeSite) -> None:
    """A change of another field need not wait, and another's value there is none of the call's."""
    site = begun(make_site)
    killed(site, site.server, "before")
    assert site.apply().code == 0  # the same again; the first one may still act
    path = site.root / "manifests" / "group-0.yaml"
    path.write_text(
        path.read_text().replace('"name": "plugin-0", "code"', '"name": "Other", "code"')
    )
    assert site.apply().code == 0
    (row,) = site.server.objects("plugin")
    assert row["body"]["name"] == "Other"
    site.server.send("PATCH", f"/v2/plugins/{row['id']}/", {"name": "plugin-0"})
    fields = [f for change in site.plan(ahead=0.0).changes for f in change.fields]
    assert [(f.cause.value, f.origin) for f in fields] == [("drift", "")]
    declare(site, "eleven")
    assert site.apply().code == 7
    assert live(site.server) == "ten"


def rotated(site: Site) -> Site:
    return replace(site, environ={**site.environ, "RAW_TOKEN": "r0tated-s3cret"})


def token(server: Server) -> str:
    """The secret that the server has."""
    (found,) = (row["body"]["configuration"]["token"] for row in server.objects("plugin"))
    return str(found)


def test_a_secret_that_is_rolled_back_is_sent_where_the_update_looks_not_done(
    hiding: Site, server: Server
) -> None:
    """It acted, and somebody set back what can be seen: of the secret nobody knows."""
    was = live(server)
    declare(hiding, "ten")
    server.faults({"match": update(hiding), "do": {"reset": "after"}})
    assert rotated(hiding).apply().code == 7
    server.faults()
    change_outside(hiding, server, was)
    assert "update was not done" in command(rotated(hiding), "state settle -t site --wait")
    declare(hiding, was)
    assert hiding.apply(ahead=LATER).code == 0
    assert token(server) == hiding.environ["RAW_TOKEN"]
    assert pending(hiding.plan()) == []


@pytest.mark.parametrize("name", ["description", "author"])
def test_what_somebody_changes_between_two_tries_is_kept(
    server: Server, tmp_path: Path, name: str
) -> None:
    """The same body is sent twice only where its object is as it was when the body was made."""
    with BackendProxy(server.url) as proxy:
        site = Site.make(tmp_path / "site", Server(proxy.url), groups=1)
        declare(site, "nine")
        assert site.apply().code == 0
        proxy.forget()
        declare(site, "ten")
        server.faults({"match": update(site, nth=1), "do": {"reset": "before"}})

        def change(_call: Call) -> None:
            (row,) = server.objects("plugin")
            server.send("PATCH", f"/_emulator/objects/plugin/{row['id']}/", {name: "Ann"})

        proxy.before_write = change
        assert site.apply().code == 7
        proxy.before_write = None
        assert [call.method for call in proxy.writes] == ["PUT"]
        (row,) = server.objects("plugin")
        assert row["body"][name] == "Ann"
        assert site.apply(ahead=LATER).code == 0
        (row,) = server.objects("plugin")
        assert row["body"]["description"] == "ten"
        assert name == "description" or row["body"][name] == "Ann"


@pytest.mark.parametrize("described", [None, "ten"])
def test_a_secret_that_is_rolled_back_is_sent(
    hiding: Site, server: Server, described: str | None
) -> None:
    """Nobody saw whether the new one arrived: the next apply sends what is declared by then."""
    if described:
        declare(hiding, described)
    server.faults({"match": update(hiding), "do": {"reset": "after"}})
    assert rotated(hiding).apply().code == 7
    server.faults()
    assert token(server) == "r0tated-s3cret"
    if described:
        said = command(rotated(hiding), "state settle -t site")
        assert f"{PLUGIN}: update was done (id " in said
        assert (
            "; it is unknown whether its secrets arrived, so the next apply sends them again"
            in said
        )
        said = command(hiding, "plan -t site")
        assert "token = (sensitive, live value not known)" in said
        said = command(hiding, f"show {PLUGIN} -t site")
        assert "(sensitive, not known)" in said
        assert "different" not in said + command(hiding, f"show {PLUGIN} -t site --json")
    assert hiding.apply(ahead=LATER).code == 0
    assert token(server) == hiding.environ["RAW_TOKEN"]
    assert pending(hiding.plan()) == []


def test_of_what_cannot_be_seen_nobody_says_that_it_was_as_before(
    hiding: Site, server: Server
) -> None:
    """An update of a secret that nobody sees is sent twice, though the first one acted."""
    server.faults({"match": update(hiding, nth=1), "do": {"reset": "after"}})
    report = rotated(hiding).apply().report
    assert report is not None
    assert report.exit_code == 0
    (told,) = [d for outcome in report.outcomes for d in outcome.diagnostics]
    assert told.summary == "An update was sent twice"
    assert "did not show its effect" in told.detail


@pytest.mark.parametrize("api", ["v2"], indirect=True)
@pytest.mark.parametrize("commit", ["before", "after"])
def test_a_delete_is_told_apart(make_site: MakeSite, commit: str) -> None:
    """Gone: done. There: it may still be deleted, and what is declared again waits for that."""
    site = make_site(groups=1)
    assert site.apply().code == 0
    path = site.root / "manifests" / "group-0.yaml"
    whole = path.read_text()
    plugin, _, storage = whole.split("\n---\n")
    path.write_text(f"{plugin}\n---\n{storage}")
    kill_amid(site, {"method": "DELETE"}, commit=commit)
    said = command(site, "state settle -t site", code=7 if commit == "before" else 0)
    assert ("delete was done" in said) is (commit == "after")
    path.write_text(whole)
    assert site.apply().code == (7 if commit == "before" else 0)
    assert site.apply(ahead=LATER).code == 0
    assert pending(site.plan()) == []
    if commit == "before":
        assert "settled: not done" in [entry.result for entry in site.written()[1]]


def test_a_second_try_remembers_the_first(make_site: MakeSite) -> None:
    """The first was lost and the second answered: a newer value waits until the first is over."""
    site = begun(make_site)
    site.server.faults({"match": update(site, nth=1), "do": {"reset": "before"}})
    first = site.apply()
    assert first.code == 0
    assert first.report is not None
    assert "unknown" not in [one.result.value for one in first.report.outcomes]
    told = [d.summary for outcome in first.report.outcomes for d in outcome.diagnostics]
    assert told == ["An update was sent twice"]
    site.server.faults()
    declare(site, "eleven")
    assert site.apply().code == 7
    assert live(site.server) == "ten"
    said = command(site, "apply --auto-approve --wait -t site")
    assert "Apply complete! Resources: 0 added, 1 changed" in said
    assert live(site.server) == "eleven"
