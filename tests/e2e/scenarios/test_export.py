"""`export`, `import -f`, `plan`: a backend made by hand comes under Git, without a secret in hand."""

from __future__ import annotations

from typing import Any

import pytest
from e2e.scenarios.workplace import TOKEN, Server, Workplace, project
from in_process import run
from laws import effort

CANARY = "canary-7f3a91"
ODD = [
    "no",
    "1.10",
    "1e3",
    "저장소 하나",
    "Raw Data",
    "raw_data",
    "a: b # c",
    "x\ny",
    "${var.x}",
    "-",
]
CONFIGURATIONS: list[tuple[str, dict[str, Any]]] = [
    ("amazon_s3", {"bucket_name": "b", "access_key_id": CANARY, "secret_access_key": CANARY}),
    ("gcp", {"bucket_name": "b", "credentials": {"private_key": CANARY}}),
    ("sftp", {"host": "1e3", "port": 22, "username": "no", "password": CANARY}),
    ("file_system", {"base_path": "/data/${var.bucket}"}),
    ("azure", {"connection_string": CANARY, "more": {"key": CANARY}}),
    ("of_a_later_day", {"a": {"b": [CANARY]}, "none": None}),
]
DEEP = {"a": None, "no": ["no", 1.0, {"x": "$${y}"}], "t": "tab\there", "l": "two\nlines\n"}


def storages(server: Server, count: int) -> None:
    for number in range(count):
        provider, configuration = CONFIGURATIONS[number % len(CONFIGURATIONS)]
        name = ODD[number % len(ODD)] + (f" {number}" if number >= len(ODD) else "")
        body = {"name": name, "provider": provider, "category": "external"}
        server.call("POST", "storages/", {**body, "configuration": configuration})


def plugins(server: Server, count: int) -> None:
    """Half of them with a code, each with two releases."""
    for number in range(count):
        body: dict[str, Any] = {"name": f"{ODD[number % 8]} {number}", "configuration": DEEP}
        if number % 2 == 0:
            body["code"] = f"code-{number}"
        made = server.call("POST", "plugins/", body)
        for version in ("1.10", "1.9.0"):
            release = {"plugin": made["id"], "version": version, "changelog": "no\n: yes"}
            server.call("POST", "plugin_releases/", release)


def files(place: Workplace) -> dict[str, bytes]:
    """Every file of the project but the state's."""
    return {
        str(path.relative_to(place.root)): path.read_bytes()
        for path in sorted(place.root.rglob("*"))
        if path.is_file() and ".synapse-apply" not in path.parts
    }


def adopted(place: Workplace) -> None:
    """Takes what was exported into the state: the next plan has nothing to do."""
    place.run("validate", code=0)
    place.run("state", "init", code=0)
    place.run("import", "-f", "inventory.yaml", code=0)
    place.unchanged()


@pytest.mark.parametrize(
    "switches",
    [
        {"secrets": "masked", "list_items": "short", "list_order": "newest"},
        {"secrets": "omitted", "plugin_list": "list", "configuration": "asked"},
        {"secrets": "plain", "code": "slug"},
    ],
    ids=lambda switches: switches["secrets"],
)
def test_nothing_is_left_to_do_after_an_adoption(serve, bare, switches):
    """On every backend, whatever things are called; no secret is in any file or output."""
    server = serve(**switches)
    storages(server, 12)
    plugins(server, 8)
    place = bare(server)
    listed = switches.get("plugin_list") == "list"
    ids = () if listed else ("--ids", "plugin=1-20")
    # Without a code, or with one that a server takes for an id, releases are in no list.
    hidden = 1 if switches.get("code") == "slug" else 4
    ran = place.run("export", *ids, "--releases", "all", code=3 if hidden else 0)
    assert f"Export complete! {36 - 2 * hidden} resources exported, {hidden} not." in ran.out
    assert CANARY.encode() not in b"".join(files(place).values())
    sent = server.writes
    adopted(place)
    place.apply()
    place.unchanged()
    assert server.writes == sent
    assert CANARY.encode() not in b"".join(
        path.read_bytes() for path in place.root.rglob("*") if path.is_file()
    )


