"""A package has nothing that is closed to manifests: Git's data, our own folder, credential files."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from e2e.scenarios.workplace import PLUGIN, RELEASE, TOKEN, Server, Workplace, project
from git_repositories import commit, git

from synapse_apply import EmbeddedServer

SECRET = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
STATE = {"url": "../state.db", "key": {"file": "keys/prod.key"}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path_factory.mktemp("backend"), token=TOKEN, tenant="acme") as running:
        yield running


@pytest.fixture
def place(tmp_path: Path, server: EmbeddedServer) -> Workplace:
    """A checkout with the token of a job in .git/config, and a key that a setting names."""
    made = Workplace(tmp_path / "project", {"PROD_TOKEN": TOKEN, "HOME": str(tmp_path / "home")})
    made.write("synapse-apply.yaml", project(server.url, state=STATE))
    commit(made.root, "base", with_ignored=False)
    git(made.root, "config", "http.https://git.example/.extraheader", f"AUTHORIZATION: {SECRET}")
    made.write(".git/info/exclude", "keys/prod.key*\n")
    made.write("keys/prod.key", SECRET).chmod(0o600)
    made.write("keys/config.yaml", 'name: Yolo\ncode: yolo\nversion: "1.0.0"\n')
    made.write("manifests/yolo.yaml", PLUGIN)
    made.write(".synapse-apply/state/other.key", SECRET).chmod(0o600)
    made.run("state", "init", code=0)
    return made


def declare(place: Workplace, source: str, key: str = "source") -> None:
    text = RELEASE.replace("source: ./plugins/yolo", f"{key}: {source}")
    place.write("manifests/release.yaml", text)


def require_refused(place: Workplace, server: EmbeddedServer, *said: str) -> None:
    """Validated, planned and applied: an error at the manifest's line, and nothing is published."""
    for typed in (("validate",), ("plan",), ("apply", "--auto-approve")):
        ran = place.run(*typed, code=1)
        assert "manifests/release.yaml:8:" in ran.text
        assert "release/yolo@1.0.0" in ran.text
        for part in said:
            assert part in ran.text, ran.text
        assert SECRET not in ran.text
    assert Server(server.url).call("GET", "_emulator/objects/release/")["results"] == []


@pytest.mark.parametrize(
    ("source", "link", "leads_to"),
    [
        ("./.git", None, ".git"),
        ("./.git/../.git", None, ".git"),
        ("./pk", ("pk", ".git"), ".git"),
        ("./x/.git", ("x", "."), ".git"),
        ("./.git/hooks", None, ".git/hooks"),
        ("./.synapse-apply", None, ".synapse-apply"),
        ("./.synapse-apply/state", None, ".synapse-apply/state"),
        ("./st", ("st", ".synapse-apply/state"), ".synapse-apply/state"),
        ("./vendor/.synapse", None, "vendor/.synapse"),
    ],
)
def test_a_closed_folder_is_no_package(
    place: Workplace,
    server: EmbeddedServer,
    source: str,
    link: tuple[str, str] | None,
    leads_to: str,
) -> None:
    place.write("vendor/.synapse/config.json", SECRET)
    if link:
        (place.root / link[0]).symlink_to(link[1])
    declare(place, source)
    where = f"points to {leads_to}, which may contain secrets"
    require_refused(place, server, "Package in a closed folder", where)


def test_a_zip_in_a_closed_folder_is_no_package(place: Workplace, server: EmbeddedServer) -> None:
    with zipfile.ZipFile(place.root / ".git" / "p.zip", "w") as archive:
        archive.writestr("config.yaml", 'name: Yolo\ncode: yolo\nversion: "1.0.0"\n')
    declare(place, ".git/p.zip", "file")
    where = "points to .git/p.zip, which may contain secrets"
    require_refused(place, server, "Package in a closed folder", where)


