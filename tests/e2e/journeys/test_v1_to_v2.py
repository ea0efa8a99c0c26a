"""A team moves its target from API v1 to v2, goes on there, and could go back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from e2e.scenarios.workplace import CONFIG, PLUGIN, RELEASE, STORAGE, Server, Workplace

VERIFY = "  verify: {parameters: {emulator: {seconds: 0}}, poll_interval: 0.05}\n"
V1, V2 = '"api": "v1"', '"api": "v2", "unsupported_fields": "warning"'
IDS = pytest.mark.parametrize("ids", ["shared", "own"])


@pytest.fixture
def on_v1(ids: str, serve: Callable[..., Server], make: Callable[..., Workplace]) -> Workplace:
    """Applied and verified on v1; two releases, of which the older one is history."""
    there = make(serve(v2_ids=ids, list_order="newest"), api="v1")
    there.write("manifests/plugin.yaml", PLUGIN, RELEASE.replace("1.0.0", "0.9.0"))
    there.write("plugins/yolo/config.yaml", CONFIG.replace('version: "1.0.0"\n', ""))
    there.run("state", "init", code=0)
    there.apply()
    there.write("manifests/plugin.yaml", PLUGIN, RELEASE + VERIFY)
    there.write("manifests/storage.yaml", STORAGE)
    there.apply()
    there.unchanged()
    return there


@pytest.fixture
def backend(on_v1: Workplace) -> Server:
    project = (on_v1.root / "synapse-apply.yaml").read_text()
    return Server(project.partition('"url": "')[2].partition('"')[0])


def moves(there: Workplace, old: str, new: str, ids: str) -> None:
    """Another API version for the target; what has other ids there is adopted, which is asked for."""
    there.edit("synapse-apply.yaml", old, new)
    plan = there.plan(code=0).out
    if ids == "own":
        assert "Plan: 2 to import, 0 to add, 0 to change, 0 to destroy." in plan
        assert "--adopt" in there.apply(code=5).text
        there.apply("--adopt")
    else:
        assert plan.startswith("No changes.")
        there.apply()
    there.unchanged()


def records(there: Workplace) -> dict[str, Any]:
    found = there.run("state", "show", "--json", code=0).document["records"]
    return {one["address"]: one for one in found}


@IDS
def test_nothing_is_made_or_run_again(on_v1: Workplace, backend: Server, ids: str) -> None:
    """Found by code and version; the storage, what is live and all that was proved stay."""
    before, live = backend.writes, {k: backend.objects(k) for k in ("plugin", "release", "storage")}
    shown = on_v1.run("state", "show", "release/yolo@1.0.0", "--json", code=0).document
    moves(on_v1, V1, V2, ids)
    assert backend.writes == before
    assert {kind: backend.objects(kind) for kind in live} == live
    apis = {address: one["api"] for address, one in records(on_v1).items()}
    assert apis == {
        "plugin/yolo": "v2",
        "release/yolo@0.9.0": "v1",
        "release/yolo@1.0.0": "v2",
        "storage/raw-data": "v1",
    }
    now = on_v1.run("state", "show", "release/yolo@1.0.0", "--json", code=0).document
    for proved in ("digest", "verification"):
        assert now[proved] == shown[proved] is not None


@IDS
def test_what_v2_cannot_carry_asks_for_a_decision(on_v1: Workplace, backend: Server) -> None:
    """An error that names it all, before anything is asked or sent."""
    before = backend.writes
    on_v1.edit("synapse-apply.yaml", V1, '"api": "v2"')
    for command in ("validate", "plan"):
        said = on_v1.run(command, code=1).text
        assert "api v2 lacks version, configuration (1 plugin)" in said
        assert "api v2 lacks changelog, is_stable (1 release)" in said
    assert backend.writes == before


@IDS
def test_it_goes_on_there_and_could_go_back(on_v1: Workplace, backend: Server, ids: str) -> None:
    """A change, a new version, a deletion on v2; then v1 again, and nothing is there twice."""
    moves(on_v1, V1, V2, ids)
    on_v1.edit("manifests/plugin.yaml", "Finds things", "Finds all things")
    newer = RELEASE.replace("1.0.0", "1.1.0") + VERIFY
    plugin = PLUGIN.replace("Finds things", "Finds all things")
    on_v1.write("manifests/plugin.yaml", plugin.replace("spec:", "spec:\n  retain: 1"), newer)
    on_v1.write("plugins/yolo/plugin/main.py", "print('newer')\n")
    on_v1.apply("--prune")
    assert set(backend.writes[-3:]) == {
        "PATCH /v2/plugins/{id}/",
        "POST /v2/plugin-releases/",
        "DELETE /v2/plugin-releases/{id}/",
    }
    assert len(backend.objects("job")) == 2
    versions = sorted(row["body"]["version"] for row in backend.objects("release"))
    assert versions == ["0.9.0", "1.1.0"]
    assert backend.objects("plugin")[0]["body"]["version"] == "1.0.0"
    on_v1.unchanged()
    on_v1.edit("manifests/plugin.yaml", "  retain: 1\n", "")
    on_v1.edit("manifests/plugin.yaml", "changelog: First", "changelog: ''")
    on_v1.edit("manifests/plugin.yaml", "is_stable: true", "is_stable: false")
    moves(on_v1, V2, V1, ids)
    assert backend.counts == (1, 2, 1)
    assert {one["api"] for one in records(on_v1).values()} == {"v1"}


def test_what_cannot_be_looked_up_after_the_way_back_is_not_gone(
    serve: Callable[..., Server], make: Callable[..., Workplace]
) -> None:
    """A plugin without releases, and v1 lists none: the record is of v2, and nothing is made."""
    server = serve(v2_ids="own")
    there = make(server, api="v1")
    there.write("manifests/plugin.yaml", PLUGIN)
    there.run("state", "init", code=0)
    there.apply()
    there.edit("synapse-apply.yaml", V1, V2)
    there.apply("--adopt")
    there.edit("synapse-apply.yaml", V2, V1)
    before = server.writes
    plan = " ".join(there.plan(code=0).text.split())
    assert "it is recorded as id 500001 of API v2. API v1 has other ids" in plan
    assert "so the object was not looked up" in plan
    applied = there.apply(code=5).text
    drift = there.run("drift", code=1).text
    assert "No drift" not in drift
    for told in (plan, applied, drift):
        assert "gone" not in told.replace("0 gone", "")
        assert "no longer exists" not in told
        assert "--recreate" not in told
        assert "missing" not in told
    assert server.writes == before
    for step in ("state rm plugin/yolo", "import plugin/yolo ID"):
        assert f"`synapse-apply {step} -t prod`" in plan or f"`synapse-apply {step}`" in plan
        there.run(*step.replace("ID", "1").split(), code=0)
    there.unchanged()
    assert server.counts == (1, 0, 1)


def test_ids_of_v1_lead_nowhere_on_v2(
    serve: Callable[..., Server], make: Callable[..., Workplace]
) -> None:
    """In an inventory, in a manifest, for commands by hand: never another object of that number."""
    server = serve(v2_ids="own")
    there = make(server, api="v1")
    by_id = RELEASE.replace("plugin: yolo", "plugin: {id: 1}").replace("1.0.0", "2.0.0")
    there.write("manifests/plugin.yaml", PLUGIN, RELEASE)
    for folder in ("yolo", "newer"):
        there.write(f"plugins/{folder}/config.yaml", "name: Yolo\ncode: yolo\n")
    there.run("state", "init", code=0)
    there.apply()
    there.write("manifests/by-id.yaml", by_id.replace("plugins/yolo", "plugins/newer"))
    there.apply()
    kept = there.write("inventory.yaml", there.run("state", "show", "--inventory", code=0).out)
    there.edit("synapse-apply.yaml", V1, V2)
    assert "# plugin 500001 (API v2)" in there.run("get", "plugin", "plugin/yolo", code=0).text
    drift = there.run("drift", "--unmanaged", "--json", code=1).document
    assert (drift["drifted"], drift["summary"]["changed"]) == (False, 0)
    assert [one["id"] for one in drift["unmanaged"]] == ["500002"]
    assert "Reading the live state failed" in there.plan(code=1).text
    there.edit("manifests/by-id.yaml", "{id: 1}", "{id: 500001}")
    said = there.plan(code=0).text
    assert "state mv release/id=1@2.0.0 release/id=500001@2.0.0" in said
    there.run("state", "mv", "release/id=1@2.0.0", "release/id=500001@2.0.0", code=0)
    there.apply("--adopt")
    there.unchanged()
    assert server.counts == (1, 2, 1)
    there.run("state", "rm", "plugin/yolo", code=0)
    said = there.run("import", "-f", str(kept), code=1).text
    assert "plugin/yolo: its id belongs to API v1, but target prod uses v2 for it." in said
    assert "plugin/yolo" not in there.run("state", "show", code=0).out
