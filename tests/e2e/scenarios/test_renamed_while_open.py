"""A manifest that gets another name while it is unknown whether its create was done."""

from __future__ import annotations

import json
from typing import Any

import pytest
from e2e.scenarios.open_calls import announce_create
from e2e.scenarios.workplace import Server, Workplace, held

DETECTOR = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: det}
spec: {name: Detector}
"""
STORE = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: det}
spec: {name: Detector, provider: file_system, configuration: {base_path: /data}}
"""


def says(place: Workplace, **more: Any) -> None:
    """Adds to the project file."""
    path = place.root / "synapse-apply.yaml"
    path.write_text(json.dumps({**json.loads(path.read_text()), **more}))


def left_open(place: Workplace, server: Server, document: str, **fault: Any) -> None:
    """Apply one document, whose create gets no answer; then call it `detector`."""
    for old in (place.root / "manifests").iterdir():
        old.unlink()
    place.write("manifests/all.yaml", document)
    path = place.root / "synapse-apply.yaml"
    path.write_text(path.read_text().replace('"tenant"', '"settle_after": 1, "tenant"'))
    place.run("state", "init", code=0)
    rule = {"match": {"method": "POST", "nth": 1}, "do": fault}
    server.call("PUT", "_emulator/faults/", {"rules": [rule]})
    place.apply(code=7)
    server.call("PUT", "_emulator/faults/", {"rules": []})
    place.edit("manifests/all.yaml", "name: det}", "name: detector}")


@pytest.mark.parametrize("spec", ["name: Detector", "name: Another"])
@pytest.mark.parametrize("done", [True, False], ids=["done", "not-done"])
def test_moved_while_its_create_is_open(
    place: Workplace, server: Server, spec: str, done: bool
) -> None:
    """No second one is made, also where its name changed as well; the ways out lead to the end."""
    left_open(place, server, DETECTOR, reset="after" if done else "before")
    place.edit("manifests/all.yaml", "name: Detector", spec)
    says(place, moved=[{"from": "plugin/det", "to": "plugin/detector"}])
    said = place.apply(code=7).out
    assert "! plugin/detector cannot be created: an earlier create of plugin/det, which may" in said
    assert server.counts == (int(done), 0, 0)
    if done:
        assert "`synapse-apply import plugin/det ID" in said
        place.run("import", "plugin/det", str(server.objects("plugin")[0]["id"]), code=0)
    else:
        assert "`synapse-apply state settle plugin/det --absent" in said
        place.run("state", "settle", "plugin/det", "--absent", code=0)
    place.apply()
    assert server.counts == (1, 0, 0)
    assert "plugin/detector" in place.run("state", "show", code=0).out
    place.unchanged()


def test_renamed_without_a_word(place: Workplace, server: Server) -> None:
    """What has the same identity may be what was made."""
    left_open(place, server, DETECTOR, reset="after")
    said = place.apply(code=7).out
    assert "! plugin/detector cannot be created: an earlier create of plugin/det, which may" in said
    place.run("import", "plugin/det", str(server.objects("plugin")[0]["id"]), code=0)
    assert "`synapse-apply state mv plugin/det plugin/detector`" in place.plan(code=0).out
    place.run("state", "mv", "plugin/det", "plugin/detector", code=0)
    place.unchanged()
    assert server.counts == (1, 0, 0)


def test_what_can_be_looked_up_waits_until_that_is_conclusive(
    place: Workplace, server: Server
) -> None:
    """A storage whose create may still arrive is not made under its new name meanwhile."""
    left_open(place, server, STORE, reset="before")
    said = place.apply(code=7).out
    assert "! storage/detector cannot be created: an earlier create of storage/det, which" in said
    assert "plan again after " in said
    assert server.counts == (0, 0, 0)
    place.edit("manifests/all.yaml", "name: Detector", "name: Another")
    place.apply(code=7)
    assert server.counts == (0, 0, 1)


def test_an_open_call_of_a_member_without_a_record_keeps_all_in_place(applied: Workplace) -> None:
    """Once it is looked up it would be recorded under the old name."""
    with held(applied) as store:
        announce_create(store, "release/yolo@2.0.0", series="plugin/yolo")
    said = applied.run("state", "mv", "plugin/yolo", "plugin/seer", code=1).err
    assert "Error: A call is not settled yet" in said
    told = applied.run("state", "show", code=0).out
    assert "plugin/yolo" in told
    assert "seer" not in told


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("plugin/yolo", "plugin/Yolo", "plugin/Yolo: a name has lower-case letters, digits"),
        ("plugin/yolo", "plugin/" + "a" * 64, "is not longer than 63"),
        ("release/yolo@1.0.0", "release/yolo", "a release's address is release/NAME@VERSION"),
        ("release/yolo@1.0.0", "release/Yolo@1.0.0", "a name has lower-case letters"),
    ],
)
def test_a_name_that_no_manifest_can_have(applied: Workplace, old: str, new: str, why: str) -> None:
    """Nothing could ever declare it again."""
    before = applied.run("state", "show", code=0).out
    said = applied.run("state", "mv", old, new, code=1).err
    assert "Error: No manifest can have this address" in said
    assert why in " ".join(said.split())
    assert applied.run("state", "show", code=0).out == before
