"""Two keys are rotated: a provider's secret, and the key under which secrets are remembered."""

from __future__ import annotations

import base64
import json

import pytest
from e2e.scenarios.workplace import Server, Workplace

KEYS = [base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2)]
STORAGE = {
    "apiVersion": "synapse-apply/v1",
    "kind": "Storage",
    "metadata": {"name": "s3"},
    "spec": {
        "name": "S3",
        "provider": "amazon_s3",
        "category": "external",
        "configuration": {
            "bucket_name": "b",
            "access_key_id": {"valueFrom": {"env": "S3_ID"}},
            "secret_access_key": {"valueFrom": {"env": "S3_KEY"}},
        },
    },
}


@pytest.fixture
def team(place: Workplace, server: Server) -> Workplace:
    """All applied, a storage with secrets among it; the backend never shows them."""
    server.switch(secrets="omitted")
    place.environ.update(S3_ID="id-1", S3_KEY="secret-1", SYNAPSE_APPLY_STATE_KEY=KEYS[0])
    place.write("manifests/s3.yaml", json.dumps(STORAGE))
    place.run("state", "init", code=0)
    place.apply()
    return place


def rotate(server: Server, secret: str) -> None:
    """As an administrator does it in Synapse."""
    row = next(one for one in server.objects("storage") if one["body"]["name"] == "S3")
    configuration = {**row["body"]["configuration"], "secret_access_key": secret}
    body = {"configuration": configuration}
    server.call("PATCH", f"_emulator/objects/storage/{row['id']}/", body)


def live(server: Server) -> str:
    row = next(one for one in server.objects("storage") if one["body"]["name"] == "S3")
    return str(row["body"]["configuration"]["secret_access_key"])


def test_a_providers_secret(team: Workplace, server: Server) -> None:
    """The pipeline's variable moves first: refused, with the way; then the product; then accept."""
    team.environ["S3_KEY"] = "secret-2"
    seen = team.plan("--detailed-exitcode", code=2).out
    assert "~ secret_access_key = (sensitive, changed)" in seen
    assert (
        "! storage/s3 cannot be updated: configuration.secret_access_key cannot be changed" in seen
    )
    assert "change it in Synapse, then `synapse-apply state accept storage/s3`" in seen
    sent = server.writes
    assert "Apply incomplete!" in team.apply(code=5).out
    assert (server.writes, live(server)) == (sent, "secret-1")
    rotate(server, "secret-2")
    team.run("state", "accept", "storage/s3", "--auto-approve", code=0)
    team.unchanged()
    team.apply()
    assert (server.writes[: len(sent)], live(server)) == (sent, "secret-2")
    assert "secret-" not in team.run("show", "storage/s3", code=0).out.replace("secret_", "")


def test_the_state_key(team: Workplace, server: Server) -> None:
    """Under a key that is not known nothing is compared and nothing is sent; rekey knows again."""
    sent = server.writes
    team.environ["SYNAPSE_APPLY_STATE_KEY"] = KEYS[1]
    team.environ["S3_KEY"] = "secret-2"
    before = team.plan("--detailed-exitcode", code=0).text
    assert "the state records them under a different key" in before
    assert "synapse-apply state rekey" in before
    team.environ["S3_KEY"] = "secret-1"

    # On a laptop that lacks one of the secrets: what can be is under the new key, the rest is told.
    del team.environ["S3_ID"]
    partly = team.run("state", "rekey", code=0).text
    assert "S3_ID" in partly
    team.environ["S3_ID"] = "id-1"
    assert "the state records them under a different key" in team.plan(code=0).text
    team.run("state", "rekey", code=0)
    assert "under a different key" not in team.plan(code=0).text
    team.unchanged()
    team.environ["S3_KEY"] = "secret-2"
    assert "(sensitive, changed)" in team.plan("--detailed-exitcode", code=2).out
    assert server.writes == sent

    # A plan that was signed with the old key is not taken for a signed one.
    team.environ.update(S3_KEY="secret-1")
    team.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    team.plan("--out", "next", code=0)
    team.environ["SYNAPSE_APPLY_STATE_KEY"] = KEYS[0]
    assert "signature" in team.run("apply", "next", code=4).err
    assert server.writes == sent


def test_a_key_file_that_leaked(place: Workplace, server: Server) -> None:
    """Without a variable the key is a file: rekey makes a new one and keeps the old beside it."""
    server.switch(secrets="omitted")
    place.environ.update(S3_ID="id-1", S3_KEY="secret-1")
    place.write("manifests/s3.yaml", json.dumps(STORAGE))
    place.run("state", "init", code=0)
    place.apply()
    key = place.root / ".synapse-apply/state/prod.key"
    leaked = key.read_bytes()
    place.run("state", "rekey", code=0)
    assert key.read_bytes() != leaked
    assert key.stat().st_mode & 0o777 == 0o600
    (previous,) = key.parent.glob("*.previous")
    previous.unlink()
    place.unchanged()
    place.environ["S3_KEY"] = "secret-2"
    assert "(sensitive, changed)" in place.plan("--detailed-exitcode", code=2).out


