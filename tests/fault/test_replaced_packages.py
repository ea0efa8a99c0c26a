"""A package that replaces a debug release's, its answer lost: told by digest, never sent twice."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from fault.commands import FOREVER, applying, ended, kill, kill_amid, reaches
from fault.convergence import PROFILES, command, on_vendor, without_a_list_of_plugins
from fault.site import LATER, SEPARATOR, MakeSite, Server, Site, pending

RELEASE = "release/plugin-0@1.0.0"
REPLACES = f"synapse-apply apply --only {RELEASE} --revert-drift --allow-replace -t site"
UPLOAD = {"method": "POST", "path": "/plugin_releases/"}
POLICY = {"rules": [{"rule": "no-debug-releases", "severity": "off"}]}
DONE: dict[str, dict[str, Any]] = {
    "reset after": {"reset": "after"},
    "502 after": {"status": 502, "commit": "after"},
    "hangs after": {"hang": FOREVER, "commit": "after"},
}
NOT_DONE: dict[str, dict[str, Any]] = {
    "reset before": {"reset": "before"},
    "502 before": {"status": 502},
    "hangs before": {"hang": FOREVER},
}


def declare_debug(site: Site, *, with_config: bool = True) -> None:
    project = json.loads((site.root / "synapse-apply.yaml").read_text())
    project["targets"]["site"]["policy"] = POLICY
    (site.root / "synapse-apply.yaml").write_text(json.dumps(project))
    group = site.root / "manifests" / "group-0.yaml"
    plugin, release, storage = (json.loads(text) for text in group.read_text().split(SEPARATOR))
    release["spec"]["debug"] = True
    if with_config:
        release["spec"]["config"] = {"a": 1}
    group.write_text(SEPARATOR.join(map(json.dumps, (plugin, release, storage))))


def changed(site: Site, *, with_config: bool = True) -> Site:
    """The site with its debug release applied, and another file in its package.

    The page's backend shows a digest in `config` alone, where that is declared.
    """
    declare_debug(site, with_config=with_config)
    assert site.apply().code == 0
    (site.root / "plugins" / "plugin-0" / "plugin" / "main.py").write_text("print('other')\n")
    return site


def record(site: Site) -> Any:
    with site.opened() as session:
        records = session.store.read_state().records
    return {str(address): record for address, record in records.items()}[RELEASE]


def package(server: Server) -> str:
    """The SHA-256 of the zip that the backend has."""
    (row,) = (row for row in server.objects("release") if row["body"].get("debug"))
    return str(row["body"]["package"]["sha256"])


def uploads(server: Server) -> int:
    return server.requests().count("POST /plugin_releases/")


@contextmanager
def replaced(server: Server, site: Site, times: int = 1) -> Iterator[None]:
    """In the end the new package is there and recorded; uploads were acted on so many times."""
    before, old, sent = record(site), package(server), uploads(server)
    yield
    assert uploads(server) - sent == times
    after = record(site)
    assert package(server) != old
    assert (after.remote_id, bool(after.replaced_at)) == (before.remote_id, True)
    assert after.digest != before.digest
    assert after.files != before.files
    assert (after.verification, after.proven) == (None, {})
    assert site.open_intents() == []
    assert pending(site.plan()) == []


@pytest.mark.parametrize("profile", PROFILES, indirect=True)
@pytest.mark.parametrize("deed", DONE.values(), ids=DONE)
def test_what_was_done_is_found_by_its_digest(deed: dict[str, Any], make_site: MakeSite) -> None:
    """In the same run or in the next, and no second upload is sent."""
    site = changed(make_site(groups=1))
    with replaced(site.server, site):
        site.server.faults({"match": UPLOAD, "do": deed})
        first = site.apply()
        site.server.faults()
        assert first.code in {0, 7}
        assert site.apply(ahead=LATER).code == 0


@pytest.mark.parametrize("profile", PROFILES, indirect=True)
@pytest.mark.parametrize("deed", NOT_DONE.values(), ids=NOT_DONE)
def test_what_was_not_done_is_sent_again_once_it_can_act_no_more(
    deed: dict[str, Any], make_site: MakeSite
) -> None:
    """Before that the row is refused with exit 7, and nothing is sent."""
    site = changed(make_site(groups=1))
    with replaced(site.server, site):
        site.server.faults({"match": UPLOAD, "do": deed})
        assert site.apply().code == 7
        site.server.faults()
        sent = uploads(site.server)
        early = site.apply()
        assert early.code == 7
        assert "too early to know" in str(pending(early.plan))
        assert uploads(site.server) == sent
        assert site.apply(ahead=LATER).code == 0


@pytest.mark.parametrize("profile", PROFILES, indirect=True)
@pytest.mark.parametrize("commit", ["before", "after"])
def test_killed_while_it_is_sent(commit: str, make_site: MakeSite) -> None:
    """The next run looks it up, whether the backend has acted on it or not."""
    site = changed(make_site(groups=1))
    with replaced(site.server, site):
        kill_amid(site, UPLOAD, "--allow-replace", commit=commit)
        assert site.apply(ahead=LATER).code == 0


@on_vendor()
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("write", ["open_intent_and_use_up_its_approvals", "close_ended_intent"])
def test_killed_at_a_write(write: str, moment: str, make_site: MakeSite) -> None:
    """The announcement and the record of the upload, each written or not."""
    site = changed(make_site(groups=1))
    with replaced(site.server, site):
        dies = {"signal": int(signal.SIGKILL), "write": write, "nth": 1, "moment": moment}
        with applying(site, "--allow-replace", **dies) as process:
            assert ended(process)[0] == -signal.SIGKILL
        assert site.apply(ahead=LATER).code == 0


@on_vendor()
@pytest.mark.parametrize("is_done", [True, False])
def test_the_bytes_tell_where_no_digest_is_shown(
    is_done: bool, make_site: MakeSite, server: Server
) -> None:
    """They are fetched by their signed URL when the call is looked up, also by its own run."""
    with server.switched(release_meta="none"):
        site = changed(make_site(groups=1))
        with replaced(server, site):
            server.faults({"match": UPLOAD, "do": {"reset": "after" if is_done else "before"}})
            assert site.apply().code == (0 if is_done else 7)
            server.faults()
            assert site.apply(ahead=LATER).code == 0


@without_a_list_of_plugins()
@pytest.mark.parametrize("way", ["import", "settle"])
def test_where_nothing_tells_a_person_says_it(way: str, make_site: MakeSite) -> None:
    """However long one waits: exit 7, no second upload, and the commands that settle it."""
    site = changed(make_site(groups=1), with_config=False)
    with replaced(site.server, site, times=1 if way == "import" else 2):
        site.server.faults({"match": UPLOAD, "do": {"reset": "after"}})
        assert site.apply().code == 7
        site.server.faults()
        ((refusal,),) = (change.refusals for change in site.apply().plan.refused_changes)
        assert (refusal.rule, len(refusal.ways_out)) == ("outcome-unknown", 2)
        assert "--absent -t site`; the call may act until 2" in str(refusal.ways_out[1])
        listed = " ".join(command(site, "state show -t site").split())
        assert " s and replace its package." in listed
        late = site.apply(ahead=LATER)
        assert late.code == 7
        (change,) = late.plan.refused_changes
        (refusal,) = change.refusals
        told = " ".join(map(str, refusal.ways_out))
        assert "state settle release/plugin-0@1.0.0 --absent" in told
        assert (
            f"if its new package is there: `synapse-apply import {RELEASE} {change.remote_id} "
            in told
        )
        settles = f"state settle {RELEASE} --absent"
        if way == "settle":
            site.waited.append(LATER)
        command(site, settles if way == "settle" else f"import {RELEASE} {change.remote_id}")
        assert site.apply(ahead=LATER).code == 0


def test_a_replacement_that_acts_late_is_told_of_and_put_right(make_site: MakeSite) -> None:
    """It was found done, and another package was sent since: who repeats the first one is seen."""
    site = changed(make_site(groups=1))
    kill_amid(site, UPLOAD, "--allow-replace", commit="after")
    assert site.apply().code == 0
    (first,) = (row for row in site.server.objects("release") if row["body"].get("debug"))
    assert "may still act" not in command(site, "plan -t site")
    (site.root / "plugins" / "plugin-0" / "plugin" / "main.py").write_text("print('third')\n")
    assert site.apply().code == 0
    latest = record(site).digest
    said = " ".join(command(site, "plan -t site").split())
    assert f"An earlier replace of {RELEASE} (call " in said
    assert "since found done) may still act until " in said
    assert "and would replace it." in said
    again = {name: first["body"][name] for name in ("config", "package")}
    site.server.send("PATCH", f"/_emulator/objects/release/{first['id']}/", again)
    assert "No changes" not in command(site, "plan -t site")
    said = command(site, "drift -t site")
    assert "No drift" not in said
    assert re.search(
        r"digest = .*equals what call \S+ of apply \S+ sent; who set it", " ".join(said.split())
    )
    assert "outside" not in said
    said = command(site, f"drift -t site --write {RELEASE} --dry-run", code=1)
    assert "spec.digest is not a field" in said
    assert site.apply().code == 0
    assert record(site).digest == latest
    (row,) = (row for row in site.server.objects("release") if row["body"].get("debug"))
    assert row["body"]["config"] != first["body"]["config"]
    assert pending(site.plan()) == []


def publish_outside(site: Site, server: Server, text: str = "print('foreign')\n") -> None:
    """Somebody else puts a package in the place of ours, as another checkout would."""
    (row,) = (row for row in server.objects("release") if row["body"].get("debug"))
    config = {**row["body"]["config"], "x-synapse-apply-digest": FOREIGN}
    changed = {"config": config, "package": {**row["body"]["package"], "sha256": text}}
    server.send("PATCH", f"/_emulator/objects/release/{row['id']}/", changed)


FOREIGN = "pkg1:sha256:" + "f" * 64


def hold(site: Site) -> None:
    path = site.root / "synapse-apply.yaml"
    project = json.loads(path.read_text())
    project["targets"]["site"]["on_drift"] = "hold"
    path.write_text(json.dumps(project))


@without_a_list_of_plugins()
def test_a_forgotten_release_is_imported_without_taking_the_new_package_for_published(
    make_site: MakeSite,
) -> None:
    """Nothing shows whether the lost replacement was done, and no person has said so."""
    site = changed(make_site(groups=1), with_config=False)
    remote_id = record(site).remote_id
    kill_amid(site, UPLOAD, "--allow-replace", commit="before")
    command(site, f"state rm {RELEASE} -t site")
    (way,) = re.findall("`synapse-apply (import [^`]*)`", command(site, "plan -t site"))
    assert way == f"import {RELEASE} {remote_id} -t site"
    command(site, way)
    untold = "It is unknown whose package is published"
    for line in ("plan", "drift", "state show"):
        assert untold in command(site, f"{line} -t site"), line
    command(site, f"state accept {RELEASE} --auto-approve -t site")
    assert untold not in command(site, "plan -t site")


@pytest.mark.parametrize("by", ["plan", "settle"])
def test_a_package_that_somebody_else_published_meanwhile_is_told(
    make_site: MakeSite, by: str
) -> None:
    """Our replacement was lost, and another person published over the release: no silence."""
    site = changed(make_site(groups=1))
    ours = record(site).digest
    site.server.faults({"match": UPLOAD, "do": {"reset": "before"}})
    assert site.apply().code == 7
    site.server.faults()
    publish_outside(site, site.server)
    outside = "the live package differs: somebody published another package outside Git"
    if by == "settle":
        assert outside in command(site, "state settle -t site --wait")
        assert record(site).digest == ours
    said = site.plan()
    assert (outside in str(said.diagnostics)) is (by == "plan")
    if by == "settle":
        text = command(site, "plan -t site")
        assert "its package was published outside" in text
        text = " ".join(command(site, "drift -t site").split())
        assert f'digest = "{ours}" -> "{FOREIGN}" # changed in Git and outside' in text
    assert site.apply(ahead=LATER).code == 0
    assert pending(site.plan()) == []
    assert record(site).digest not in {ours, FOREIGN}


def test_a_package_that_was_published_outside_is_put_right_by_the_command_that_drift_names(
    make_site: MakeSite,
) -> None:
    """Git has not moved, and live has other files."""
    site = changed(make_site(groups=1))
    assert site.apply().code == 0
    ours = record(site).digest
    publish_outside(site, site.server)
    said = " ".join(command(site, "plan -t site").split())
    assert "published outside" in said
    assert "the same files" not in said
    said = " ".join(command(site, "drift -t site").split())
    assert "cannot undo" not in said
    assert "waits for an apply" not in said
    (way,) = re.findall("`synapse-apply ([^`]*)` restores the declared values", said)
    said = " ".join(command(site, "apply --auto-approve -t site", code=5).split())
    assert "in Git" not in said
    command(site, f"{way} --auto-approve")
    assert record(site).digest == ours
    assert "No drift" in command(site, "drift -t site")


@pytest.mark.parametrize("typed", [f"state accept {RELEASE}", f"drift --write {RELEASE}"])
def test_a_package_is_neither_accepted_nor_written_into_a_file(
    make_site: MakeSite, typed: str
) -> None:
    """Nothing is said to be accepted that the next plan shows again; the way out that is named works."""
    site = changed(make_site(groups=1))
    assert site.apply().code == 0
    ours = record(site).digest
    publish_outside(site, site.server)
    yes = " --auto-approve" if typed.startswith("state") else ""
    said = " ".join(command(site, f"{typed}{yes} -t site", code=1).split())
    assert "Accepted" not in said
    (way,) = re.findall("`synapse-apply (apply [^`]*)`", said)
    command(site, f"{way} --auto-approve")
    assert record(site).digest == ours
    assert "No drift" in command(site, "drift -t site")


def test_a_package_that_was_published_outside_is_kept_where_drift_is(make_site: MakeSite) -> None:
    """Git has not moved: hold means of a package what it means of a field."""
    site = changed(make_site(groups=1))
    assert site.apply().code == 0
    ours = record(site).digest
    publish_outside(site, site.server)
    hold(site)
    sent = uploads(site.server)
    for _ in range(2):
        said = " ".join(command(site, "plan -t site").split())
        assert "its package was published outside, and apply keeps it (on_drift: hold): " in said
        assert f"`{REPLACES}` replaces the package" in said
        assert "No changes. Apply keeps the changes made outside Git (on_drift: hold)." in said
        said = " ".join(command(site, "drift -t site").split())
        assert "changed outside" in said
        assert "`--revert-drift --allow-replace` undoes the drift" in said
        assert "cannot undo" not in said
        assert "waits for an apply" not in said
        assert site.apply().code == 0
    assert uploads(site.server) == sent
    typed = f"apply --only {RELEASE} --revert-drift --auto-approve -t site"
    said = " ".join(command(site, typed, code=5).split())
    assert (
        "its live package was published outside Git, and the declared package would replace it"
    ) in said
    assert "in Git" not in said
    (way,) = set(re.findall("replace the package: `synapse-apply ([^`]*)`", said))
    assert sorted(f"synapse-apply {way}".split()) == sorted(REPLACES.split())
    command(site, f"{way} --auto-approve")
    assert uploads(site.server) == sent + 1
    assert record(site).digest == ours
    publish_outside(site, site.server)
    (site.root / "plugins" / "plugin-0" / "plugin" / "main.py").write_text("print('both')\n")
    said = " ".join(command(site, "drift -t site").split())
    assert "`synapse-apply apply --allow-replace -t site` restores the declared values." in said
    assert "keeps it" not in said
    assert "1 change in the manifests waits for an apply" in said
    assert "# changed in Git and outside" in said
    assert site.apply().code == 0
    assert uploads(site.server) == sent + 2


@pytest.mark.parametrize("way", ["own run", "import"])
def test_a_replacement_that_may_act_again_is_kept(make_site: MakeSite, way: str) -> None:
    """Its own run found it done, or an import took it over: it may act on the next package."""
    site = changed(make_site(groups=1))
    if way == "import":
        kill_amid(site, UPLOAD, "--allow-replace", commit="after")
        command(site, f"import {RELEASE} {record(site).remote_id} -t site")
        assert site.apply().code == 0  # from now on the record has fields of ours
    else:
        site.server.faults({"match": UPLOAD, "do": {"status": 502, "commit": "after"}})
        assert site.apply().code in {0, 7}
        site.server.faults()
        assert site.apply().code == 0
    assert [call.verb for call in record(site).given_up] == ["replace"]
    (site.root / "plugins" / "plugin-0" / "plugin" / "main.py").write_text("print('third')\n")
    if way == "import":  # nobody knows that it was done: the next package waits
        assert site.apply().code == 7
        return
    assert site.apply().code == 0
    said = " ".join(command(site, "plan -t site").split())
    assert f"An earlier replace of {RELEASE} (call " in said
    assert "would replace it" in said


def write_main(site: Site, text: str) -> None:
    (site.root / "plugins" / "plugin-0" / "plugin" / "main.py").write_text(f"print({text!r})\n")


@pytest.mark.parametrize("again", ["same", "newer"])
def test_a_newer_package_waits_for_one_that_may_still_act(make_site: MakeSite, again: str) -> None:
    """An import took it over, so nobody knows how it ended: it would put the older one back."""
    site = changed(make_site(groups=1, settle_after=300))
    kill_amid(site, UPLOAD, "--allow-replace")
    command(site, f"import {RELEASE} {record(site).remote_id} -t site")
    if again == "newer":
        write_main(site, "third")
    sent, refused = uploads(site.server), site.apply()
    said = str(pending(refused.plan))
    if again == "same":
        assert (refused.code, uploads(site.server)) == (0, sent + 1)
    else:
        assert (refused.code, uploads(site.server)) == (7, sent)
        assert "an earlier replace (sent at " in said
        assert "may still act and overwrite a newer change" in said
        (change,) = refused.plan.refused_changes
        (refusal,) = change.refusals
        assert "`synapse-apply apply --wait" in str(refusal.ways_out)
    assert site.apply(ahead=LATER).code == 0
    assert uploads(site.server) == sent + 1
    assert pending(site.plan()) == []


def test_an_imported_debug_release_is_replaced_by_the_first_apply(make_site: MakeSite) -> None:
    """After an apply that ends well nothing is left to do."""
    site = changed(make_site(groups=1))
    remote_id, sent = record(site).remote_id, uploads(site.server)
    command(site, f"state rm {RELEASE} -t site")
    command(site, f"import {RELEASE} {remote_id} -t site")
    assert "replaces its published package" in command(site, "plan -t site")
    assert site.apply().code == 0
    assert uploads(site.server) == sent + 1
    assert pending(site.plan()) == []


@pytest.mark.parametrize("is_applied", [False, True])
def test_a_package_that_changes_after_an_import_is_replaced(
    make_site: MakeSite, *, is_applied: bool
) -> None:
    """What was imported was as declared; then Git has another one."""
    site = make_site(groups=1)
    declare_debug(site)
    assert site.apply().code == 0
    command(site, f"state rm {RELEASE} -t site")
    (row,) = (row for row in site.server.objects("release") if row["body"].get("debug"))
    command(site, f"import {RELEASE} {row['id']} -t site")
    if is_applied:
        assert site.apply().code == 0
    write_main(site, "second")
    assert "replaces its published package" in command(site, "plan -t site")
    assert "1 change in the manifests waits for an apply" in command(site, "drift -t site")
    sent = uploads(site.server)
    command(site, "apply --auto-approve --allow-replace -t site")
    assert uploads(site.server) == sent + 1
    assert pending(site.plan()) == []


@pytest.mark.parametrize("forgotten", [False, True])
def test_an_import_takes_the_package_that_the_object_shows(
    make_site: MakeSite, *, forgotten: bool
) -> None:
    """The replacement was lost and has not acted: it is not what the import recorded."""
    site = changed(make_site(groups=1))
    ours = record(site)
    kill_amid(site, UPLOAD, "--allow-replace")
    if forgotten:
        command(site, f"state rm {RELEASE} -t site")
    command(site, f"import {RELEASE} {ours.remote_id} -t site")
    assert (record(site).digest, record(site).replaced_at) == (ours.digest, "")
    said = command(site, "plan -t site")
    assert "published outside" not in said
    assert "apply replaces its published package; the id stays" in said
    assert "changed outside" not in command(site, "drift -t site")
    sent = uploads(site.server)
    assert site.apply(ahead=LATER).code == 0
    assert uploads(site.server) == sent + 1
    assert record(site).digest != ours.digest
    assert pending(site.plan()) == []


@pytest.mark.parametrize("on_drift", ["hold", "revert"])
@pytest.mark.parametrize("way", ["own run", "killed"])
def test_a_create_of_a_debug_release_that_acts_again_is_told_of(
    make_site: MakeSite, way: str, on_drift: str
) -> None:
    """Its upload puts its package over the next one, as a replacement does."""
    site = make_site(groups=1, settle_after=300)
    deed = {"hang": FOREVER} if way == "killed" else {"status": 502}
    site.server.faults({"match": UPLOAD, "do": {**deed, "commit": "after"}})
    declare_debug(site)
    if way == "killed":
        with applying(site) as process:
            reaches(site.server, process)
            assert kill(process)
    else:
        assert site.apply().code == 0
    site.server.faults()
    assert site.apply().code == 0
    (first,) = (row for row in site.server.objects("release") if row["body"].get("debug"))
    assert "may still act" not in command(site, "plan -t site")
    write_main(site, "second")
    if on_drift == "hold":
        hold(site)
    assert site.apply().code == 0
    latest = record(site).digest
    for line in ("plan", "drift"):
        said = " ".join(command(site, f"{line} -t site").split())
        assert f"create of {RELEASE} (call " in said or f"replace of {RELEASE} (call " in said
        assert "and would replace it." in said
    assert f"create of {RELEASE}" in " ".join(command(site, "state show -t site").split())
    again = {name: first["body"][name] for name in ("config", "package")}
    site.server.send("PATCH", f"/_emulator/objects/release/{first['id']}/", again)
    said = " ".join(command(site, "drift -t site").split())
    assert re.search(r"digest = .*equals what call \S+ of apply \S+ sent; who set it", said)
    said = command(site, "plan -t site")
    assert "published outside" not in said
    assert "changed outside" not in said
    if on_drift == "hold":
        assert (
            "No changes. Apply keeps the live values that differ from the manifests "
            "(on_drift: hold)."
        ) in said
    assert site.apply().code == 0
    if on_drift == "revert":
        assert record(site).digest == latest
        assert pending(site.plan()) == []


def test_nobody_says_of_a_create_that_may_act_that_it_was_not_done(make_site: MakeSite) -> None:
    """Its upload would put its package over the next one, and no record could keep it."""
    site = make_site(groups=1, settle_after=300)
    declare_debug(site)
    kill_amid(site, UPLOAD)
    said = " ".join(command(site, f"state settle {RELEASE} --absent -t site", code=1).split())
    assert "No record would show this call" in said
    assert "what its create may still do would look like a change from outside" in said
    assert re.search(r"Run this again in \d+ s, when the call can no longer act\.", said)
    assert "A call of unknown outcome may still act" in said
    assert [*map(str, site.open_intents())] == [RELEASE]
    write_main(site, "second")
    assert site.apply(ahead=0.0).code == 7
    assert uploads(site.server) == 0
    assert site.apply(ahead=LATER).code == 0
    assert pending(site.plan()) == []


def test_nor_of_a_replacement_that_may_act(make_site: MakeSite) -> None:
    """It would put its package over the next one, and this backend may show no digest."""
    site = changed(make_site(groups=1, settle_after=300))
    kill_amid(site, UPLOAD, "--allow-replace")
    said = " ".join(command(site, f"state settle {RELEASE} --absent -t site", code=1).split())
    assert "No record would show this call" in said
    assert "would look like a change from outside, or show nowhere." in said
    assert re.search(r"Run this again in \d+ s, when the call can no longer act\.", said)
    assert "A call of unknown outcome may still act" in said
    assert [*map(str, site.open_intents())] == [RELEASE]
    site.waited.append(LATER)
    command(site, f"state settle {RELEASE} --absent -t site")
    assert site.open_intents() == []


def test_a_create_of_no_debug_release_is_settled_at_once(make_site: MakeSite) -> None:
    """Whoever comes second is refused: it would change nothing."""
    site = make_site(groups=1, settle_after=300)
    kill_amid(site, UPLOAD)
    command(site, f"state settle {RELEASE} --absent -t site")
    assert site.open_intents() == []


def test_what_is_made_anew_keeps_the_upload_that_may_act(make_site: MakeSite) -> None:
    """Somebody deleted what our call had made, and it was made again, with another package."""
    site = make_site(groups=1, settle_after=300)
    declare_debug(site)
    site.server.faults({"match": UPLOAD, "do": {"status": 502, "commit": "after"}})
    assert site.apply().code == 0
    site.server.faults()
    (first,) = (row for row in site.server.objects("release") if row["body"].get("debug"))
    site.server.send("DELETE", f"/_emulator/objects/release/{first['id']}/")
    write_main(site, "second")
    assert site.apply().code == 0
    for line in ("plan", "drift"):
        said = " ".join(command(site, f"{line} -t site").split())
        assert f"create of {RELEASE} (call " in said
        assert "and would replace it." in said
    (second,) = (row for row in site.server.objects("release") if row["body"].get("debug"))
    again = {name: first["body"][name] for name in ("config", "package")}
    site.server.send("PATCH", f"/_emulator/objects/release/{second['id']}/", again)
    assert "published outside" not in command(site, "plan -t site")


@pytest.mark.parametrize("way", ["recreate", "adopt", "recreate killed"])
def test_a_replacement_of_a_release_that_is_gone_is_not_forgotten(
    make_site: MakeSite, way: str
) -> None:
    """It is addressed by plugin and version: it would put its package over the next release's."""
    site = changed(make_site(groups=1, settle_after=300))
    kill_amid(site, UPLOAD, "--allow-replace")
    (row,) = (row for row in site.server.objects("release") if row["body"].get("debug"))
    site.server.send("DELETE", f"/_emulator/objects/release/{row['id']}/")
    said = f"replace of {RELEASE} (call "
    if way == "adopt":
        site.server.send(
            "POST",
            "/_emulator/objects/release/",
            {key: row[key] for key in ("body", "key", "parent")},
        )
        command(site, "apply --auto-approve --adopt -t site")
    elif way == "recreate killed":  # the same package as the lost call: that one waits for nothing
        kill_amid(site, UPLOAD, "--recreate", "--allow-replace", commit="after")
    write_main(site, "third")
    sent = uploads(site.server)
    refused = " ".join(
        command(site, "apply --recreate --allow-replace --auto-approve -t site", 7).split()
    )
    assert "an earlier replace (sent at " in refused
    assert "may still act and overwrite a newer change" in refused
    assert said in " ".join(command(site, "state show -t site").split())
    assert uploads(site.server) == sent
    assert site.apply(ahead=LATER).code == 0
    assert uploads(site.server) == sent + 1
    assert pending(site.plan()) == []
