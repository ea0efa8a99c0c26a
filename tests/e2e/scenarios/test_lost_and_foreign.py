"""Losing state, workspace, tenant or data set: a message of its own, and never a second copy."""

from __future__ import annotations

import json
import shutil
import sqlite3

from e2e.scenarios.workplace import OTHER_TOKEN, Workplace, held, project, sample

LINEAGE = "11111111-2222-4333-8444-555555555555"
MADE_ANEW = "ffffffff-2222-4333-8444-555555555555"


def state_file(place: Workplace, target: str = "prod"):
    return place.root / ".synapse-apply" / "state" / f"{target}.db"


def test_a_lost_state_file(applied, server):
    """No state: an error that names init, import and restore; nothing is read or made."""
    state_file(applied).unlink()
    for command in (applied.plan, applied.apply):
        ran = command(code=1)
        assert "There is no state for this target" in ran.err
        for words in ("state restore FILE", "import them (docs/adoption.md)", "state init"):
            assert words in ran.err
    assert server.counts == (1, 1, 1)


def test_an_emptied_workspace(applied, server):
    """A CI runner without .synapse-apply is told the same; its backup brings everything back."""
    applied.run("state", "backup", "../saved.db", code=0)
    shutil.rmtree(applied.root / ".synapse-apply")
    assert "state restore FILE" in applied.apply(code=1).err
    assert not (applied.root / ".synapse-apply").exists()
    applied.run("state", "restore", "../saved.db", "--auto-approve")
    assert server.counts == (1, 1, 1)
    applied.unchanged()


def test_an_empty_state_made_by_the_user(applied, server):
    """After `state init` what can be found is adopted on request; the plugin by its release."""
    state_file(applied).unlink()
    made = applied.run("state", "init", code=0)
    assert (
        "This backend does not list plugins: import those that exist and that `plan` would"
        in made.out
    )
    stopped = applied.apply(code=5)
    assert "--adopt" in stopped.err
    assert server.counts == (1, 1, 1)
    applied.apply("--adopt")
    assert server.counts == (1, 1, 1)
    applied.unchanged()


def test_another_tenants_token(applied, server):
    """A tenant that is named in the project file: refused by the server, told as an error."""
    applied.environ["PROD_TOKEN"] = OTHER_TOKEN
    for command in (applied.plan, applied.apply):
        ran = command(code=1)
        assert "Reading the live state failed" in ran.text
        assert "check token and tenant" in ran.text
    assert server.counts == (1, 1, 1)


def test_a_token_that_sees_nothing(make, server):
    """Everything 404: a guard stops all before the first call and says what it looks like."""
    place = make(server, tenant="")
    place.run("state", "init", code=0)
    place.apply()
    sent = server.writes
    place.environ["PROD_TOKEN"] = OTHER_TOKEN
    assert "the tenant is probably wrong" in place.plan(code=0).out
    ran = place.apply(code=5)
    assert "the tenant is probably wrong" in ran.err
    assert "--override-guard all-missing" in ran.err
    assert server.counts == (1, 1, 1)
    assert server.writes == sent


def test_a_token_nobody_knows(applied, server):
    """401: an error that says which setting names the token."""
    applied.environ["PROD_TOKEN"] = "unknown-token"
    ran = applied.apply(code=1)
    assert "The token is missing or wrong" in ran.text
    del applied.environ["PROD_TOKEN"]
    assert "PROD_TOKEN" in applied.apply(code=1).text
    assert server.counts == (1, 1, 1)


