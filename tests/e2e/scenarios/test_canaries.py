"""No secret in any byte we write: output, logs, state, lock, plans, reports, exceptions."""

from __future__ import annotations

import http.server
import json
import traceback
from pathlib import Path

import pytest
from e2e.scenarios.canaries import CANARIES, leaks, leaks_in_files
from e2e.scenarios.workplace import TOKEN, Ran, Server, Workplace, project
from echoing import echoing

STORAGES = {
    "env": {
        "provider": "amazon_s3",
        "configuration": {
            "bucket_name": "b",
            "region": "r",
            "access_key_id": {"valueFrom": {"env": "CANARY"}},
            "secret_access_key": {"valueFrom": {"file": "secrets/canary"}},
        },
    },
    "json": {
        "provider": "gcp",
        "configuration": {
            "bucket_name": "b",
            "project": "p",
            "credentials": {"valueFrom": {"file": "secrets/canary.json", "format": "json"}},
        },
    },
    "literal": {
        "provider": "somewhere_else",
        "configuration": {"deep": {"password": CANARIES["literal"]}, "open": 1},
    },
}


def storage(name: str, **more) -> str:
    spec = {"name": name, "category": "external", **STORAGES[name], **more}
    return json.dumps(
        {
            "apiVersion": "synapse-apply/v1",
            "kind": "Storage",
            "metadata": {"name": name},
            "spec": spec,
        }
    )


def furnished(root: Path, url: str) -> Workplace:
    """Storages with a secret of every source."""
    place = Workplace(
        root, {"PROD_TOKEN": TOKEN, "CANARY": CANARIES["env"], "SYNAPSE_APPLY_LOG": "trace"}
    )
    place.write("synapse-apply.yaml", project(url, settle_after=0.2))
    place.write("secrets/canary", CANARIES["file"] + "\n")
    place.write("secrets/canary.json", json.dumps({"private_key": CANARIES["json"], "n": [1]}))
    place.write("manifests/all.yaml", *(storage(name) + "\n" for name in STORAGES))
    return place


def clean(place: Workplace, *ran: Ran) -> None:
    """Nothing was told by these commands, and nothing lies about in the project."""
    for one in ran:
        assert leaks(one.text.encode()) == [], one.text
    own = [place.root / name for name in ("secrets/canary", "secrets/canary.json")]
    own.append(place.root / "manifests" / "all.yaml")
    assert leaks_in_files(place.root, own) == []


def test_the_forms_find_what_they_should():
    """The search itself works: a canary that is there is found in every coding."""
    import base64

    for name, secret in CANARIES.items():
        for data in (
            secret.encode(),
            json.dumps({"a": secret}).encode(),
            repr(secret).encode(),
            base64.b64encode(f"x{secret}yz".encode()),
            base64.b64encode(f"xy{secret}".encode()),
            base64.b64encode(f"xyz{secret}y".encode()),
            secret.encode().hex().encode(),
        ):
            assert leaks(b"..." + data + b"...") == [name], (name, data)


@pytest.mark.parametrize("shown", ["plain", "omitted", "masked"])
def test_a_whole_life_of_secrets(serve, tmp_path, shown):
    """Created, planned, drifted, changed, accepted, exported, rekeyed: no byte of ours shows one."""
    server = serve(secrets=shown)
    place = furnished(tmp_path / "project", server.url)
    ran = [
        place.run("validate", code=0),
        place.run("state", "init", code=0),
        place.plan("--json", code=0),
        place.plan("--out", "first.plan", code=0),
        place.apply("--json"),
        place.plan("--detailed-exitcode", code=0),
    ]
    stored = json.dumps(server.objects("storage"), ensure_ascii=False)
    assert all(json.dumps(one, ensure_ascii=False)[1:-1] in stored for one in CANARIES.values())
    place.environ["CANARY"] = "another value, not a canary"
    ran += [place.plan(code=0), place.plan("--json"), place.apply(code=None)]
    assert "! storage/env" in ran[-1].out
    place.environ["CANARY"] = CANARIES["env"]
    body = server.call("GET", "_emulator/objects/storage/1/")["body"]
    body["configuration"]["secret_access_key"] = CANARIES["literal"]
    server.call("PATCH", "_emulator/objects/storage/1/", {"configuration": body["configuration"]})
    ran += [
        place.plan(),
        place.apply(code=None),
        place.run("show", "storage/env"),
        place.run("show", "storage/env", "--json"),
        place.run("state", "show", "storage/literal", code=0),
        place.run("state", "show", "--json", code=0),
        place.run("state", "show", "--inventory", code=0),
        place.run("state", "accept", "storage/env", "--auto-approve", code=0),
        place.run("state", "rekey", code=0),
        place.run("state", "backup", "saved.db", code=0),
        place.plan("--resend-secrets"),
        place.plan("--resend-secrets", "--out", "saved.plan"),
        place.run("state", "history", code=0),
        place.run("state", "history", "--json", code=0),
    ]
    clean(place, *ran)


def test_a_changed_secret_is_a_refusal_that_never_shows_it(serve, tmp_path):
    """A storage cannot be updated: the row names the path, neither the old value nor the new."""
    place = furnished(tmp_path / "project", serve().url)
    place.run("state", "init", code=0)
    place.apply()
    place.environ["CANARY"] = "n3w-value-of-it"
    ran = place.apply(code=5)
    assert "! storage/env cannot be updated: configuration.access_key_id" in ran.out
    assert "(sensitive, changed)" in ran.out
    assert "n3w-value" not in ran.text
    clean(place, ran)


