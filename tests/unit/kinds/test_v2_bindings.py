"""Plugins and releases of API v2, found, made, changed and deleted as their Bindings say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from synapse_apply import BackendClient, EmbeddedServer
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.kinds.plugin import PLUGIN
from synapse_apply.kinds.plugin import V2 as PLUGIN_V2
from synapse_apply.kinds.release import RELEASE
from synapse_apply.kinds.release import V2 as RELEASE_V2
from synapse_apply.kinds.storage import STORAGE
from synapse_apply.kinds.wire import list_by_natural_key
from synapse_apply.live.live_reader import LiveReader
from synapse_apply.model.address import Address
from synapse_apply.model.errors import NotFound
from synapse_apply.model.resource import Capabilities, Desired
from synapse_apply.model.secrets.secret_marks import SecretMarks

SPEC = {"code": "yolo", "name": "Yolo", "category": "export", "description": "d"}
NONE = Capabilities()


@pytest.fixture
def api(tmp_path) -> Iterator[BackendClient]:
    with (
        EmbeddedServer(tmp_path / "data", token="t") as server,
        BackendClient(server.url, "t") as client,
    ):
        yield client


def found(api: Any, binding: Any, key: str) -> list[str]:
    return [hit.remote_id for hit in list_by_natural_key(api, binding, key, NONE, SecretMarks())]


def test_a_target_names_the_version_of_each_kind():
    """A kind without the version stays on the newest it has."""
    for kind, version in ((PLUGIN, "v2"), (RELEASE, "v2"), (STORAGE, "v1")):
        assert kind.select_newest_binding({"*": "v2"}).api == version
        assert kind.select_newest_binding({}).api == "v1"
    assert PLUGIN.select_newest_binding({"plugin": "v2"}).api == "v2"
    assert RELEASE.select_newest_binding({"plugin": "v2"}).api == "v1"


def test_a_release_of_a_plugin_that_no_list_shows_is_of_its_series(api, monkeypatch):
    """Its plugin is not listed, so that it has no code and no key; its version counts."""
    plugin = PLUGIN_V2.create_object(api, SPEC, "")
    monkeypatch.setattr(type(api.v2), "list_plugins", lambda _v2: [])
    declared = Desired(
        Address("release", "yolo@1.0.0"), {"plugin": str(plugin["id"]), "version": "1.0.0"}
    )
    reader = LiveReader(api, CATALOGUE, {"*": "v2"}, SecretMarks(), 1)
    members = reader.list_series_members(declared)
    assert [member.spec["version"] for member in members or ()] == ["0.0.0"]


def test_a_deleted_release_is_gone(api):
    """It is found no more, and to delete it again is to find nothing."""
    plugin = PLUGIN_V2.create_object(api, SPEC, "")
    release = str(plugin["release"]["id"])
    assert RELEASE_V2.delete_object is not None
    RELEASE_V2.delete_object(api, release)
    assert found(api, RELEASE_V2, "code=yolo@0.0.0") == []
    with pytest.raises(NotFound):
        RELEASE_V2.delete_object(api, release)
