"""Each operation of API v2: what goes over the wire, and what comes out of the envelope."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import pytest
from unit.client.scripted import answer, dropped

from synapse_apply import ClientError
from synapse_apply.client.http.multipart import MultipartBody, UnreadableBodyError
from synapse_apply.model.errors import Effect, Invalid

UUID = "0b6e57a1-0000-4000-8000-000000000001"
NEW = {"code": "p", "name": "P", "category": "export"}
CALLS: list[Any] = [
    ("get_plugin", (1,), "GET", "/v2/plugins/1/", None),
    ("create_plugin", (NEW,), "POST", "/v2/plugins/", NEW),
    ("update_plugin", (1, {"name": "Q"}), "PATCH", "/v2/plugins/1/", {"name": "Q"}),
    ("get_plugin_release", (2,), "GET", "/v2/plugin-releases/2/", None),
    ("lock_plugin_release", (2,), "POST", "/v2/plugin-releases/2/release/", None),
    ("get_job", (UUID,), "GET", f"/v2/jobs/{UUID}/", None),
    ("update_job", (UUID, {"meta": {}}), "PATCH", f"/v2/jobs/{UUID}/", {"meta": {}}),
    ("stop_job", (UUID,), "POST", f"/v2/jobs/{UUID}/stop/", None),
]
MUTATIONS = [call for call in CALLS if call[2] != "GET"]


def enveloped(data: Any, **meta: Any) -> dict[str, Any]:
    return {"data": data, "meta": {"request_id": "r-1", **meta}}


def refused(code: str, message: str = "no", details: Any = None) -> dict[str, Any]:
    fault = {"code": code, "message": message, "details": details}
    return {"error": fault, "meta": {"request_id": "r-9"}}


@pytest.mark.parametrize("code", ["the secret", 5, None, "x" * 100])
def test_a_code_that_is_none(server, client, code):
    """May be an echo, and is not told as a code."""
    server.then(answer(400, {"error": {"code": code, "message": "m"}}))
    with pytest.raises(ClientError) as caught:
        client.v2.get_plugin(1)
    assert caught.value.code == ""


def test_echoed_secrets_are_not_told(server, client):
    """Where the request carried one, only texts of fields that hold none are."""
    details = [{"field": "meta", "message": "not s3cret"}, {"field": "code", "message": "bad"}]
    server.then(answer(400, refused("VALIDATION_ERROR", "s3cret", details)))
    with pytest.raises(Invalid) as caught:
        client.v2.create_plugin(
            {**NEW, "meta": "s3cret"}, sensitive=lambda path: path[:1] == ("meta",)
        )
    assert "s3cret" not in str(caught.value)
    assert "code: bad" in str(caught.value)


@pytest.mark.parametrize("fault", [answer(503), answer(500), dropped()])
@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(("name", "arguments"), [call[:2] for call in MUTATIONS])
def test_no_mutation_is_sent_twice(server, client, name, arguments, dry_run, fault):
    """Its effect is unknown: a server may have acted, also on what was meant as a dry run."""
    server.then(fault)
    with pytest.raises(ClientError) as caught:
        getattr(client.v2, name)(*arguments, dry_run=dry_run)
    assert caught.value.effect is Effect.UNKNOWN
    assert len(server.received) == 1


def test_bytes_that_change_are_not_sent_whole(server, client):
    """The server gets less than was announced, and takes nothing."""

    class Changing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            block = super().read(size)
            self.getbuffer()[0:1] = b"X"  # after the first look at it
            return block

    with pytest.raises(Invalid, match="SHA-256"):
        client.v2.create_plugin_release({"plugin": 1, "version": "1"}, file=Changing(b"PK12"))
    assert all(len(one.body) < int(one.headers["content-length"]) for one in server.received)


def test_a_digest_that_is_known(server, client):
    """Is not computed again, and held against the bytes all the same."""
    digest = hashlib.sha256(b"PK").hexdigest()
    release = {"plugin": 1, "version": "1", "sha256": digest.upper()}
    client.v2.create_plugin_release(release, file=io.BytesIO(b"PK"))
    with pytest.raises(Invalid, match="SHA-256"):
        client.v2.create_plugin_release(release, file=io.BytesIO(b"KP"))


class Knowing(io.BytesIO):
    """A file that tells its digest, and counts how often it is read from the start."""

    sha256 = hashlib.sha256(b"PK").hexdigest()
    begun = 0

    def read(self, size=-1):
        self.begun += self.tell() == 0
        return super().read(size)


def test_a_digest_that_the_file_knows(server, client):
    """It is read once, as it is sent; what is said is held against the bytes here as well."""
    file = Knowing(b"PK")
    client.v2.create_plugin_release({"plugin": 1, "version": "1"}, file=file)
    assert file.begun == 1
    assert Knowing.sha256.encode() in server.received[0].body
    with pytest.raises(Invalid, match="SHA-256"):
        client.v2.create_plugin_release({"plugin": 1, "version": "1"}, file=Knowing(b"KP"))


@pytest.mark.parametrize("data", [{"plugin": 1, "version": "1"}, {"version": "1", "file": None}])
def test_a_release_needs_its_file(server, client, data):
    """Nothing is sent without."""
    with pytest.raises(Invalid, match="needs its file"):
        client.v2.create_plugin_release(data)
    assert server.received == []


def test_a_body_that_cannot_be_made_closes_its_file(tmp_path):
    """No open file is left behind."""
    path = tmp_path / "p.zip"
    path.write_bytes(b"PK")
    with pytest.raises(ValueError, match="Out of range"):
        MultipartBody({"meta": {"n": float("nan")}}, path, digest_field="sha256")
    with pytest.raises(UnreadableBodyError):
        MultipartBody({}, tmp_path / "none.zip", digest_field="sha256")
