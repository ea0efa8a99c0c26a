"""A state that others can write to without the tool is signed with the state key."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from buckets.servers import BucketServer
from e2e.scenarios.workplace import Server, Workplace, project

KEYS = [base64.b64encode(bytes([number]) * 32).decode() for number in range(3)]
ID = "5f1c2d60-0000-4000-8000-000000000001"


@pytest.fixture
def bucket_team(place: Workplace, server: Server, seaweed: BucketServer) -> Workplace:
    """A project whose target keeps its state in a bucket; one machine has applied."""
    document = json.loads(project(server.url, state={"url": seaweed.url()}, settle_after=1))
    place.write("synapse-apply.yaml", json.dumps({**document, "project": {"id": ID}}))
    place.environ |= {**seaweed.environ, "SYNAPSE_APPLY_STATE_KEY": KEYS[0]}
    place.run("state", "init", code=0)
    place.apply()
    place.unchanged()
    return place


def test_who_has_no_key_reads_and_writes_nothing(bucket_team: Workplace, server: Server) -> None:
    """A plan says that nothing was verified; an apply ends before its first call."""
    sent = server.writes
    del bucket_team.environ["SYNAPSE_APPLY_STATE_KEY"]
    planned = bucket_team.plan(code=0).text
    assert "The state is not verified" in planned
    assert "The key for this shared state is missing" in planned
    assert "The state key is missing" in bucket_team.apply(code=1).err
    bucket_team.environ["SYNAPSE_APPLY_STATE_KEY"] = KEYS[1]
    refused = bucket_team.plan(code=1).err
    assert "The state has a different key" in refused
    assert server.writes == sent


def test_after_a_rekey_the_new_key_alone_is_enough(bucket_team: Workplace, server: Server) -> None:
    """For all other machines; who has the former one is shut out."""
    bucket_team.environ["SYNAPSE_APPLY_STATE_KEY_PROD"] = KEYS[1]
    bucket_team.run("state", "rekey", "--auto-approve", code=0)
    del bucket_team.environ["SYNAPSE_APPLY_STATE_KEY_PROD"]
    bucket_team.environ["SYNAPSE_APPLY_STATE_KEY"] = KEYS[1]
    bucket_team.unchanged()
    assert "not verified" not in bucket_team.plan(code=0).text
    bucket_team.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    assert "1 changed" in bucket_team.apply().out
    bucket_team.environ["SYNAPSE_APPLY_STATE_KEY"] = KEYS[0]
    assert "The state has a different key" in bucket_team.plan(code=1).err


def test_a_key_that_is_lost(bucket_team: Workplace, server: Server) -> None:
    """Another one takes its place; what it had signed no longer counts."""
    del bucket_team.environ["SYNAPSE_APPLY_STATE_KEY"]
    bucket_team.environ["SYNAPSE_APPLY_STATE_KEY_PROD"] = KEYS[2]
    refused = " ".join(bucket_team.run("state", "rekey", "--auto-approve", code=1).err.split())
    assert "The state cannot be verified" in refused
    assert "accept the state as genuine, with its 3 records" in refused
    bucket_team.run("state", "rekey", "--auto-approve", "--allow-unsigned", code=0)
    bucket_team.unchanged()
    assert "storage/raw-data" in bucket_team.run("state", "show", code=0).out
    bucket_team.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    assert "1 changed" in bucket_team.apply().out


def test_a_backup_from_before_a_rekey(bucket_team: Workplace, tmp_path: Path) -> None:
    """The restore names the command that gives the state the key at hand, and that is enough."""
    backup = str(tmp_path / "backup.db")
    bucket_team.run("state", "backup", backup, code=0)
    bucket_team.environ["SYNAPSE_APPLY_STATE_KEY_PROD"] = KEYS[1]
    bucket_team.run("state", "rekey", "--auto-approve", code=0)
    restored = bucket_team.run("state", "restore", backup, "--auto-approve", code=0).text
    assert "The backup was made with a different state key" in restored
    assert "`synapse-apply state rekey -t prod`, which uses the available key" in " ".join(
        restored.split()
    )
    bucket_team.run("state", "rekey", "--auto-approve", code=0)
    bucket_team.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    assert "1 changed" in bucket_team.apply().out
    later = str(tmp_path / "later.db")
    bucket_team.run("state", "backup", later, code=0)
    assert (
        "a different state key"
        not in bucket_team.run("state", "restore", later, "--auto-approve").text
    )
