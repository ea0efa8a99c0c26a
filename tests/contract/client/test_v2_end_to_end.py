"""The operations of API v2 against the embedded backend, over real HTTP."""

from __future__ import annotations

import uuid

import pytest

from synapse_apply import ClientError


@pytest.fixture(params=["envelope", "plain"])
def v2(client, steer, request):
    """A client of v2, on a server that answers in either form and looks at digests."""
    steer("PATCH", "_emulator/switches/", {"v2_answers": request.param, "v2_sha256": "compared"})
    yield client.v2
    steer("PATCH", "_emulator/switches/", {"v2_answers": "envelope", "v2_sha256": "unchecked"})


@pytest.fixture
def code() -> str:
    return f"p-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def plugin(v2, code):
    return v2.create_plugin({"code": code, "name": code, "category": "export", "tasks": ["a.b"]})


def test_plugins(client, v2, plugin, code):
    """Created with a release, listed, changed, and there on v1."""
    assert plugin["release"]["version"] == "0.0.0"
    assert v2.update_plugin(plugin["id"], {"description": "d"})["description"] == "d"
    assert code in [one["code"] for one in v2.list_plugins()]
    assert v2.get_plugin(plugin["id"])["name"] == code
    assert client.get_plugin(plugin["id"])["description"] == "d"
    with pytest.raises(ClientError) as caught:
        v2.create_plugin({"code": code, "name": "other", "category": "export"})
    assert caught.value.code == "CONFLICT"
    with pytest.raises(ClientError, match="category: This field cannot be changed"):
        v2.update_plugin(plugin["id"], {"category": "export"})


def test_a_plugin_from_a_file(client, v2, code, package):
    """The bytes of the first release arrive."""
    data = {"code": code, "name": code, "category": "export", "source": "file", "version": "3.0.0"}
    made = v2.create_plugin(data, file=package)
    assert made["release"]["version"] == "3.0.0"
    assert v2.get_plugin_release(made["release"]["id"])["config"]["code"] == "p"


def test_jobs(client, v2, plugin, code):
    """A run of v1 is reported on and stopped by its UUID."""
    client.run_plugin(code, {"action": code, "parameters": {"emulator": {"seconds": 60}}})
    (job,) = v2.iterate_jobs({"action": code})
    assert v2.update_job(job["id"], {"meta": {"a": 1}})["meta"] == {"a": 1}
    assert v2.get_job(job["id"])["plugin_release_id"] == plugin["release"]["id"]
    assert v2.stop_job(job["id"], dry_run=True)["dry_run"] is True
    assert v2.stop_job(job["id"])["status"] == "STOPPED"
    with pytest.raises(ClientError) as caught:
        v2.stop_job(job["id"])
    assert caught.value.code == "INVALID_STATE"
    assert v2.list_job_console_logs(job["id"]) == []
    assert [one["type"] for one in v2.tail_job_console_logs(job["id"])] == ["connected", "complete"]
