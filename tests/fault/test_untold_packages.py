"""A create without an answer, and somebody publishes that version: nobody takes it for ours unseen."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from controllers.backend_proxy import BackendProxy, Call
from fault.commands import applying, ended, kill_amid, reaches
from fault.convergence import command, on_vendor, without_a_list_of_plugins
from fault.site import LATER, SEPARATOR, MakeSite, Server, Site, pending
from fault.test_unrecorded import one_file, state_of
from profiles import PAGE, VENDOR

RELEASE = "release/plugin-0@1.1.0"
UNTOLD = "It is unknown whose package is published"
SETTLED = (
    f"{RELEASE}: it is unknown whether create was done (a release of this version exists, but "
)


def told(text: str) -> str:
    return " ".join(text.split())


def move_version(site: Site, old: str, new: str) -> None:
    for name in ("manifests/group-0.yaml", "plugins/plugin-0/config.yaml"):
        path = site.root / name
        path.write_text(path.read_text().replace(old, new))


def declare_next(site: Site, text: str) -> None:
    move_version(site, "1.0.0", "1.1.0")
    (site.root / "plugins" / "plugin-0" / "plugin" / "main.py").write_text(f"print({text!r})\n")


def contested(make_site: MakeSite, server: Server, *, is_ours: bool = False) -> Site:
    """A site whose create of a version was killed, and that version is there: ours or not."""
    site = make_site(groups=1)
    assert site.apply().code == 0
    other = replace(site, root=site.root.with_name("other"))
    shutil.copytree(site.root, other.root)
    declare_next(site, "ours")
    commit = "after" if is_ours else "before"
    upload = {"method": "POST", "path": "/plugin_releases/"}
    kill_amid(site, upload, commit=commit)
    if not is_ours:
        declare_next(other, "theirs")
        assert other.apply().code == 0
    assert list(map(str, site.open_intents())) == [RELEASE]
    return site


def remote_id(server: Server) -> str:
    ((found,),) = [ids for name, ids in server.ids().items() if name == RELEASE]
    return found


def record(site: Site) -> Any:
    with site.opened() as session:
        records = session.store.read_state().records
    return {str(address): record for address, record in records.items()}[RELEASE]


def findings(site: Site, typed: str) -> list[dict[str, Any]]:
    document = json.loads(command(site, f"{typed} -t site --json"))
    return [found for found in document["diagnostics"] if found["summary"] == UNTOLD]


@without_a_list_of_plugins()
@pytest.mark.parametrize("is_ours", [True, False])
@pytest.mark.parametrize("way", ["settle", "apply", "import"])
def test_what_nothing_shows_is_told_until_somebody_says_that_it_is_ours(
    make_site: MakeSite, server: Server, way: str, *, is_ours: bool
) -> None:
    """This backend shows neither a digest nor a URL of the package."""
    site = contested(make_site, server, is_ours=is_ours)
    if way == "settle":
        said = told(command(site, "state settle -t site"))
        assert (
            SETTLED + "the backend does not show its package); the next plan warns about that"
            in said
        )
        assert f"* `synapse-apply verify {RELEASE} --bytes -t site` compares the bytes" in said
        assert f"{RELEASE}: create was done" not in said
    elif way == "apply":
        assert site.apply().code == 0
    else:
        command(site, f"import {RELEASE} {remote_id(server)} -t site")
    assert site.open_intents() == []
    for line in ("plan", "drift", "state show", f"show {RELEASE}"):
        said = told(command(site, f"{line} -t site"))
        assert said.count(UNTOLD) == 1, said
        assert f"{RELEASE}: this version was found after an upload without an answer" in said
        assert f"`synapse-apply state accept {RELEASE} -t site` records that" in said
        assert "If it is not yours, publish a new version." in said
    (found,) = findings(site, "drift")
    assert found["address"] == RELEASE
    assert site.apply().code == 0
    assert pending(site.plan()) == []
    command(site, f"import {RELEASE} {remote_id(server)} -t site")  # says nothing of its bytes
    assert findings(site, "plan")
    digest = record(site).digest
    command(site, f"state accept {RELEASE} -t site", code=1)  # it asks, also without a difference
    assert findings(site, "plan")
    said = told(command(site, f"state accept {RELEASE} --auto-approve -t site"))
    assert "no difference. Its published package is now treated as yours." in said
    assert UNTOLD in said
    assert record(site).digest == digest
    for line in ("plan", "drift", "state show", f"show {RELEASE}"):
        assert UNTOLD not in command(site, f"{line} -t site"), line


@without_a_list_of_plugins()
@pytest.mark.parametrize("shows", ["nothing", "digest"])
def test_an_import_says_that_what_is_published_was_not_compared(
    make_site: MakeSite, server: Server, shows: str
) -> None:
    """Also of what was doubted before `state rm`: no plan tells of it any more."""
    site = contested(make_site, server)
    command(site, "state settle -t site")
    digest = record(site).digest
    command(site, f"state rm {RELEASE} -t site")
    row = {"address": RELEASE, "id": remote_id(server)}
    row |= {"digest": digest} if shows == "digest" else {}
    (site.root / "inventory.yaml").write_text(json.dumps({"inventory": [row]}))
    said = told(command(site, "import -f inventory.yaml -t site"))
    if shows == "digest":  # whoever wrote the inventory knows it
        assert "not compared" not in said
    else:
        assert "Warning: The published package was not compared" in said
        assert "shows neither a digest nor a URL of the package of a release" in said
    said = told(command(site, f"import --no-bytes {RELEASE} {remote_id(server)} -t site"))
    assert "not compared" not in said


@pytest.mark.parametrize("api", ["v2"], indirect=True)
@without_a_list_of_plugins()
def test_a_release_is_not_locked_while_its_package_is_doubted(make_site: MakeSite) -> None:
    """A lock is for ever, and would be of what somebody else may have published."""
    site = make_site(groups=1)
    assert site.apply().code == 0
    declare_next(site, "ours")
    declare_fields(site, {"locked": True})
    upload = {"method": "POST", "path": "/v2/plugin-releases/"}
    site.server.faults({"match": upload, "do": {"status": 502, "commit": "after"}})
    said = told(command(site, "apply --auto-approve -t site", code=3))
    site.server.faults()
    assert f"so the lock of {RELEASE} was not sent." in said
    for line, code in (("plan", 0), ("apply --auto-approve", 5)):
        said = told(command(site, f"{line} -t site", code))
        assert f"! {RELEASE} cannot be updated: it is unknown whose package is published" in said
        assert (
            f"remove locked from Git, `synapse-apply state accept {RELEASE} -t site`, and" in said
        )
    assert locked(site.server) == []
    declare_fields(site, {"locked": False})
    command(site, f"state accept {RELEASE} --auto-approve -t site")
    declare_fields(site, {"locked": True})
    assert site.apply().code == 0
    assert locked(site.server) == ["1.1.0"]


@pytest.mark.parametrize("api", ["v2"], indirect=True)
@without_a_list_of_plugins()
def test_a_release_is_not_deleted_while_its_package_is_doubted(make_site: MakeSite) -> None:
    """Somebody else may have published it; it is deleted once it is said to be ours."""
    site = make_site(groups=1)
    assert site.apply().code == 0
    declare_fields(site, {"retain": 1}, of=0)
    declare_next(site, "ours")
    lose_upload(site, "/v2/plugin-releases/")
    move_version(site, "1.1.0", "1.2.0")
    for line, code in (("plan", 0), ("apply --auto-approve", 5)):
        said = told(command(site, f"{line} --prune -t site", code))
        assert f"! {RELEASE} cannot be destroyed: it is unknown whose package is published" in said
        assert f"declare it again, then `synapse-apply state accept {RELEASE} -t site`" in said
    assert versions(site.server) == {"1.1.0", "1.2.0"}
    move_version(site, "1.2.0", "1.1.0")
    command(site, f"state accept {RELEASE} --auto-approve -t site")
    move_version(site, "1.1.0", "1.2.0")
    command(site, "apply --prune --auto-approve -t site")
    assert versions(site.server) == {"1.2.0"}


@without_a_list_of_plugins()
@pytest.mark.parametrize("is_own_run", [True, False])
def test_a_release_is_not_run_while_its_package_is_doubted(
    make_site: MakeSite, *, is_own_run: bool
) -> None:
    """Only `verify` runs it, or the next apply after it is said to be ours."""
    site = make_site(groups=1)
    assert site.apply().code == 0
    declare_fields(site, {"verify": {"parameters": {"x": 1}, "timeout": 60, "poll_interval": 1}})
    declare_next(site, "ours")
    if is_own_run:
        said = lose_upload(site, "/plugin_releases/", code=3)
        assert (
            f"the verification of {RELEASE} was skipped: it is unknown whose package is published"
        ) in said
    else:
        kill_amid(site, {"method": "POST", "path": "/plugin_releases/"}, commit="after")
    for line in ("plan", "apply --auto-approve"):
        said = told(command(site, f"{line} -t site"))
        assert (
            f"{RELEASE} is not verified: it is unknown whose package is published, so it is run "
            f"only by `synapse-apply verify {RELEASE} -t site`"
        ) in said
    assert "Verified" not in said
    command(site, f"state accept {RELEASE} --auto-approve -t site")
    assert "Verified: 1 passed." in command(site, "apply --auto-approve -t site")


def lose_upload(site: Site, path: str, code: int = 0) -> str:
    """What an apply says whose upload is done and not answered."""
    upload = {"method": "POST", "path": path}
    site.server.faults({"match": upload, "do": {"status": 502, "commit": "after"}})
    said = told(command(site, "apply --auto-approve -t site", code))
    site.server.faults()
    return said


def versions(server: Server) -> set[str]:
    return {row["body"]["version"] for row in server.objects("release")}


def locked(server: Server) -> list[str]:
    """The versions that are locked."""
    bodies = [row["body"] for row in server.objects("release")]
    return [body["version"] for body in bodies if body.get("is_released")]


@without_a_list_of_plugins()
def test_a_new_version_ends_the_doubt(make_site: MakeSite, server: Server) -> None:
    """Nothing declares the other one any more."""
    site = contested(make_site, server)
    assert site.apply().code == 0
    move_version(site, "1.1.0", "1.2.0")
    assert site.apply().code == 0
    assert UNTOLD not in command(site, "plan -t site")
    assert UNTOLD not in command(site, "state show -t site")


@on_vendor()
@pytest.mark.parametrize("is_ours", [True, False])
@pytest.mark.parametrize("release_meta", ["none", "kept"])
def test_the_bytes_tell_whose_package_it_is(
    make_site: MakeSite, server: Server, release_meta: str, *, is_ours: bool
) -> None:
    """They are read when the call is looked up, where the object shows no digest.

    With another package the create was not done, and the object is not adopted unasked.
    """
    with server.switched(release_meta=release_meta):
        site = contested(make_site, server, is_ours=is_ours)
        said = told(command(site, "state settle -t site"))
        if is_ours:
            assert f"{RELEASE}: create was done (id " in said
        else:
            assert (
                f"{RELEASE}: create was not done; the live package differs: somebody published "
                "another package outside Git; the next plan shows what differs"
            ) in said
        for line in ("plan", "drift", "state show"):
            assert UNTOLD not in command(site, f"{line} -t site"), line
        assert (RELEASE in command(site, "state show -t site")) is is_ours
        if not is_ours:
            assert "1 create settled: not done" in command(site, "state history -t site")
            said = told(command(site, "apply --auto-approve -t site", 5))
            assert f"Unrecorded objects exist {RELEASE} would be adopted" in said
            assert RELEASE not in command(site, "state show -t site")
            command(site, "apply --adopt --auto-approve -t site")
            said = command(site, "plan -t site")
            assert ("has unreleased changes" in said) is (release_meta == "kept")
        elif release_meta == "none":
            assert record(site).proven["digest"] == record(site).digest


@without_a_list_of_plugins()
@pytest.mark.parametrize("is_lost", [True, False])
def test_an_ordinary_create_is_taken_for_ours(make_site: MakeSite, *, is_lost: bool) -> None:
    """Its answer says so; without one nothing does, for its own run either."""
    site = make_site(groups=1)
    upload = {"method": "POST", "path": "/plugin_releases/"}
    if is_lost:
        site.server.faults({"match": upload, "do": {"status": 502, "commit": "after"}})
    site.apply()
    site.server.faults()
    if site.open_intents():
        site.apply(ahead=LATER)
    for line in ("plan", "state show"):
        assert (UNTOLD in command(site, f"{line} -t site")) is is_lost, line


@without_a_list_of_plugins()
def test_the_file_of_a_run_that_could_not_record_it_shows_whose_package_it_is(
    make_site: MakeSite,
) -> None:
    """The create was answered; the outcome was looked up before the file was recorded."""
    site = make_site(groups=1)
    assert site.apply().code == 0
    declare_next(site, "ours")
    upload = {"method": "POST", "path": "/plugin_releases/"}
    site.server.faults({"match": upload, "do": {"hang": 0.3, "commit": "after"}})
    with applying(site) as process:
        reaches(site.server, process)
        state_of(site).replace(site.root / "lost.db")
        code, out, err = ended(process)
    site.server.faults()
    assert code == 7, out + err
    (site.root / "lost.db").replace(state_of(site))
    command(site, "state settle -t site")
    assert findings(site, "plan")
    command(site, f"state record {one_file(site)} -t site")
    assert findings(site, "plan") == []
    assert record(site).digest
    assert pending(site.plan()) == []


def publishes_first(proxy: BackendProxy, other: Site | None) -> list[int]:
    """Have another site apply before the next write, whose answer is lost; the exit codes of that."""
    codes = list[int]()

    def lose_answer(_call: Call) -> None:
        proxy.before_write = None
        codes.extend([other.apply().code] if other else [])
        proxy.write_answer = (504, "<html>the gateway waited in vain</html>")

    proxy.before_write = lose_answer
    return codes


@pytest.mark.parametrize("is_ours", [True, False])
@pytest.mark.parametrize("shows", ["nothing", "bytes"])
def test_what_is_published_while_a_create_hangs_is_not_taken_for_ours(
    tmp_path: Path, server: Server, shows: str, *, is_ours: bool
) -> None:
    """The run that sent it looks it up, and reads the package as a later run does."""
    profile, meta = (VENDOR, {"release_meta": "none"}) if shows == "bytes" else (PAGE, {})
    with BackendProxy(server.url) as proxy:
        site = Site.make(tmp_path / "site", Server(proxy.url), groups=1, profile=profile)
        with server.switched(**meta):
            assert site.apply().code == 0
            other = replace(site, root=site.root.with_name("other"))
            shutil.copytree(site.root, other.root)
            declare_next(site, "ours")
            declare_next(other, "theirs")
            others = publishes_first(proxy, None if is_ours else other)
            code = 7 if shows == "bytes" and not is_ours else 0
            said = told(command(site, "apply --auto-approve -t site", code))
            proxy.write_answer = None
            assert others == ([] if is_ours else [0])
            if shows == "bytes":
                assert ("so the call was done." in said) is is_ours
                assert ("1 to import" in command(site, "plan -t site")) is not is_ours
            else:
                assert (
                    "The object exists, but the backend does not show whether it has your package"
                    in said
                )
                assert "so the call was done" not in said
            for line in ("plan", "drift", "state show"):
                assert (UNTOLD in command(site, f"{line} -t site")) is (shows == "nothing"), line


@pytest.mark.parametrize("way", ["plan", "settle", "own run"])
def test_fields_that_a_found_release_has_otherwise_are_told(
    tmp_path: Path, server: Server, way: str
) -> None:
    """Somebody published the same package with other fields, which nothing can change any more."""
    with BackendProxy(server.url) as proxy:
        site = Site.make(tmp_path / "site", Server(proxy.url), groups=1)
        assert site.apply().code == 0
        declare_next(site, "ours")
        declare_fields(site, {"changelog": "ours", "config": {"a": 1}, "is_stable": True})
        other = replace(site, root=site.root.with_name("other"))
        shutil.copytree(site.root, other.root)
        declare_fields(other, {"changelog": "theirs", "config": {"a": 2}, "is_stable": False})
        if way == "own run":
            assert publishes_first(proxy, other) == []
            said = told(command(site, "apply --auto-approve -t site"))
            proxy.write_answer = None
            assert "This backend does not store `changelog` of a release as sent" in said
        else:
            upload = {"method": "POST", "path": "/plugin_releases/"}
            kill_amid(site, upload)
            assert other.apply().code == 0
            said = told(command(site, "plan -t site" if way == "plan" else "state settle -t site"))
            assert (
                "not as sent: changelog, config, is_stable, which may come from the package" in said
            )
            assert site.apply().code == 0
        assert pending(site.plan()) == []


def declare_fields(site: Site, fields: dict[str, Any], of: int = 1) -> None:
    path = site.root / "manifests" / "group-0.yaml"
    documents = [json.loads(text) for text in path.read_text().split(SEPARATOR)]
    documents[of]["spec"] |= fields
    path.write_text(SEPARATOR.join(map(json.dumps, documents)))


@without_a_list_of_plugins()
def test_a_reviewed_create_of_an_untold_package_is_not_told_as_done(make_site: MakeSite) -> None:
    """The version is there, and nobody knows whether it is what was reviewed."""
    site = make_site(groups=1)
    assert site.apply().code == 0
    declare_next(site, "ours")
    command(site, "plan --out reviewed.zip -t site")
    upload = {"method": "POST", "path": "/plugin_releases/"}
    site.server.faults({"match": upload, "do": {"status": 502, "commit": "after"}})
    site.apply()
    site.server.faults()
    said = told(command(site, "apply --reviewed reviewed.zip --auto-approve -t site"))
    assert "create was planned, and it is unknown whose package is published" in said
    assert "nothing is left to do" not in said
