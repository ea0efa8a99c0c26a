"""Who an object is: natural keys, and what a search by them finds and proves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from unit.applying.scripted import ScriptedApi, refused

from synapse_apply.kinds.plugin import LIST_CAPABILITY, PLUGIN
from synapse_apply.kinds.plugin import V1 as PLUGIN_V1
from synapse_apply.kinds.release import RELEASE
from synapse_apply.kinds.release import V1 as RELEASE_V1
from synapse_apply.kinds.storage import V1 as STORAGE_V1
from synapse_apply.kinds.wire import list_by_natural_key
from synapse_apply.model.address import Address
from synapse_apply.model.resource import Capabilities, Lookup
from synapse_apply.model.secrets.secret_marks import SecretMarks
from synapse_apply.model.values import Reference

NONE, LISTED = Capabilities(), Capabilities({LIST_CAPABILITY: True})


@pytest.fixture
def api() -> ScriptedApi:
    return ScriptedApi()


def found(api: Any, binding: Any, key: str, capabilities: Capabilities = NONE) -> list[str]:
    return [
        hit.remote_id for hit in list_by_natural_key(api, binding, key, capabilities, SecretMarks())
    ]


def test_what_a_miss_proves():
    """A storage's name and a release's code@version: absence; a plugin's code: nothing."""
    assert STORAGE_V1.determine_search_proof("name=x", NONE) is Lookup.COMPLETE
    assert RELEASE_V1.determine_search_proof("code=x@1", NONE) is Lookup.COMPLETE
    assert PLUGIN_V1.determine_search_proof("code=x", NONE) is Lookup.POSITIVE
    assert PLUGIN_V1.determine_search_proof("name=x", NONE) is Lookup.NONE
    assert PLUGIN_V1.determine_search_proof("code=x", LISTED) is Lookup.COMPLETE
    assert PLUGIN_V1.determine_search_proof("name=x", LISTED) is Lookup.COMPLETE
    assert PLUGIN_V1.determine_search_proof("", LISTED) is Lookup.NONE


def test_a_plugin_that_is_hidden_is_not_found(api):
    """A release may outlive what this token can see of its plugin."""
    api.create_plugin({"name": "n", "code": "c"})
    api.create_plugin_release({"plugin": 1, "version": "1"})
    api.fail("get_plugin", refused(404))
    assert found(api, PLUGIN_V1, "code=c") == []


def test_the_newest_binding_up_to_what_the_target_names():
    """A kind without the target's version uses the newest older one."""
    one = replace(PLUGIN, bindings={"v1": PLUGIN_V1})
    assert one.select_newest_binding({"*": "v2"}).api == "v1"
    two = replace(PLUGIN, bindings={"v1": PLUGIN_V1, "v2": replace(PLUGIN_V1, api="v2")})
    assert two.select_newest_binding({"*": "v2"}).api == "v2"
    assert two.select_newest_binding({"*": "v2", "plugin": "v1"}).api == "v1"
    assert two.select_newest_binding({}).api == "v1"


def test_the_place_of_a_release_in_its_series():
    """By the plugin's address, or by its id where a manifest names that."""
    spec = {"plugin": Reference(Address("plugin", "p")), "version": "1"}
    assert RELEASE.locate_in_series(spec) == ("plugin/p", "1")
    assert RELEASE.locate_in_series({"plugin": "12", "version": "1"}) == ("id=12", "1")
    assert PLUGIN.locate_in_series({"name": "n"}) == ("", "")
