"""Live objects by id, code and name, without manifests; no secret shows in any of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from e2e.scenarios.canaries import CANARIES, leaks, leaks_in_files
from e2e.scenarios.workplace import TOKEN, Server, Workplace, project


@pytest.fixture
def bare(tmp_path: Path) -> Callable[..., Workplace]:
    """A project file alone, on a server."""

    def made(server: Server) -> Workplace:
        place = Workplace(tmp_path / "bare", {"PROD_TOKEN": TOKEN})
        place.write("synapse-apply.yaml", project(server.url))
        return place

    return made


def test_a_plugin_by_id_code_and_recorded_name(applied: Workplace, server: Server) -> None:
    """As text, and the same as a document."""
    for named in ("1", "id=1", "yolo", "plugin/yolo"):
        ran = applied.run("get", "plugin", named, code=0)
        assert ran.out.startswith('# plugin 1 (API v1)\nplugin "Yolo" {\n    id ')
    document = applied.run("get", "plugin", "yolo", "--json", code=0).document
    assert (document["id"], document["values"]["code"]) == ("1", "yolo")
    assert document["sensitive_values"] == {}


def test_without_state_a_plugin_is_found_by_its_code(
    applied: Workplace, server: Server, bare: Callable[..., Workplace]
) -> None:
    """Through its releases; by its name only where the backend lists plugins."""
    place = bare(server)
    assert place.run("get", "plugin", "yolo", "--json", code=0).document["id"] == "1"
    ran = place.run("get", "plugin", "Yolo", code=1)
    assert "No plugin 'Yolo' is recorded in the state or found on target prod" in ran.err
    server.switch(plugin_list="list")
    assert place.run("get", "plugin", "Yolo", "--json", code=0).document["id"] == "1"
    assert not (place.root / ".synapse-apply").exists()


def test_releases(applied: Workplace, server: Server, bare: Callable[..., Workplace]) -> None:
    """Listed by code, name or id of their plugin; shown by id, or by code and version."""
    for place in (applied, bare(server)):
        for named in ("yolo", "id=1", "release/yolo"):
            lines = place.run("get", "releases", "--plugin", named, code=0).out.splitlines()
            assert lines[0].split() == ["ID", "VERSION", "IS_STABLE", "CHANGELOG", "CREATED"]
            assert lines[1].split()[:4] == ["1", "1.0.0", "yes", "First"]
        for named in ("1", "yolo@1.0.0"):
            found = place.run("get", "release", named, "--json", code=0).document
            assert (found["id"], found["values"]["version"]) == ("1", "1.0.0")
    ran = applied.run("get", "releases", "--plugin", "nobody", code=0)
    assert (ran.out, ran.err) == ("", "The plugin has no releases, or does not exist.\n")
    server.switch(plugin_list="list")
    ran = applied.run("get", "releases", "--plugin", "nobody", code=1)
    assert "There is no such plugin" in ran.err


def test_a_release_with_its_plugin(applied: Workplace, server: Server) -> None:
    """As text and as JSON, the plugin as `get plugin` has it; a secret in it is never shown."""
    text = applied.run("get", "release", "yolo@1.0.0", "--expand", "plugin", code=0).out
    assert text.startswith('# release "1.0.0"') or "release" in text.splitlines()[0]
    assert 'plugin "' in text
    ran = applied.run("get", "release", "1", "--expand", "plugin", "--json", code=0).document
    assert (ran["id"], ran["expanded"]["plugin"]["id"]) == ("1", "1")
    assert ran["expanded"]["plugin"]["values"]["code"] == "yolo"
    assert "expanded" not in applied.run("get", "release", "1", "--json", code=0).document


def test_releases_are_listed_as_versions(applied: Workplace, server: Server) -> None:
    """The newest first, 1.10 after 1.9; what is no version is last."""
    for version in ("1.10.0", "nightly", "1.9.0"):
        server.call("POST", "plugin_releases/", {"plugin": 1, "version": version})
    listed = applied.run("get", "releases", "--plugin", "yolo", "--json", code=0).document[
        "releases"
    ]
    versions = [one["values"]["version"] for one in listed]
    assert versions == ["1.10.0", "1.9.0", "1.0.0", "nightly"]


def test_a_plugin_without_a_code_lists_no_releases(applied: Workplace, server: Server) -> None:
    """The API lists them by code alone, and says so."""
    plugin = server.call("POST", "plugins/", {"name": "No code"})["id"]
    ran = applied.run("get", "releases", "--plugin", str(plugin), code=1)
    assert "This plugin has no code" in ran.err


@pytest.mark.parametrize(
    "typed", ["get plugin 77", "get release 77", "get storage 77", "get release yolo@9.9.9"]
)
def test_what_is_not_there(applied: Workplace, typed: str) -> None:
    """In words, with the request id."""
    ran = applied.run(*typed.split(), code=1)
    assert "There is no such " in ran.err
    assert "Request id: " in ran.err


def test_storages(applied: Workplace, server: Server) -> None:
    """Listed, and found by id, name and recorded name."""
    lines = applied.run("get", "storages", code=0).out.splitlines()
    assert lines[0].split() == ["ID", "NAME", "PROVIDER", "CATEGORY", "CREATED"]
    assert lines[1].split()[:5] == ["1", "Raw", "data", "file_system", "internal"]
    for named in ("1", "Raw data", "raw-data", "storage/raw-data"):
        found = applied.run("get", "storage", named, "--json", code=0).document
        assert found["values"]["configuration"] == {"base_path": "/data/raw"}


def test_a_backend_without_a_list_of_a_kind(applied: Workplace, server: Server) -> None:
    """`get plugins` says so, and names what can be had; with a list it is one row a plugin."""
    said = applied.run("get", "plugins", code=1).err
    assert "This backend has no list of plugins" in said
    assert "`synapse-apply state show` lists the recorded ones" in said
    said = applied.run("get", "releases", code=1).err
    assert "`synapse-apply get releases --plugin NAME` lists those of one plugin" in said
    server.switch(plugin_list="list")
    lines = applied.run("get", "plugins", code=0).out.splitlines()
    assert lines[0].split() == ["ID", "NAME", "CODE", "VERSION", "CREATED"]
    assert lines[1].split()[:3] == ["1", "Yolo", "yolo"]


def test_two_storages_of_one_name(applied: Workplace, server: Server) -> None:
    """Both ids are named, none is chosen."""
    for _ in range(2):
        server.call("POST", "storages/", {"name": "twin", "provider": "minio"})
    ran = applied.run("get", "storage", "twin", code=1)
    assert "'twin' is the name of ids 2, 3" in ran.err


def test_a_korean_name_keeps_columns_apart(applied: Workplace, server: Server) -> None:
    """Wide letters take two cells."""
    server.call("POST", "storages/", {"name": "원본", "provider": "minio"})
    lines = applied.run("get", "storages", code=0).out.splitlines()
    assert "2   원본      minio " in lines[2]
    assert "1   Raw data  file_system" in lines[1]


STORED: list[dict[str, Any]] = [
    {"provider": "amazon_s3", "configuration": {
        "bucket_name": "b", "access_key_id": CANARIES["env"],
        "secret_access_key": CANARIES["file"]}},
    {"provider": "gcp", "configuration": {
        "bucket_name": "b", "credentials": {"private_key": CANARIES["json"], "n": [1]}}},
    {"provider": "somewhere_else", "configuration": {
        "deep": {"password": CANARIES["literal"]}, "list": [CANARIES["env"]]}},
    {"provider": "amazon_s3", "configuration": {
        "bucket_name": "b", "access_key": "k", "a_key_nobody_described": CANARIES["literal"]}},
    {"provider": "amazon_s3", "configuration": json.dumps({"secret_key": CANARIES["file"]})},
]  # fmt: skip


@pytest.mark.parametrize("shown", ["plain", "omitted", "masked"])
def test_no_secret_shows(
    serve: Callable[..., Server], bare: Callable[..., Workplace], shown: str
) -> None:
    """Not in tables, not in blocks, not in documents, not in logs, not in files."""
    server = serve(secrets=shown)
    place = bare(server)
    place.environ["SYNAPSE_APPLY_LOG"] = "trace"
    # A backend that hides keys has maps to look into; one that does not may write all as a text.
    storages = STORED if shown == "plain" else STORED[:-1]
    for number, stored in enumerate(storages):
        body = {"name": f"s{number}", "category": "external", **stored}
        server.call("POST", "_emulator/objects/storage/", {"body": body, "tenant": "acme"})
    ran = [place.run("get", "storages", code=0), place.run("get", "storages", "--json", code=0)]
    for number in range(len(storages)):
        ran += [
            place.run("get", "storage", str(number + 1), code=0),
            place.run("get", "storage", f"s{number}", "--json", code=0),
        ]
    for one in ran:
        assert leaks(one.text.encode()) == [], one.text
    assert leaks_in_files(place.root, []) == []
    if shown == "plain":
        assert "secret_access_key = (sensitive)" in ran[2].out
        document = ran[3].document
        assert document["values"]["configuration"]["secret_access_key"] is None
        assert document["sensitive_values"]["configuration"]["secret_access_key"] is True


@pytest.mark.parametrize("kind", ["plugin", "storage"])
def test_an_id_that_nothing_can_have_is_called_so(applied: Workplace, kind: str) -> None:
    """It is not sent, so nothing is wrong with the network."""
    err = applied.run("get", kind, "id=../x", code=1).err
    assert f"This is not the id of a {kind}" in err
    assert "network" not in err


def test_a_release_without_a_version_is_told_how_to_name_one(applied: Workplace) -> None:
    """With the command that lists those there are."""
    err = applied.run("get", "release", "yolo", code=1).err
    assert "Specify CODE@VERSION, such as yolo@1.0.0" in err
    assert "`synapse-apply get releases --plugin yolo" in err


def test_an_unknown_kind_is_called_so(applied: Workplace) -> None:
    """With those there are."""
    assert "Unknown kind 'foo'. The kinds are plugin" in applied.run("get", "foo", code=64).err
