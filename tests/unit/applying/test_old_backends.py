"""What a backend answers that has less than the page: said so that one knows what to do."""

from __future__ import annotations

from typing import Any

import pytest
from unit.applying.bench import Bench, plugin, told
from unit.applying.scripted import refused

from synapse_apply import RemoteError
from synapse_apply.applying import messages
from synapse_apply.applying.step import Step
from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.model.plan import Action, Change
from synapse_apply.model.secrets.secret_marks import SecretMarks


@pytest.mark.parametrize("prefix", ["plugin", "release"])
@pytest.mark.parametrize("action", [Action.CREATE, Action.UPDATE])
@pytest.mark.parametrize(("api", "status"), [("v2", 405), ("v1", 405), ("v2", 404)])
def test_a_v2_that_only_reads_is_said_so(prefix, action, api, status):
    """With the line of the project file; of any other answer it is not claimed."""
    kind = CATALOGUE[prefix]
    declared = plugin()
    task = Step(Change(declared.address, action), kind, kind.bindings[api], desired=declared)
    failure = RemoteError("405", status_code=status)
    hint = messages.failed(task, failure, SecretMarks({})).hint
    assert ("API v2 is read-only: use API v1" in hint) is ((api, status) == ("v2", 405))
    assert ("api: {plugin: v1, release: v1}" in hint) is ((api, status) == ("v2", 405))


FILTERS: list[Any] = [
    {"plugin": ["Select a valid choice."]},
    {"plugin": "odd"},
    {"detail": [{"loc": ["query", "plugin"], "msg": "odd"}]},
]


def refuses_filter(bench: Bench, error: RemoteError) -> None:
    def listed(_code: str) -> Any:
        raise error

    bench.api.list_plugin_releases = listed  # type: ignore[method-assign]


@pytest.mark.parametrize("detail", FILTERS)
@pytest.mark.parametrize("prefix", ["plugin", "release"])
def test_a_refused_filter_by_an_unknown_code_is_none(bench, detail, prefix):
    """No plugin has the code, so that none of its releases is there."""
    refuses_filter(bench, refused(400, detail))
    binding = CATALOGUE[prefix].bindings["v1"]
    if prefix == "plugin":
        assert binding.find_by_key is not None
        assert list(binding.find_by_key(bench.api, "code=yolo")) == []
    else:
        assert binding.list_members_or_none is not None
        owner = (
            CATALOGUE["plugin"].bindings["v1"].decode({"id": 1, "code": "yolo"}, SecretMarks({}))
        )
        assert list(binding.list_members_or_none(bench.api, owner) or ()) == []


@pytest.mark.parametrize(
    "error",
    [
        refused(400, {"detail": "no tenant"}),
        refused(400, {"plugin": ["odd"], "page_size": ["odd"]}),
        refused(403, {"plugin": ["odd"]}),
        refused(400, None),
    ],
    ids=str,
)
def test_any_other_refusal_of_the_list_is_an_error(bench, error):
    """It says nothing of what is there."""
    refuses_filter(bench, error)
    find = CATALOGUE["plugin"].bindings["v1"].find_by_key
    assert find is not None
    with pytest.raises(RemoteError):
        find(bench.api, "code=yolo")


@pytest.mark.parametrize("named", ["source", "data_type", "file"])
def test_a_backend_that_wants_a_first_release_says_so(bench, named):
    """The field is in no manifest of a plugin: what it belongs to is told, and the ways out."""
    bench.api.fail("create_plugin", refused(400, {named: ["This field is required."]}))
    words = told(bench.apply(plugin()))
    assert f"{named}: This field is required." in words
    assert "input of the plugin's first release" in words
    assert "`api: {plugin: v2, release: v2}`" in words


def test_other_refused_fields_have_nothing_to_do_with_it(bench):
    bench.api.fail("create_plugin", refused(400, {"name": ["This field is required."]}))
    assert "first release" not in told(bench.apply(plugin()))