def test_a_missing_secret_is_told_by_its_name(serve, tmp_path):
    """plan: not checked, and why; apply of what needs it: exit 1 before the first call."""
    server = serve()
    place = furnished(tmp_path / "project", server.url)
    place.run("state", "init", code=0)
    del place.environ["CANARY"]
    (place.root / "secrets" / "canary").unlink()
    ran = place.plan(code=0)
    assert "(sensitive, not checked: CANARY is not set)" in ran.out
    stopped = place.apply(code=1)
    assert "CANARY" in stopped.err
    assert "secrets/canary" in stopped.err
    assert "manifests/all.yaml:1:" in stopped.err
    assert server.counts == (0, 0, 0)
    assert server.writes == []
    clean(place, ran, stopped)
    place.environ["CANARY"] = CANARIES["env"]
    place.write("secrets/canary", CANARIES["file"])
    place.apply()
    del place.environ["CANARY"]
    again = place.plan("--detailed-exitcode", code=0)
    assert "(sensitive, not checked: CANARY is not set)" in again.out
    place.apply()


@pytest.mark.parametrize("key", ["session_token", "secret_key", "credentials"])
def test_a_live_key_that_nobody_declared(serve, tmp_path, key):
    """What a known provider's schema does not know may be a secret: compared, never shown or kept."""
    server = serve()
    place = furnished(tmp_path / "project", server.url)
    configuration = {
        "bucket_name": "b",
        "region": "r",
        "access_key_id": CANARIES["env"],
        "secret_access_key": CANARIES["file"],
        key: {"deep": CANARIES["literal"]},
    }
    body = {"name": "env", "provider": "amazon_s3", "category": "external"}
    server.call("POST", "storages/", {**body, "configuration": configuration})
    ran = [
        place.run("state", "init", code=0),
        place.plan("--json", code=0),
        place.run("import", "storage/env", "1", "--json", code=0),
        place.run("show", "storage/env", "--json"),
        place.plan("--json", code=0),
        place.plan("--show-unchanged", code=0),
        place.apply("--adopt", "--json", code=None),
    ]
    clean(place, *ran)


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers every POST with what it was sent, in the way that `how` says; GETs are empty."""

    how = "json"
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        self._answer(200, b'{"count": 0, "next": null, "previous": null, "results": []}')

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        text = body.decode()
        sent = json.loads(text)
        echoes = {
            "json": text,
            "text": text,
            "detail": json.dumps({"detail": text}),
            "field": json.dumps({"configuration": [text]}),
            "fields": json.dumps({"configuration": sent["configuration"]}),
            "list": json.dumps([text, sent]),
            "html": f"<html><title>{text}</title></html>",
            "fastapi": json.dumps({"detail": [{"loc": ["body"], "msg": text, "input": sent}]}),
            "broken": '{"detail": ' + text,
            "success": json.dumps({"ok": sent}),
            "headers": "{}",
        }
        status = 200 if self.how == "success" else 500 if self.how == "broken" else 400
        self._answer(status, echoes[self.how].encode(), text)

    def _answer(self, status: int, body: bytes, text: str = "") -> None:
        plain = text.encode("ascii", "ignore").decode().replace("\n", " ")
        self.send_response(status, plain if self.how == "headers" else None)
        if self.how == "headers":
            self.send_header("X-Request-Id", plain)
            self.send_header("X-Echo", plain)
        kind = {"html": "text/html", "text": "text/plain"}.get(self.how, "application/json")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Quiet."""


WAYS = ["json", "text", "detail", "field", "fields", "list", "html", "fastapi", "broken",
        "success", "headers"]  # fmt: skip


@pytest.mark.parametrize("how", WAYS)
def test_a_server_that_echoes_what_it_was_sent(tmp_path, how):
    """Whatever it answers, we repeat none of it: not in messages, reports, logs or state."""
    with echoing(Echo, how) as url:
        place = furnished(tmp_path / "project", url)
        place.run("state", "init", code=0)
        text = place.apply(code=None)
        document = place.apply("--json", code=None)
    assert text.code in (3, 7)
    clean(place, text, document)


@pytest.mark.parametrize("how", [way for way in WAYS if way != "success"])
def test_exceptions_hold_no_secret(tmp_path, how):
    """Not in the text, the repr or the traceback of what the library raises."""
    from synapse_apply import BackendClient, ClientError

    body = {"name": "x", "configuration": {"password": CANARIES["env"]}}
    with (
        echoing(Echo, how) as url,
        BackendClient(url, TOKEN, tenant="acme") as client,
        pytest.raises(ClientError) as caught,
    ):
        client.create_storage(body)
    written = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert leaks(written.encode()) == []
    assert TOKEN not in written


def test_the_token_is_never_shown(serve, tmp_path):
    """Neither the right one nor one that is refused."""
    server: Server = serve()
    place = furnished(tmp_path / "project", server.url)
    ran = [place.run("state", "init", code=0), place.apply()]
    place.environ["PROD_TOKEN"] = "another-t0ken-of-tests"
    ran.append(place.apply(code=1))
    for one in ran:
        assert TOKEN not in one.text
        assert "another-t0ken" not in one.text
    found = [path for path in place.root.rglob("*") if path.is_file()]
    assert not any(TOKEN.encode() in path.read_bytes() for path in found)
