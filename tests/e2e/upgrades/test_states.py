"""A state goes to a newer version and back, in each place where one can be."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from buckets.folders import open_folder_at
from buckets.servers import BucketServer
from e2e.upgrades.older import NEWER, Machine
from git_repositories import commit, git, make_bare_repository
from postgres.server import PostgresServer

from synapse_apply import EmbeddedServer

KEY = base64.b64encode(bytes(range(32))).decode()
PLUGIN = """\
apiVersion: synapse-apply/v1
kind: Plugin
metadata: {name: yolo}
spec: {name: YOLO, code: yolo, category: neural_net, description: TEXT}
"""
# Each reads the state, and most would write to it.
COMMANDS = (
    "plan", "apply --auto-approve", "state rm plugin/yolo", "state backup late.db", "state rekey --yes",
    "drift", "state list", "state mv plugin/yolo plugin/other", "state rebind --yes",
    "state accept plugin/yolo --auto-approve", "import plugin/yolo 1",
)  # fmt: skip
PARTS = ("links/", "snapshots/", "audit/")
REFUSED = "Error: The state was written by a newer version of synapse-apply\n"
TOLD = "Warning: The state has the format of an earlier version of synapse-apply\n"


@dataclass
class Team:
    """A pipeline and a laptop with a checkout each, one backend, and one state."""

    pipeline: Machine
    laptop: Machine
    backend: EmbeddedServer
    read_bytes: Callable[[], object]
    """All that is stored of the state, to compare."""
    is_in_file: bool

    def declare(self, description: str) -> None:
        for machine in (self.pipeline, self.laptop):
            text = PLUGIN.replace("TEXT", description)
            (machine.folder / "manifests/yolo.yaml").write_text(text, encoding="utf-8")

    def read_description(self) -> str:
        """Of the plugin, as it is live."""
        shown = self.pipeline.with_version(NEWER).run("get", "plugin", "1", "--json")
        return str(json.loads(shown)["values"]["description"])


def read_database(server: PostgresServer, schema: str) -> object:
    tables = ("meta", "records", "intents", "plans", "audit", "lock")
    return [server.run(f'SELECT * FROM "{schema}".{table} ORDER BY 1') for table in tables]


def read_bucket(server: BucketServer, url: str) -> object:
    folder = open_folder_at(url, server.environ)
    return sorted(info.name for part in PARTS for info in folder.list_objects(part))


@pytest.fixture(params=["file", "postgres", "git", "bucket"])
def team(request: pytest.FixtureRequest, tmp_path: Path, older: Path) -> Iterator[Team]:
    """Both have the earlier version, with which the first commit was applied."""
    url, environ, read_bytes = find_place(request, tmp_path)
    with EmbeddedServer(tmp_path / "backend", any_token=True) as backend:
        project = {
            "apiVersion": "synapse-apply/v1",
            "kind": "Project",
            "project": {"id": "7b0f9a52-3a2c-4d7e-9c55-0d5e2f6a1b34"},
            "targets": {"prod": {"url": backend.url, "state": {"url": url}, "settle_after": 1}},
        }
        machines = []
        for name in ("pipeline", "laptop"):
            folder = tmp_path / name
            (folder / "manifests").mkdir(parents=True)
            (folder / "synapse-apply.yaml").write_text(json.dumps(project), encoding="utf-8")
            commit(folder)
            own = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / f"cache-of-{name}")}
            shared = {"SYNAPSE_ACCESS_TOKEN": "any", "SYNAPSE_APPLY_STATE_KEY": KEY}
            machines.append(Machine(older, folder, {**environ, **shared, **own}))
        made = Team(machines[0], machines[1], backend, read_bytes, request.param == "file")
        made.declare("by the earlier version")
        made.pipeline.run("state", "init")
        made.pipeline.run("apply", "--auto-approve")
        assert made.laptop.run("plan").startswith("No changes.")
        yield made


def find_place(
    request: pytest.FixtureRequest, tmp_path: Path
) -> tuple[str, dict[str, str], Callable[[], object]]:
    """A state's url, the variables that it needs, and what reads all that is there."""
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        schema = f"upgrade_{tmp_path.name.lower().replace('-', '_')}"
        return server.url(schema=schema), {}, lambda: read_database(server, schema)
    if request.param == "git":
        shared = make_bare_repository(tmp_path / "shared.git")
        return f"git:file://{shared}?pace=0", {}, lambda: git(shared, "for-each-ref")
    if request.param == "bucket":
        bucket: BucketServer = request.getfixturevalue("seaweed")
        url = bucket.url(tmp_path.name)
        return url, bucket.environ, lambda: read_bucket(bucket, url)
    file = tmp_path / "shared/prod.db"
    return str(file), {}, file.read_bytes


def test_a_stranger_upgrades_and_goes_back(team: Team, older: Path, tmp_path: Path) -> None:
    """The plan tells to make a backup; after the first write the earlier version refuses; back."""
    newer = team.pipeline.with_version(NEWER)
    team.declare("by the newer version")
    told = newer.run("plan")
    assert TOLD in told
    (command,) = re.findall(r"make a backup first: `synapse-apply (state backup FILE.*)`\.\n", told)
    newer.run(*command.replace("FILE", "before.db").split())
    # To look, to copy and to be told has changed nothing for those who have not upgraded yet.
    assert "1 to change" in team.laptop.run("plan")
    assert TOLD in newer.run("apply", "--auto-approve")
    assert TOLD not in newer.run("plan")
    before, live = team.read_bytes(), team.read_description()
    assert live == "by the newer version"
    team.declare("by the laptop")
    # In a file all of them, elsewhere some: what they ask is the same.
    for typed in COMMANDS if team.is_in_file else COMMANDS[:5]:
        refused = team.laptop.run(*typed.split(), code=1)
        assert refused.count("Error: ") == 1, refused
        assert REFUSED in refused
    assert team.read_bytes() == before
    assert team.read_description() == live
    assert not (team.laptop.folder / "late.db").exists()
    # Back: what was copied is restored, and the earlier version is installed again.
    team.declare("by the newer version")
    newer.run("state", "restore", "before.db", "--auto-approve")
    assert team.pipeline.run("plan").startswith("No changes.")
    team.declare("by the earlier version again")
    team.pipeline.run("apply", "--auto-approve")
    assert team.read_description() == "by the earlier version again"
    assert team.laptop.run("plan").startswith("No changes.")
    # And forward again, told again.
    assert TOLD in newer.run("plan")


@pytest.mark.parametrize("team", ["file", "git"], indirect=True)
def test_the_earlier_version_reads_what_it_needs_not_understand(team: Team) -> None:
    """A plan, a list and a doctor of the newer version, and an apply that has nothing to do."""
    newer = team.pipeline.with_version(NEWER)
    for typed in ("plan", "apply --auto-approve", "drift", "state show", "state history"):
        newer.run(*typed.split())
    assert TOLD.partition(": ")[2].strip() in newer.run("doctor")
    assert team.laptop.run("plan").startswith("No changes.")
    shutil.rmtree(team.laptop.folder / ".synapse-apply", ignore_errors=True)
    team.declare("by the earlier version again")
    team.laptop.run("apply", "--auto-approve")
