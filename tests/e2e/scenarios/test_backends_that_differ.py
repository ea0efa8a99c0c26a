"""The same manifests on backends that behave differently: always done once, then no changes."""

from __future__ import annotations

import base64
import json

import pytest
from e2e.scenarios.workplace import PLUGIN, RELEASE, STORAGE, Workplace

WITHOUT_CODE = PLUGIN.replace("  code: yolo\n", "")
BACKENDS = [
    {},
    {"put": "full", "list_items": "short", "configuration": "asked"},
    {"secrets": "masked", "plugin_list": "list", "code": "slug"},
    {"secrets": "omitted", "list_items": "short", "plugin_list": "list"},
    {"secrets": "omitted", "configuration": "asked", "code": "slug", "put": "full"},
]
SECRETS = {
    "apiVersion": "synapse-apply/v1",
    "kind": "Storage",
    "metadata": {"name": "s3"},
    "spec": {
        "name": "S3",
        "provider": "amazon_s3",
        "category": "external",
        "configuration": {
            "bucket_name": "b",
            "region": "r",
            "access_key_id": {"valueFrom": {"env": "S3_ID"}},
            "secret_access_key": {"valueFrom": {"env": "S3_KEY"}},
        },
    },
}


def live_secrets() -> str:
    document = json.loads(json.dumps(SECRETS))
    for name in ("access_key_id", "secret_access_key"):
        document["spec"]["configuration"][name] = {"valueFrom": {"live": True}}
    return json.dumps(document)


@pytest.fixture
def furnished(make):
    """Makes the sample project with a storage that has secrets."""

    def made(server, **settings) -> Workplace:
        place = make(server, **settings)
        place.environ.update(S3_ID="identity-one", S3_KEY="secret-one")
        place.write("manifests/s3.yaml", json.dumps(SECRETS))
        place.run("state", "init", code=0)
        return place

    return made


@pytest.mark.parametrize("plugin", [PLUGIN, WITHOUT_CODE], ids=["code", "no-code"])
@pytest.mark.parametrize("switches", BACKENDS, ids=lambda switches: "-".join(switches.values()))
def test_applied_once_then_no_changes(serve, furnished, switches, plugin):
    """Whatever the backend leaves out, normalises or adds; edits and drift end the same way."""
    server = serve(**switches)
    place = furnished(server)
    place.write("manifests/plugin.yaml", plugin, RELEASE)
    if plugin is WITHOUT_CODE:
        place.write("plugins/yolo/config.yaml", 'name: Yolo\nversion: "1.0.0"\n')
    # The backend takes what the platform's own tools refuse.
    place.apply("--no-package-check", "code")
    place.unchanged()
    place.edit("manifests/plugin.yaml", "Finds things", "Finds more")
    place.edit("manifests/plugin.yaml", "default: 0.8", "limit: 3")
    place.apply()
    place.unchanged()
    server.call("PATCH", "_emulator/objects/plugin/1/", {"description": "by hand"})
    place.apply()
    place.unchanged()
    (body,) = [one["body"] for one in server.objects("plugin")]
    assert body["description"] == "Finds more"
    assert body["configuration"]["parameters"]["quality"] == {"type": "float", "limit": 3}
    assert server.counts == (1, 1, 2)


@pytest.mark.parametrize("shown", ["plain", "masked", "omitted"])
def test_live_secrets_are_kept(serve, furnished, shown):
    """`live: true`: an object that exists keeps its value, one that does not is refused."""
    server = serve(secrets=shown)
    place = furnished(server)
    place.apply()
    place.write("manifests/s3.yaml", live_secrets())
    place.environ.clear()
    place.environ["PROD_TOKEN"] = "acme-token-of-tests"
    place.unchanged()
    (found,) = [one for one in server.objects("storage") if one["body"]["name"] == "S3"]
    assert found["body"]["configuration"]["secret_access_key"] == "secret-one"
    server.call("DELETE", f"_emulator/objects/storage/{found['id']}/")
    ran = place.apply(code=5)
    assert "so it has no live value" in ran.out


@pytest.mark.parametrize("shown", ["plain", "masked", "omitted"])
def test_a_secret_changed_in_the_product(serve, furnished, shown):
    """Seen where the server shows it, told as drift without a value; else nobody can know."""
    server = serve(secrets=shown)
    place = furnished(server)
    place.apply()
    (found,) = [one for one in server.objects("storage") if one["body"]["name"] == "S3"]
    configuration = {**found["body"]["configuration"], "secret_access_key": "by-hand"}
    server.call(
        "PATCH", f"_emulator/objects/storage/{found['id']}/", {"configuration": configuration}
    )
    ran = place.plan("--detailed-exitcode", code=2 if shown == "plain" else 0)
    assert "by-hand" not in ran.text
    if shown == "plain":
        assert "configuration.secret_access_key" in ran.out


def test_the_state_key_may_come_from_the_environment(serve, furnished):
    """CI holds the key in a variable; a laptop without it compares nothing and changes nothing."""
    place = furnished(serve(secrets="omitted"))
    for file in (place.root / ".synapse-apply").rglob("*"):
        if file.is_file():
            file.unlink()
    place.environ["SYNAPSE_APPLY_STATE_KEY"] = base64.b64encode(bytes(range(32))).decode()
    place.run("state", "init", code=0)
    place.apply("--adopt")
    assert not list(place.root.rglob("*.key"))
    place.unchanged()
    place.environ["S3_KEY"] = "secret-two"
    assert "! storage/s3" in place.apply(code=5).out
    place.environ["SYNAPSE_APPLY_STATE_KEY"] = base64.b64encode(bytes(32)).decode()
    ran = place.plan("--detailed-exitcode", code=0)
    assert "Secrets not checked: the state records them under a different key" in ran.text
    del place.environ["SYNAPSE_APPLY_STATE_KEY"]
    assert "no state key" in place.plan("--detailed-exitcode", code=0).text


def test_forgotten_and_declared_again(applied, server):
    """What was forgotten is found and adopted, not made a second time."""
    texts = {file: file.read_text() for file in (applied.root / "manifests").iterdir()}
    applied.write("manifests/storage.yaml", STORAGE.replace("raw-data", "x").replace("Raw", "X"))
    applied.write("manifests/plugin.yaml", PLUGIN.replace("yolo", "other").replace("Yolo", "Other"))
    applied.apply("--override-guard", "mass-missing")
    assert server.counts == (2, 1, 2)
    for file, text in texts.items():
        file.write_text(text)
    assert "--adopt" in applied.apply(code=5).err
    applied.apply("--adopt")
    assert server.counts == (2, 1, 2)
    applied.unchanged()


def test_owned_maps_tolerate_no_keys_of_others(applied, server):
    """lifecycle.own: what others put there is drift; elsewhere it is left alone."""
    configuration = {
        "parameters": {"quality": {"type": "float", "default": 0.8}, "theirs": {"a": 1}},
        "elsewhere": 1,
    }
    server.call("PATCH", "_emulator/objects/plugin/1/", {"configuration": configuration})
    applied.unchanged()
    applied.edit(
        "manifests/plugin.yaml",
        "metadata: {name: yolo}\n",
        "metadata: {name: yolo}\nlifecycle: {own: [/configuration/parameters]}\n",
    )
    ran = applied.plan("--detailed-exitcode", code=2)
    assert "theirs" in ran.out
    assert "elsewhere" not in ran.out
    applied.apply()
    (plugin,) = server.objects("plugin")
    assert "theirs" not in plugin["body"]["configuration"]["parameters"]
    assert plugin["body"]["configuration"]["elsewhere"] == 1
    applied.unchanged()