def test_both_at_once(place: Workplace, server: Server) -> None:
    """A new value under a new key: each advice in turn ends with nothing left to do."""
    server.switch(secrets="omitted")
    place.environ.update(S3_ID="id-1", S3_KEY="secret-1")
    place.write("manifests/s3.yaml", json.dumps(STORAGE))
    place.run("state", "init", code=0)
    place.apply()
    place.environ.update(SYNAPSE_APPLY_STATE_KEY=KEYS[1], S3_KEY="secret-2")
    way = "enter the secret in Synapse, then `synapse-apply state accept storage/s3`"
    warned = place.apply().text
    assert f"If that does not help, or a value has changed since then: {way}." in warned
    assert "--resend-secrets" not in warned

    rekeyed = place.run("state", "rekey", code=0)
    kept = "storage/s3 configuration.secret_access_key: its value has changed since"
    assert f"{kept}; {way}\n" in rekeyed.err
    assert "Computed the digests of 1 secret with key" in rekeyed.out
    rotate(server, "secret-2")
    place.run("state", "accept", "storage/s3", "--auto-approve", code=0)
    assert "under a different key" not in place.plan(code=0).text
    place.unchanged()
    place.environ["S3_KEY"] = "secret-3"
    assert "(sensitive, changed)" in place.plan("--detailed-exitcode", code=2).out


def test_each_secret_is_counted_once(team: Workplace, server: Server) -> None:
    """Also where the backend shows it, so that two digests of it are kept."""
    server.switch(secrets="plain")
    team.run("state", "accept", "storage/s3", "--auto-approve", code=0)
    team.environ["SYNAPSE_APPLY_STATE_KEY"] = KEYS[1]
    assert "Computed the digests of 2 secrets with key" in team.run("state", "rekey", code=0).out
    assert team.run("state", "rekey", "--json", code=0).document["done"] == 0


def test_a_broken_key_file_beside_the_variable(team: Workplace) -> None:
    """The variable is the key; the file that cannot be used is told and stops nothing."""
    file = team.root / ".synapse-apply/state/prod.key"
    file.write_text("")
    for typed in (("plan", "--detailed-exitcode"), ("state", "rekey"), ("doctor",)):
        told = team.run(*typed, code=0).text
        assert "State key is too short" in told
        assert "prod.key has 0 bytes" in told
    del team.environ["SYNAPSE_APPLY_STATE_KEY"]
    assert "State key is too short" in team.plan(code=1).err


def test_a_rekey_after_an_interrupted_one_loses_no_key(place: Workplace, server: Server) -> None:
    """It continues with the new key, so that the key that the state needs stays beside it."""
    server.switch(secrets="omitted")
    place.environ.update(S3_ID="id-1", S3_KEY="secret-1")
    place.write("manifests/s3.yaml", json.dumps(STORAGE))
    place.run("state", "init", code=0)
    place.apply()
    key = place.root / ".synapse-apply" / "state" / "prod.key"
    first, before = key.read_text(), key.with_name("prod.key.previous")
    # As one leaves it that is killed before it writes to the state.
    key.rename(before)
    key.write_text(f"{KEYS[1]}\n")
    key.chmod(0o600)
    said = place.run("state", "rekey", "--auto-approve", code=0).text
    assert "2 secrets" in said
    assert "That key is from an interrupted `state rekey`; no other key was created." in said
    assert (key.read_text().strip(), before.read_text()) == (KEYS[1], first)
    place.unchanged()
    before.unlink()
    place.unchanged()
    place.run("state", "rekey", "--auto-approve", code=0)  # one that is whole makes a new key
    assert key.read_text().strip() != KEYS[1]
    assert before.read_text().strip() == KEYS[1]
    place.unchanged()


def test_a_whole_rekey_makes_a_key_though_no_secret_could_be_resolved(
    place: Workplace, server: Server
) -> None:
    """The key may have leaked; what keeps its old digest is said."""
    server.switch(secrets="omitted")
    place.environ.update(S3_ID="id-1", S3_KEY="secret-1")
    place.write("manifests/s3.yaml", json.dumps(STORAGE))
    place.run("state", "init", code=0)
    place.apply()
    key, texts = place.root / ".synapse-apply" / "state" / "prod.key", set[str]()
    del place.environ["S3_ID"], place.environ["S3_KEY"]
    for _ in range(3):
        texts.add(key.read_text())
        said = place.run("state", "rekey", "--auto-approve", code=0).text
        assert said.count("Kept under its old key: storage/s3 ") == 2
        assert "interrupted" not in said
    assert len(texts | {key.read_text()}) == 4