def test_a_renamed_manifest(applied, server):
    """Refused with the very commands that help; they work, and nothing is made twice."""
    applied.edit("manifests/plugin.yaml", "metadata: {name: yolo}", "metadata: {name: seer}")
    applied.edit("manifests/plugin.yaml", "plugin: yolo", "plugin: seer")
    ran = applied.apply(code=5)
    ways = [line.strip().removeprefix("* ").strip("`") for line in ran.out.splitlines()]
    commands = [way for way in ways if way.startswith("synapse-apply state mv")]
    assert "moved: [{from: plugin/yolo, to: plugin/seer}]" in ran.out
    assert set(commands) == {"synapse-apply state mv plugin/yolo plugin/seer"}
    moved = applied.run(*commands[0].split()[1:], code=0).out
    assert "Moved release/yolo@1.0.0 to release/seer@1.0.0." in moved
    assert server.counts == (1, 1, 1)
    applied.unchanged()


def test_a_rename_takes_the_releases_of_the_past_along(applied, server):
    """What is superseded is recorded under its plugin's name, too."""
    applied.edit("manifests/plugin.yaml", 'plugin: yolo\n  version: "1.0.0"', "plugin: yolo")
    applied.edit("plugins/yolo/config.yaml", "1.0.0", "1.1.0")
    applied.edit("manifests/plugin.yaml", 'version: "1.0.0"', 'version: "1.1.0"')
    applied.apply()
    applied.edit("manifests/plugin.yaml", "metadata: {name: yolo}", "metadata: {name: seer}")
    applied.edit("manifests/plugin.yaml", "plugin: yolo", "plugin: seer")
    applied.run("state", "mv", "plugin/yolo", "plugin/seer", code=0)
    listed = applied.run("state", "show", code=0).out
    assert "release/seer@1.0.0" in listed
    assert "release/seer@1.1.0" in listed
    assert "yolo" not in listed
    applied.unchanged()
    assert server.counts == (1, 2, 1)


def test_a_renamed_storage(applied, server):
    """The same for a kind without references."""
    applied.edit("manifests/storage.yaml", "{name: raw-data}", "{name: raw}")
    ran = applied.apply(code=5)
    assert "synapse-apply state mv storage/raw-data storage/raw" in ran.out
    applied.run("state", "mv", "storage/raw-data", "storage/raw", code=0)
    assert server.counts == (1, 1, 1)
    applied.unchanged()


def test_a_changed_url(applied, server):
    """Another url is another backend until `state rebind` says that it moved."""
    applied.write("synapse-apply.yaml", project(server.url.replace("127.0.0.1", "localhost")))
    ran = applied.apply(code=1)
    assert "This state belongs to another backend" in ran.err
    assert "`synapse-apply state rebind -t prod`" in ran.err
    applied.run("state", "rebind", "-t", "prod", "--auto-approve", code=0)
    applied.unchanged()
    assert server.counts == (1, 1, 1)


def test_a_changed_tenant(applied, server):
    """So is another tenant."""
    applied.write("synapse-apply.yaml", project(server.url, tenant="other"))
    ran = applied.apply(code=1)
    assert "This state belongs to another backend" in ran.err
    assert "tenant other" in ran.err
    assert server.counts == (1, 1, 1)


def test_another_backend_under_the_same_url_is_caught_by_the_guard(serve, make):
    """A server that lost its data: everything recorded is missing."""
    first = serve("one")
    place = make(first)
    place.run("state", "init", code=0)
    place.apply()
    for kind in ("release", "plugin", "storage"):
        for found in first.objects(kind):
            first.call("DELETE", f"_emulator/objects/{kind}/{found['id']}/")
    assert "the tenant is probably wrong" in place.apply(code=5).err
    assert first.counts == (0, 0, 0)


def test_a_wiped_embedded_data_set(tmp_path):
    """A state without its data is an error that names `emulator --reset`, which works."""
    place = Workplace(tmp_path / "p")
    sample(place)
    place.apply("-t", "embedded")
    shutil.rmtree(place.root / ".synapse-apply" / "embedded")
    for command in (place.plan, place.apply):
        ran = command("-t", "embedded", code=1)
        assert "do not belong together" in ran.err
        assert "`synapse-apply emulator --reset`" in ran.err
    place.run("emulator", "--reset", "--auto-approve", code=0)
    assert "3 added" in place.apply("-t", "embedded").out