@pytest.mark.parametrize("entry", [".git/config", "sub/.GIT/config", ".synapse-apply/state/a.key"])
def test_a_zip_has_no_closed_folder(place: Workplace, server: EmbeddedServer, entry: str) -> None:
    with zipfile.ZipFile(place.root / "p.zip", "w") as archive:
        archive.writestr(entry, SECRET)
    declare(place, "p.zip", "file")
    require_refused(place, server, f"{entry} may have credentials and is never part of a package")


@pytest.mark.parametrize("name", ["keys", "release/yolo@1.0.0"])
@pytest.mark.parametrize(
    "command",
    [
        ("package build", "-o", "out.zip"),
        ("validate",),
        ("package show",),
        ("package show", "--digest"),
    ],
    ids=" ".join,
)
def test_commands_of_packages_take_no_closed_file(
    place: Workplace, command: tuple[str, ...], name: str
) -> None:
    """As `validate`: whether the package is named by its folder or by its release."""
    declare(place, "./keys")
    typed, options = command[0].split(), command[1:]
    ran = place.run(*typed, name, *options, code=1)
    assert "File with credentials in the package" in ran.text
    assert "keys/prod.key would be published" in ran.text
    assert SECRET not in ran.text
    assert not (place.root / "out.zip").exists()
    # From a folder below the project's file, too.
    (place.root / "other").mkdir()
    below = Workplace(place.root / "other", place.environ)
    ran = below.run(*typed, "../keys", *options, code=1)
    assert "File with credentials in the package" in ran.text
    place.write("keys/.synapseignore", "prod.key*\n")
    place.run(*typed, "keys", *options, code=0)
    if "build" in typed:
        with zipfile.ZipFile(place.root / "out.zip") as archive:
            assert "prod.key" not in archive.namelist()


@pytest.mark.parametrize("ref", ["", "HEAD"])
def test_a_closed_folder_below_a_package_is_left_out(place: Workplace, ref: str) -> None:
    place.write("plugins/yolo/config.yaml", 'name: Yolo\ncode: yolo\nversion: "1.0.0"\n')
    place.write("plugins/yolo/deep/.synapse-apply/state/a.key", SECRET)
    place.write("plugins/yolo/.synapse/config.json", SECRET)
    commit(place.root, "more")
    declare(place, json.dumps({"path": "plugins/yolo", "ref": ref} if ref else "plugins/yolo"))
    place.run("package", "build", "release/yolo@1.0.0", "-o", "out.zip", code=0)
    with zipfile.ZipFile(place.root / "out.zip") as archive:
        assert archive.namelist() == ["config.yaml"]


def test_git_data_of_another_name_is_no_package(place: Workplace, server: EmbeddedServer) -> None:
    """As `git init --separate-git-dir` makes it, and `git clone --bare`."""
    shutil.copytree(place.root / ".git", place.root / "p" / "data")
    declare(place, "./p")
    require_refused(
        place,
        server,
        "Git's data in the package",
        "data belongs to Git and may contain credentials",
    )
    declare(place, "./p/data")
    require_refused(place, server, "Git's data in the package")
    shutil.make_archive(str(place.root / "x"), "zip", place.root / "p")
    declare(place, "x.zip", "file")
    require_refused(
        place,
        server,
        "Git's data in the package",
        "data belongs to Git and may contain credentials",
    )


@pytest.mark.parametrize("ref", ["", "HEAD"])
def test_git_data_whose_refs_are_packed_is_no_package(place: Workplace, ref: str) -> None:
    """As `git clone --mirror` makes it: Git has no empty folder, and many zips have none."""
    for name in ("HEAD", "config", "packed-refs", "objects/pack/a.pack"):
        place.write(f"p/data/{name}", "x")
    commit(place.root, "more")
    with zipfile.ZipFile(place.root / "x.zip", "w") as archive:
        for file in (place.root / "p").rglob("*"):
            if file.is_file():
                archive.write(file, file.relative_to(place.root / "p"))
    for source, field in (
        (json.dumps({"path": "p", "ref": ref} if ref else "p"), "source"),
        ("x.zip", "file"),
    ):
        declare(place, source, field)
        ran = place.run("validate", code=1)
        assert "data belongs to Git and may contain credentials" in ran.text