def test_many_storages_are_exported_and_imported(serve, bare):
    """The whole way, with a thousand of them as well; twice the same bytes."""
    count = 1000 if effort.DEEP else 120  # more than a page of a list
    server = serve(secrets="masked", list_items="short")
    storages(server, count)
    plugins(server, 30)
    place = bare(server)
    given = {"PROD_TOKEN": TOKEN}

    def step(arguments: str, code: int = 0) -> str:
        return run(arguments, place.root, given, code).stdout

    assert f"{count + 45} resources exported, 15 not" in step("export --ids plugin=1-40", 3)
    before = files(place)
    assert "Wrote" not in step("export --ids plugin=1-40", 3)
    assert files(place) == before
    step("state init")
    assert f"Resources: {count + 45} imported." in step("import -f inventory.yaml")
    assert "No changes." in step("plan --detailed-exitcode")


def test_the_same_objects_give_the_same_files(serve, bare):
    """In whatever order the server lists them."""
    server = serve()
    storages(server, 12)
    plugins(server, 4)
    made = []
    for order in ("oldest", "newest"):
        server.switch(list_order=order)
        place = bare(server, order)
        place.run("export", "--ids", "plugin=3,1-2", code=3)
        made.append(files(place))
    assert made[0] == made[1]
    assert "manifests/storages/raw-data.yaml" in made[0]
    assert "manifests/storages/storage-4.yaml" in made[0]
    text = made[0]["manifests/storages/raw-data.yaml"].decode()
    assert text.startswith("# yaml-language-server: $schema=../.schema/manifest.schema.json\n")
    assert "manifests/.schema/manifest.schema.json" in made[0]


def test_what_is_there_is_not_replaced_unasked(serve, bare):
    """Every file that differs is named, and nothing is written; --force replaces them."""
    server = serve()
    storages(server, 3)
    place = bare(server)
    place.write("manifests/storages/no.yaml", "mine\n")
    ran = place.run("export", code=1)
    assert "manifests/storages/no.yaml" in ran.err
    assert "--force" in ran.err
    assert not (place.root / "inventory.yaml").exists()
    place.run("export", "--force", code=0)
    assert "kind: Storage" in (place.root / "manifests/storages/no.yaml").read_text()


def test_plugins_are_found_by_code_by_job_and_by_release(serve, bare):
    """API v1 has no list of them; what finds nothing is told with the reason."""
    server = serve()
    plugins(server, 4)
    place = bare(server)
    ran = place.run("export", code=0)
    assert "plugins: this backend does not list them; select them with --codes FILE" in ran.out
    place.write("codes.txt", "# ours\ncode-2\n\ncode-99\n")
    ran = place.run("export", "--codes", "codes.txt", "--out", "a", code=3)
    assert "plugin code-99: none has this code" in ran.out
    assert sorted(files(place))[:3] == [
        "a/.schema/manifest.schema.json",
        "a/plugins/code-2.yaml",
        "a/releases/code-2@1.9.0.yaml",
    ]
    server.call("POST", "plugins/1/run/", {"parameters": {}})
    place.run("export", "--from-jobs", "--releases", "none", "--out", "b", "--force", code=0)
    assert [name for name in files(place) if name.startswith("b/p")] == ["b/plugins/code-0.yaml"]
    ran = place.run("export", "--ids", "release=1,2,77", "--out", "c", "--force", code=3)
    assert "release id 77: it does not exist" in ran.out
    assert (place.root / "c/releases/code-0@1.10.yaml").exists()


@pytest.mark.parametrize("api", ["v1", "v2"])
def test_both_versions_of_the_api_export_the_same(serve, bare, api):
    """v2 lists plugins, so that nothing needs to be named; of a range of ids some may be missing."""
    server = serve()
    for code, versions in (("yolo", ("1.10.0", "1.9.0")), ("sam", ("1.10.0",))):
        body = {"name": code, "code": code, "category": "neural_net"}
        made = server.call("POST", "plugins/", body)
        for version in versions:
            release = {"plugin": made["id"], "version": version}
            server.call("POST", "plugin_releases/", release)
    storages(server, 1)
    place = bare(server)
    place.write("synapse-apply.yaml", project(server.url, api=api))
    place.write("codes.txt", "yolo\nsam\n")
    place.write("sam.txt", "sam\n")

    def exported(*options: str) -> list[str]:
        ran = place.run("export", "--json", "--force", *options, code=0)
        return [row["address"] for row in ran.document["exported"]]

    named = ("--codes", "codes.txt") if api == "v1" else ()
    newest = ["plugin/sam", "plugin/yolo", "release/sam@1.10.0", "release/yolo@1.10.0"]
    assert exported(*named) == [*newest, "storage/no"]
    every = exported(*named, "--releases", "all")
    assert every == [*newest, "release/yolo@1.9.0", "storage/no"]
    assert exported("--codes", "sam.txt", "--only", "plugin") == ["plugin/sam"]
    if api == "v1":
        by_id = ("--ids", "plugin=1,7-8,9", "--releases", "none", "--only", "plugin")
        document = place.run("export", "--json", "--force", *by_id, code=3).document
        assert [row["address"] for row in document["exported"]] == ["plugin/yolo"]
        assert [row["what"] for row in document["not_exported"]] == ["plugin id 9"]


