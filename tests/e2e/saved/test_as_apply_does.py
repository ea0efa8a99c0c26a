"""A saved plan applied at once does what apply does, on a terminal too, and tells no secret."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from e2e.cli.test_terminal import at_a_terminal
from e2e.scenarios.canaries import CANARIES, leaks, leaks_in_files
from e2e.scenarios.workplace import PLUGIN, RELEASE, Server, Workplace

SECRETS = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: secret}
spec:
  name: Secret
  provider: amazon_s3
  category: external
  configuration:
    bucket_name: b
    access_key_id: {valueFrom: {env: RAW_ID}}
    secret_access_key: {valueFrom: {env: RAW_KEY}}
"""


def edits(place: Workplace, chosen: tuple[bool, ...]) -> None:
    """Some of: an update, a new release, a new storage, a new plugin, a forgotten storage."""
    update, release, storage, plugin, forget = chosen
    if update:
        place.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    if release:
        place.write("manifests/release.yaml", RELEASE.replace("yolo", "extra"))
        place.write("manifests/extra.yaml", PLUGIN.replace("yolo", "extra"))
        place.write("plugins/extra/config.yaml", 'name: Yolo\ncode: extra\nversion: "1.0.0"\n'
                    "category: pre_annotation\n")  # fmt: skip
    if storage:
        place.write("manifests/secret.yaml", SECRETS)
    if plugin:
        place.write("manifests/eve.yaml", PLUGIN.replace("yolo", "eve").replace("Yolo", "Eve"))
    if forget:
        (place.root / "manifests/storage.yaml").unlink()


def done(server: Server) -> list[tuple[object, ...]]:
    """What is there, without times."""
    return [
        (kind, row["id"], {name: row["body"][name] for name in row["body"] if name != "modified"})
        for kind in ("plugin", "release", "storage")
        for row in server.objects(kind)
    ]


@pytest.mark.parametrize("chosen", [*itertools.product([True, False], repeat=5)][::5])
def test_the_same_is_done(chosen, serve, make):
    """The same objects, the same calls, the same record, and nothing is left to do."""
    outcomes = []
    for way in ("apply", "saved"):
        server = serve(way)
        place = make(server, way)
        place.environ.update(RAW_ID="an-id-of-tests", RAW_KEY="a-key-of-tests")
        place.run("state", "init", code=0)
        place.apply("--parallelism", "1")
        edits(place, chosen)
        if way == "apply":
            ran = place.apply("--json", "--parallelism", "1")
        else:
            place.plan("--out", "next", code=0)
            ran = place.run("apply", "next", "--json", "--parallelism", "1", code=0)
        place.unchanged()
        rows = [(o["address"], o["action"], o["result"]) for o in ran.document["outcomes"]]
        outcomes.append((rows, ran.document["counts"], done(server), server.writes))
    assert outcomes[0] == outcomes[1]


def test_no_secret_in_the_file(place, server):
    """Nor in what is shown of it, nor in history."""
    place.environ.update(RAW_ID=CANARIES["env"], RAW_KEY=CANARIES["json"])
    place.write("manifests/secret.yaml", SECRETS)
    place.run("state", "init", code=0)
    ran = [
        place.plan("--out", "next", code=0),
        place.run("show", "next", code=0),
        place.run("show", "next", "--json", code=0),
        place.run("apply", "next", "--json", code=0),
    ]
    place.environ.update(RAW_KEY=CANARIES["file"])
    ran += [
        place.plan("--out", "rotate", code=0),
        place.run("apply", "--reviewed", "rotate", code=5),
        place.run("apply", "rotate", code=5),
        place.run("state", "history", "--json", code=0),
    ]
    assert [one for one in ran if leaks(one.text.encode())] == []
    assert leaks_in_files(place.root, []) == []


def test_at_a_terminal(project: Path):
    """Passing the plan is the approval; unsigned it is taken with a warning."""
    key = project / ".synapse-apply" / "state" / "embedded.key"
    assert at_a_terminal(project, b"", "plan", "--out", "signed")[0] == 0
    assert key.exists()
    code, shown = at_a_terminal(project, b"", "apply", "signed", "--color=never")
    assert code == 0
    assert "Do you want" not in shown
    assert "Apply complete! Resources: 3 added" in shown
    key.unlink()
    (project / "manifests" / "raw.yaml").unlink()
    assert at_a_terminal(project, b"", "plan", "--out", "unsigned")[0] == 0
    code, shown = at_a_terminal(project, b"", "apply", "unsigned", "--color=never")
    assert "Warning: This plan is not signed" in shown
    assert "Apply complete! Resources: 0 added" in shown
    assert code == 0