def _name(place: Workplace) -> str:
    return "./keys"


def _linked_folder(place: Workplace) -> str:
    (place.root / "pk").symlink_to("keys")
    return "./pk"


def _link_in_package(place: Workplace) -> str:
    """A link to a file that is left out itself."""
    place.write("keys/.synapseignore", "prod.key\n")
    (place.root / "keys" / "innocent").symlink_to("prod.key")
    return "./keys"


def _second_name(place: Workplace) -> str:
    (place.root / "p").mkdir()
    os.link(place.root / "keys" / "prod.key", place.root / "p" / "innocent")
    return "./p"


def _beside(place: Workplace) -> str:
    (place.root / "keys" / "prod.key").rename(place.root / "keys" / "prod.key.previous")
    return "./keys"


def _all_of_the_project(place: Workplace) -> str:
    return "."


@pytest.mark.parametrize(
    "prepare",
    [_name, _linked_folder, _link_in_package, _second_name, _beside, _all_of_the_project],
)
def test_a_file_that_a_setting_names_is_in_no_package(
    place: Workplace, server: EmbeddedServer, prepare: Callable[[Workplace], str]
) -> None:
    declare(place, prepare(place))
    require_refused(
        place, server, "File with credentials in the package", "targets.prod.state.key names it"
    )


def test_neither_at_a_git_ref(place: Workplace, server: EmbeddedServer) -> None:
    """The state of another target, that a commit has."""
    settings = json.loads(project(server.url, state=STATE))
    settings["targets"]["other"] = {"url": server.url, "state": {"url": "keys/other.db"}}
    place.write("synapse-apply.yaml", json.dumps(settings))
    file = place.write("keys/other.db", SECRET)
    commit(place.root, "with a state", with_ignored=False)
    file.unlink()
    declare(place, "{path: ./keys, ref: HEAD}")
    require_refused(place, server, "keys/other.db at HEAD", "targets.other.state.url names it")
    declare(place, "./keys")
    place.write("keys/other.db", SECRET)
    commit(place.root, "without ref", with_ignored=False)
    file.unlink()
    said = place.plan("--ref", "HEAD", code=1).text
    assert "keys/other.db at" in said
    assert "targets.other.state.url names it" in said


def test_a_left_out_file_lets_the_package_pass(place: Workplace, server: EmbeddedServer) -> None:
    place.write("keys/.synapseignore", "prod.key\n")
    declare(place, "./keys")
    place.run("validate", code=0)
    assert "release/yolo@1.0.0 will be created" in place.plan(code=0).out


@pytest.mark.parametrize("source", ["./.config/synapse-apply/keys", "./.config", "./pk"])
def test_the_keys_of_the_user_are_in_no_package(
    place: Workplace, server: EmbeddedServer, source: str
) -> None:
    """Where the project's folder is the home of who runs it."""
    place.environ["HOME"] = str(place.root)
    place.write(".config/synapse-apply/keys/prod-1.key", SECRET).chmod(0o600)
    place.write(".config/config.yaml", 'name: Yolo\ncode: yolo\nversion: "1.0.0"\n')
    (place.root / "pk").symlink_to(".config/synapse-apply")
    declare(place, source)
    require_refused(
        place, server, "File with credentials in the package", "~/.config/synapse-apply names it"
    )


def test_a_file_that_a_variable_names_is_in_no_package(
    place: Workplace, server: EmbeddedServer
) -> None:
    """As google-github-actions/auth leaves one in the checkout."""
    state = {"url": "gs://bucket/prod", "key": {"env": "KEY"}}
    place.write("synapse-apply.yaml", project(server.url, state=state))
    place.environ["GOOGLE_APPLICATION_CREDENTIALS"] = str(place.write("p/gha-creds.json", SECRET))
    declare(place, "./p")
    said = place.run("validate", code=1).text
    assert "p/gha-creds.json would be published, but GOOGLE_APPLICATION_CREDENTIALS names" in said
    assert SECRET not in said
