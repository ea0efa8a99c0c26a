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
from synapse_apply.kinds.wire import list_by_natural_key, list_raw_objects
from synapse_apply.model.address import Address
from synapse_apply.model.errors import RemoteError
from synapse_apply.model.resource import Capabilities, Lookup, Observed
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


def test_natural_keys():
    """A plugin's code before its name; a release needs the live plugin's code."""
    assert PLUGIN.derive_natural_key({"name": "n", "code": "c"}, {}) == "code=c"
    assert PLUGIN.derive_natural_key({"name": "n"}, {}) == "name=n"
    assert PLUGIN.derive_natural_key({}, {}) == ""
    spec = {"plugin": Reference(Address("plugin", "p")), "version": "1"}
    assert RELEASE.derive_natural_key(spec, {}) == ""
    assert RELEASE.derive_natural_key(spec, {"plugin": Observed("1", "v1", {})}) == ""
    assert (
        RELEASE.derive_natural_key(spec, {"plugin": Observed("1", "v1", {"code": "c"})})
        == "code=c@1"
    )


def test_what_a_miss_proves():
    """A storage's name and a release's code@version: absence; a plugin's code: nothing."""
    assert STORAGE_V1.determine_search_proof("name=x", NONE) is Lookup.COMPLETE
    assert RELEASE_V1.determine_search_proof("code=x@1", NONE) is Lookup.COMPLETE
    assert PLUGIN_V1.determine_search_proof("code=x", NONE) is Lookup.POSITIVE
    assert PLUGIN_V1.determine_search_proof("name=x", NONE) is Lookup.NONE
    assert PLUGIN_V1.determine_search_proof("code=x", LISTED) is Lookup.COMPLETE
    assert PLUGIN_V1.determine_search_proof("name=x", LISTED) is Lookup.COMPLETE
    assert PLUGIN_V1.determine_search_proof("", LISTED) is Lookup.NONE


def test_a_plugin_is_found_by_a_release_of_its_code(api):
    """The release leads to its plugin, which must really have that code."""
    api.create_plugin({"name": "n", "code": "c"})
    assert found(api, PLUGIN_V1, "code=c") == []
    api.create_plugin_release({"plugin": 1, "version": "1"})
    assert found(api, PLUGIN_V1, "code=c") == ["1"]
    assert found(api, PLUGIN_V1, "code=other") == []


def test_a_plugin_that_is_hidden_is_not_found(api):
    """A release may outlive what this token can see of its plugin."""
    api.create_plugin({"name": "n", "code": "c"})
    api.create_plugin_release({"plugin": 1, "version": "1"})
    api.fail("get_plugin", refused(404))
    assert found(api, PLUGIN_V1, "code=c") == []


def test_a_search_that_fails_is_an_error_and_no_absence(api):
    """Only 404 and 405 on a list that may not exist mean no."""
    api.fail("list_storage", refused(500))
    with pytest.raises(RemoteError):
        found(api, STORAGE_V1, "name=x")
    api.fail("list_storage", refused(404))
    with pytest.raises(RemoteError):
        list_raw_objects(api, STORAGE_V1)
    assert list_raw_objects(api, PLUGIN_V1) is None


def test_items_of_a_list_may_be_short(api):
    """Each hit is read whole, unless the list gives whole objects."""
    api.create_storage({"name": "x", "configuration": {"a": 1}})
    api.create_storage({"name": "y"})
    api.calls.clear()
    assert found(api, STORAGE_V1, "name=x") == ["1"]
    assert api.calls == ["list_storage", "get_storage"]
    api.calls.clear()
    assert found(api, replace(STORAGE_V1, lists_whole_objects=True), "name=x") == ["1"]
    assert api.calls == ["list_storage"]


def test_names_match_exactly(api):
    """No case folding, no trimming, no prefix."""
    for name in ("Raw", "raw ", "raw-1"):
        api.create_storage({"name": name})
    assert found(api, STORAGE_V1, "name=raw") == []
    assert found(api, STORAGE_V1, "name=raw ") == ["2"]


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
