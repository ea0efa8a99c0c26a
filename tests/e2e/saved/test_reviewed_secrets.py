"""A reviewed row sends the secret that was reviewed, and no other."""

from __future__ import annotations

import pytest
from e2e.scenarios.workplace import PLUGIN, Server, Workplace

OURS, OTHER = "password-of-ours-123", "password-of-others-456"
S3 = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: cold}
spec:
  name: Cold
  provider: amazon_s3
  category: external
  configuration:
    bucket_name: b
    region_name: eu
    access_key: id
    secret_key: SECRET
    endpoint_url: https://s3.example
"""
FTP = """\
apiVersion: synapse-apply/v1
kind: Storage
metadata: {name: cold}
spec:
  name: Cold
  provider: ftp
  category: external
  configuration: {host: HOST, port: 22, user: u, password: {valueFrom: {env: RAW_OURS}}}
"""
FROM = "{{valueFrom: {{env: {}}}}}".format
REFUSED = "! storage/cold cannot be created: it differs from the reviewed plan"


@pytest.fixture
def secret(ready: Workplace) -> Workplace:
    """Both secrets at hand, and storage/cold that names the first of them."""
    ready.environ |= {"RAW_OURS": OURS, "RAW_OTHER": OTHER}
    ready.write("manifests/cold.yaml", S3.replace("SECRET", FROM("RAW_OURS")))
    ready.write("conf/key.txt", OURS)
    return ready


def names(server: Server) -> list[str]:
    return [str(row["body"]["name"]) for row in server.objects("storage")]


def plan_blind(place: Workplace) -> None:
    """The plan of a job that has no secret."""
    kept = {name: place.environ.pop(name) for name in ("RAW_OURS", "RAW_OTHER")}
    place.plan("--out", "pr", code=0)
    place.environ |= kept


@pytest.mark.parametrize("now", [FROM("RAW_OTHER"), "{valueFrom: {file: conf/key2.txt}}", OTHER])
@pytest.mark.parametrize("is_blind", [False, True])
def test_another_secret_in_a_reviewed_row(secret, server, now, is_blind):
    """By another reference, or in plain text; told without a value."""
    secret.write("conf/key2.txt", OTHER)
    if is_blind:
        plan_blind(secret)
    else:
        secret.plan("--out", "pr", code=0)
    secret.write("manifests/cold.yaml", S3.replace("SECRET", now))
    ran = secret.run("apply", "--reviewed", "pr", code=4)
    assert REFUSED in ran.out
    assert "configuration.secret_key: (sensitive), " in ran.out
    assert OURS not in ran.text
    assert OTHER not in ran.text
    assert "Cold" not in names(server)


def test_the_reviewed_secret_goes(secret, server):
    """Also where the job that planned could not read it."""
    plan_blind(secret)
    secret.write("manifests/sam.yaml", PLUGIN.replace("yolo", "sam").replace("Yolo", "Sam"))
    ran = secret.run("apply", "--reviewed", "pr", code=4)
    assert "! plugin/sam cannot be created: no reviewed plan contains it" in ran.out
    assert "Refused: 1 (see ! rows)." in ran.out
    assert "Cold" in names(server)


def test_another_value_of_the_same_reference(secret, server):
    """Of a variable that was set anew."""
    secret.plan("--out", "pr", code=0)
    secret.environ["RAW_OURS"] = OTHER
    ran = secret.run("apply", "--reviewed", "pr", code=4)
    assert (
        "configuration.secret_key: (sensitive), its value differs from the planned value" in ran.out
    )
    secret.environ["RAW_OURS"] = OURS
    assert secret.run("apply", "--reviewed", "pr", code=0)
    assert "Cold" in names(server)


def test_a_configuration_that_is_secret_as_a_whole(secret, server):
    """The host counts, too: the reviewed password would go there."""
    secret.write("manifests/cold.yaml", FTP.replace("HOST", "ftp.ours.example"))
    secret.plan("--out", "pr", code=0)
    secret.write("manifests/cold.yaml", FTP.replace("HOST", "ftp.others.example"))
    ran = secret.run("apply", "--reviewed", "pr", code=4)
    assert "configuration.host: (sensitive), its value differs from the planned value" in ran.out
    assert "Cold" not in names(server)
    secret.write("manifests/cold.yaml", FTP.replace("HOST", "ftp.ours.example"))
    secret.run("apply", "--reviewed", "pr", code=0)
    assert "Cold" in names(server)


def test_an_update_of_a_secret(secret, server):
    """A rotation that was reviewed is not another one."""

    def declare(variable: str) -> None:
        plugin = PLUGIN.replace("configuration: {", f"configuration: {{api_key: {FROM(variable)}, ")
        marks = "lifecycle: {sensitive: [/configuration/api_key]}\n"
        secret.write("manifests/plugin.yaml", plugin + marks)

    (secret.root / "manifests/cold.yaml").unlink()
    declare("RAW_OURS")
    secret.apply()
    secret.environ["RAW_NEW"] = "password-of-tomorrow-789"
    declare("RAW_NEW")
    secret.plan("--out", "pr", code=0)
    declare("RAW_OTHER")
    ran = secret.run("apply", "--reviewed", "pr", code=4)
    assert "! plugin/yolo cannot be updated: it differs from the reviewed plan" in ran.out
    assert OTHER not in str(server.objects("plugin"))
    declare("RAW_NEW")
    secret.run("apply", "--reviewed", "pr", code=0)
    secret.unchanged()


def test_a_saved_plan_with_another_value(secret, server):
    """`apply FILE` does what the file says: not with a file that a commit has changed since."""
    manifest = S3.replace("SECRET", "{valueFrom: {file: conf/key.txt}}")
    secret.write("manifests/cold.yaml", manifest)
    secret.plan("--out", "next", code=0)
    secret.write("conf/key.txt", OTHER)
    ran = secret.run("apply", "next", code=4)
    assert "! storage/cold cannot be created: it changed since it was planned" in ran.out
    assert "Cold" not in names(server)
    secret.write("conf/key.txt", OURS)
    secret.plan("--out", "again", code=0)
    secret.run("apply", "again", code=0)
    assert "Cold" in names(server)


@pytest.mark.parametrize("now", [OURS, OTHER])
def test_a_saved_plan_of_a_literal_without_a_state_key(secret, server, now):
    """Nothing in the file tells it from another one, as its manifests name no place of it."""
    (secret.root / ".synapse-apply/state/prod.key").unlink()
    secret.write("manifests/cold.yaml", S3.replace("SECRET", OURS))
    secret.plan("--out", "next", code=0)
    secret.write("manifests/cold.yaml", S3.replace("SECRET", now))
    ran = secret.run("apply", "next", "--allow-unsigned", code=4)
    assert "! storage/cold cannot be created: it changed since it was planned" in ran.out
    assert "configuration.secret_key: (sensitive), the plan does not identify the secret" in ran.out
    assert OURS not in ran.text
    assert OTHER not in ran.text
    assert "Cold" not in names(server)
    named = S3.replace("SECRET", FROM("RAW_OURS")).replace("key: id", f"key: {FROM('RAW_OURS')}")
    secret.write("manifests/cold.yaml", named)
    secret.plan("--out", "again", code=0)
    secret.run("apply", "again", "--allow-unsigned", code=0)
    assert "Cold" in names(server)