def test_what_a_manifest_cannot_hold_is_told(serve, bare):
    """A field that no schema has, a version that is none."""
    server = serve()
    odd = {"name": "odd", "configuration": {"${var.x}": 1, "fine": 2}}
    server.call("POST", "plugins/", {**odd, "code": "odd"})
    server.call("POST", "plugin_releases/", {"plugin": 1, "version": "1 0"})
    place = bare(server)
    ran = place.run("export", "--ids", "plugin=1", code=3)
    assert "plugin/odd: configuration.${var.x}: a key of a manifest cannot contain" in ran.out
    assert "release odd@1 0 (id 1): " in ran.out
    document = place.run("export", "--ids", "plugin=1", "--json", code=3).document
    assert [row["address"] for row in document["exported"]] == ["plugin/odd"]
    assert len(document["not_exported"]) == 1
    adopted(place)


def test_what_is_managed_keeps_its_name_and_can_be_left_out(applied, server):
    """Recorded addresses stand; --unmanaged gives only the rest."""
    storages(server, 1)
    ran = applied.run("export", "--unmanaged", "--out", "more", "--ids", "plugin=1", code=0)
    assert "1 resource exported" in ran.out
    document = applied.run("export", "--out", "all", "--json", "--force", code=0).document
    assert {"storage/raw-data", "storage/no"} == {row["address"] for row in document["exported"]}


@pytest.mark.parametrize(
    "ids", ["plugin", "widget=1", "plugin=9-1", "plugin=", "plugin=1-99999999"]
)
def test_ids_that_are_none(serve, bare, ids):
    """A usage error before anything is asked for."""
    assert "--ids" in bare(serve()).run("export", "--ids", ids, code=64).err


@pytest.mark.parametrize("option", ["--out", "--inventory"])
def test_an_export_does_not_go_to_stdout(applied, option):
    """`-` is not a folder's name that anybody means."""
    ran = applied.run("export", "--ids", "plugin=1", option, "-", code=64)
    assert "an export is many files" in ran.err
    assert not (applied.root / "-").exists()


def test_credentials_in_a_url_are_left_out(bare, server):
    """A field without a secret's mark: its value is written nowhere."""
    place = bare(server)
    endpoint = f"https://user:{CANARY}@minio.example.com/"
    configuration = {"bucket_name": "b", "endpoint_url": endpoint}
    body = {"name": "raw", "provider": "minio", "category": "external"}
    server.call("POST", "storages/", {**body, "configuration": configuration})
    ran = place.run("export", code=3)
    assert "storage/raw: configuration.endpoint_url: " in ran.out
    written = [path.read_text() for path in place.root.rglob("*.yaml")]
    assert any("minio" in text for text in written)
    assert not any(CANARY in text for text in (*written, ran.out, ran.err))


def test_an_inventory_takes_the_place_of_no_file_of_the_project(applied):
    """Not even with --force; files elsewhere it replaces as ever."""
    state = ".synapse-apply/state/prod.db"
    for file in (state, "synapse-apply.yaml", "manifests/all.yaml"):
        (applied.root / "manifests" / "all.yaml").touch()
        before = (applied.root / file).read_bytes()
        ran = applied.run("export", "--out", "x", "--inventory", file, "--force", code=1)
        assert "The inventory cannot be written" in ran.err
        assert f"{file} " in ran.err
        assert (applied.root / file).read_bytes() == before
        assert not (applied.root / "x").exists()
    (applied.root / "rows.yaml").write_text("old")
    applied.run("export", "--out", "x", "--inventory", "rows.yaml", "--force", code=0)
    assert (applied.root / "rows.yaml").read_text() != "old"