def test_embedded_data_without_its_state(tmp_path):
    """The other half alone is an error, too: apply would make second copies."""
    place = Workplace(tmp_path / "p")
    sample(place)
    place.apply("-t", "embedded")
    state_file(place, "embedded").unlink()
    ran = place.apply("-t", "embedded", code=1)
    assert "there is no state that remembers them" in ran.err
    assert "`synapse-apply emulator --reset`" in ran.err
    place.run("emulator", "--reset", "--auto-approve", code=0)
    assert "3 added" in place.apply("-t", "embedded").out


def test_a_pinned_lineage(make, server):
    """With a lineage in Git an empty state is refused unless the pin is repeated."""
    place = make(server, state={"lineage": LINEAGE})
    assert f"state init --lineage {LINEAGE}" in place.plan(code=1).err
    for more in ((), ("--lineage", MADE_ANEW)):
        ran = place.run("state", "init", *more, code=1)
        assert "pins the lineage" in ran.err
        assert "state restore FILE" in ran.err
    place.run("state", "init", "--lineage", LINEAGE, code=0)
    place.apply()
    place.write("synapse-apply.yaml", project(server.url, state={"lineage": MADE_ANEW}))
    assert "The project file pins a different state" in place.apply(code=1).err
    assert server.counts == (1, 1, 1)


def test_a_state_of_a_newer_version(applied, server):
    """Refused as it is, and left as it is."""
    connection = sqlite3.connect(state_file(applied))
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = state_file(applied).read_bytes()
    ran = applied.apply(code=1)
    assert "written by a newer version" in ran.err
    assert state_file(applied).read_bytes() == before
    assert server.counts == (1, 1, 1)


def test_a_damaged_state(applied, server):
    """What is no database is told as such, with the way back."""
    state_file(applied).write_bytes(b"not a database" * 100)
    ran = applied.apply(code=1)
    assert "restore" in ran.err
    assert server.counts == (1, 1, 1)


def test_a_second_apply_while_one_runs(applied, server):
    """Exit 6; the message says who holds the state. Reading goes on."""
    applied.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    sent = server.writes
    with held(applied):
        ran = applied.apply("--lock-timeout", "0", code=6)
        assert "The state is locked" in ran.err
        assert "running apply since" in ran.err
        assert "With --lock-timeout SECONDS, the command waits for the lock" in ran.err
        applied.run("state", "backup", "copy", code=0)
        without = applied.run("state", "restore", "copy", "--auto-approve", code=6).err
        assert "synapse-apply state unlock" in without
        assert "--lock-timeout" not in without
        applied.plan(code=0)
        document = applied.apply("--json", "--lock-timeout", "0", code=6).document
        assert document["exit_code"] == 6
    assert server.writes == sent
    applied.apply()


def test_a_state_key_that_is_lost(make, server):
    """Secrets are not compared then, and certainly not sent again."""
    place = make(server)
    place.write(
        "manifests/storage.yaml",
        json.dumps(
            {
                "apiVersion": "synapse-apply/v1",
                "kind": "Storage",
                "metadata": {"name": "s"},
                "spec": {
                    "name": "S",
                    "provider": "amazon_s3",
                    "category": "external",
                    "configuration": {
                        "bucket_name": "b",
                        "region": "r",
                        "access_key_id": {"valueFrom": {"env": "S_ID"}},
                        "secret_access_key": {"valueFrom": {"env": "S_KEY"}},
                    },
                },
            }
        ),
    )
    place.environ.update(S_ID="identity-1", S_KEY="s3cret-1")
    place.run("state", "init", code=0)
    place.apply()
    (place.root / ".synapse-apply" / "state" / "prod.key").unlink()
    ran = place.plan("--detailed-exitcode", code=0)
    assert "no state key" in ran.text
    assert "identity-1" not in ran.text
    place.run("state", "rekey", code=0)
    place.unchanged()
    assert server.counts == (1, 1, 1)
