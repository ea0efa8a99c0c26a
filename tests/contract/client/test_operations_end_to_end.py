"""The operations against the embedded backend, over real HTTP."""

from __future__ import annotations

import uuid

import pytest

from synapse_apply import ClientError


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
    with pytest.raises(ClientError) as caught:
        client.create_plugin({"name": "Plugin", "code": code})
    assert caught.value.status_code in (400, 409)


def test_a_refused_storage_says_which_field(client):
    """The server's words about open fields are in the message, and no value is."""
    with pytest.raises(ClientError, match="provider: ") as caught:
        client.create_storage({"name": "s", "configuration": {"secret_access_key": "s3cr3t"}})
    assert caught.value.status_code == 400
    assert "s3cr3t" not in str(caught.value)
