"""The operations against the embedded backend, over real HTTP."""

from __future__ import annotations

import io
import uuid

import pytest
from support.core import (
    AuthenticationError,
    BackendClient,
    ClientError,
    ConflictError,
    NotFoundError,
    ValidationError,
)


@pytest.fixture
def code() -> str:
    return f"p-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def plugin(client, code):
    return client.create_plugin({"name": "Plugin", "code": code})


def test_plugins(client, plugin, code):
    """Created, read, updated in part, and not listed by this backend."""
    assert client.get_plugin(plugin["id"])["code"] == code
    assert client.update_plugin(plugin["id"], {"description": "d"})["description"] == "d"
    assert client.get_plugin(plugin["id"])["name"] == "Plugin"
    assert client.ask_server_if_it_lists_plugins() is False
    with pytest.raises((ConflictError, ValidationError)):
        client.create_plugin({"name": "Plugin", "code": code})


@pytest.mark.parametrize("how", ["id", "code"])
def test_releases(client, plugin, code, package, how):
    """Uploaded for a plugin's id or code, found by id, by lookup and in the plugin's list."""
    data = {"plugin": plugin["id"] if how == "id" else code, "version": "1.0.0", "is_stable": True}
    made = client.create_plugin_release({**data, "file": package})
    assert made["version"] == "1.0.0"
    assert client.get_plugin_release(made["id"])["plugin"] == plugin["id"]
    found = client.get_plugin_release_by_lookup(f"{code}@1.0.0")
    assert (found["id"], found["plugin"]["code"]) == (made["id"], code)
    assert client.get_plugin_release_by_lookup(str(made["id"]))["version"] == "1.0.0"
    assert [r["id"] for r in client.list_plugin_releases(code)] == [made["id"]]
    with pytest.raises(ConflictError):
        client.create_plugin_release({**data, "file": package})


def test_uploaded_bytes_arrive(client, plugin):
    """A larger package comes through whole."""
    blob = bytes(range(256)) * 8192
    data = {
        "plugin": plugin["id"],
        "version": "2",
        "config": {"a": [1]},
        "requirements": ["x", "y"],
    }
    made = client.create_plugin_release({**data, "file": io.BytesIO(blob)})
    read = client.get_plugin_release(made["id"])
    assert (read["config"], read["requirements"]) == ({"a": [1]}, ["x", "y"])


def test_many_pages_of_releases(client, plugin, code, package):
    """Links of the server lead from page to page, and the filter stays."""
    versions = [f"1.0.{n}" for n in range(5)]
    for version in versions:
        client.create_plugin_release({"plugin": code, "version": version, "file": package})
    found = client.iterate("plugin_releases", {"plugin": code, "page_size": 2})
    assert sorted(release["version"] for release in found) == versions


def test_jobs(client, plugin):
    """Run, read, list with a filter and a count, report, read the logs."""
    job = client.run_plugin(plugin["id"], {"parameters": {"a": 1}, "context": {"b": 2}})
    again = client.run_plugin(plugin["code"], {"params": {"a": 1}, "action": "train"})
    jobs, total = client.list_jobs(params={"plugin": plugin["id"], "page_size": 1})
    assert (len(jobs), total) == (1, 2)
    found = {j["id"] for j in client.iterate_jobs({"plugin": plugin["id"], "page_size": 1})}
    assert found == {job["job_id"], again["job_id"]}
    client.update_job(job["job_id"], {"status": "completed", "result": {"x": 1}})
    read = client.get_job(job["job_id"], params={"expand": "logs,result"})
    assert read["status"] == "completed"
    assert isinstance(client.list_job_console_logs(job["job_id"]), list)


def test_storages(client):
    """Created with secrets, read with its configuration, found in the list."""
    configuration = {"bucket_name": "b", "access_key_id": "a", "secret_access_key": "s"}
    data = {"name": uuid.uuid4().hex, "provider": "amazon_s3", "configuration": configuration}
    made = client.create_storage(data)
    assert client.get_storage(made["id"])["configuration"] == configuration
    assert made["id"] in {s["id"] for s in client.list_storages()}


def test_a_refused_storage_says_which_field(client):
    """The server's words about open fields are in the message, and no value is."""
    with pytest.raises(ValidationError, match="provider: ") as caught:
        client.create_storage({"name": "s", "configuration": {"secret_access_key": "s3cr3t"}})
    assert "s3cr3t" not in str(caught.value)


def test_what_is_not_there(client):
    """404 of the API is NotFoundError, for ids and for lookups."""
    for call in (client.get_plugin, client.get_job, client.get_storage, client.get_plugin_release):
        with pytest.raises(NotFoundError):
            call(999_999)
    with pytest.raises(NotFoundError):
        client.get_plugin_release_by_lookup("no-such@1.0.0")
    with pytest.raises(NotFoundError):
        client.health_check_agent("no-such-agent")


def test_a_wrong_token(backend_url):
    """401, in which the token is not quoted."""
    stranger = BackendClient(backend_url, "wrong-token")
    with stranger, pytest.raises(AuthenticationError) as caught:
        stranger.list_storages()
    assert "wrong-token" not in str(caught.value)


def test_a_path_that_is_no_apis(backend_url):
    """A base URL with a wrong prefix is an error, whatever the server answers."""
    lost = BackendClient(f"{backend_url}/nowhere", "contract-token")
    with lost, pytest.raises(ClientError) as caught:
        lost.list_storages()
    assert caught.value.status_code == 404
