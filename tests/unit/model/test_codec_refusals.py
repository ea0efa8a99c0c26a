"""What cannot be written, and what is not read."""

from __future__ import annotations

from typing import Any

import pytest

from synapse_apply import Plan
from synapse_apply.model import codec
from synapse_apply.model.address import Address
from synapse_apply.model.json_values import value_from_json, value_to_json
from synapse_apply.model.plan import PlanBase
from synapse_apply.model.state import BackendIdentity, Record
from synapse_apply.model.values import DesiredSecret, SecretRef, Sensitive

CANARY = "c4n4ry"
PLAN = codec.plan_to_json(Plan("p", "t", "v", PlanBase("prod", BackendIdentity("u"), "l", 3)))
RECORD = codec.record_to_json(Record(Address("plugin", "a"), "1", "v1", applied={("k",): [1]}))


@pytest.mark.parametrize(
    "secret",
    [
        Sensitive(CANARY),
        SecretRef("env", CANARY),
        SecretRef("literal", literal=Sensitive(CANARY)),
        DesiredSecret(SecretRef("env", CANARY)),
    ],
)
def test_a_secret_is_refused_wherever_it_stands(secret):
    """The refusal says neither the value nor where it came from."""
    for value in (secret, [secret], {"a": {"b": [secret]}}):
        with pytest.raises(TypeError) as caught:
            codec.fields_to_json({("k",): value})
        assert str(caught.value) == "a secret is never stored"
    with pytest.raises(TypeError) as caught:
        codec.record_to_json(Record(Address("plugin", "a"), secret, "v1"))
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("value", [object(), {1: 2}, {"a": b"x"}, {1, 2}, 1j])
def test_what_is_no_json_is_refused_when_it_is_written(value):
    """Not when it is read back, when it is too late."""
    with pytest.raises(TypeError):
        value_to_json(value)


@pytest.mark.parametrize(
    "more",
    [
        {"remote_id": 5},
        {"api": None},
        {"applied": {("list", 0): 1}},
        {"applied": [1]},
        {"protected": 1},
        {"depends_on": ("plugin/a",)},
        {"address": "plugin/a"},
        {"files": {"a": 1}},
    ],
)
def test_a_wrong_type_is_refused_when_it_is_written(more):
    """A state that cannot be read again would be lost."""
    record: dict[str, Any] = {"address": Address("plugin", "a"), "remote_id": "1", "api": "v1"}
    with pytest.raises(TypeError):
        codec.record_to_json(Record(**{**record, **more}))


def test_what_a_newer_minor_version_added_is_ignored():
    """And what it left out has its default."""
    data = {**RECORD, "colour": "red"}
    del data["salt"]
    assert codec.record_from_json(data) == codec.record_from_json(RECORD)
    assert codec.plan_from_json({**PLAN, "mood": 1}) == codec.plan_from_json(PLAN)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"remote_id": 5}, "remote_id: expected a string, found an integer"),
        ({"applied": []}, "applied: expected an object, found a list"),
        ({"applied": {"k": 1}}, "applied.k: expected a JSON Pointer"),
        ({"applied": {"/k": [{"$mac": 1}]}}, "applied./k[0].$mac: expected a string, found null"),
        ({"applied": {"/k": {"$new": 1}}}, "applied./k: a marker this version does not know"),
        ({"seen": {"/k": {"$int": "zz"}}}, "seen./k.$int: expected a number"),
        ({"seen": {"/k": {"$map": []}}}, "seen./k.$map: expected an object, found a list"),
        ({"depends_on": ["a/b", "nothing"]}, "depends_on[1]: expected an address, KIND/NAME"),
        ({"protected": 0}, "protected: expected a truth, found an integer"),
        ({"address": None}, "address: expected a string, found null"),
        ({"digest": 1}, "digest: expected a string, found an integer"),
    ],
)
def test_a_wrong_shape_says_where_and_what_was_expected(change, words):
    """And never what stood there."""
    with pytest.raises(ValueError, match=r"expected|marker") as caught:
        codec.record_from_json({**RECORD, **change})
    assert str(caught.value) == words


@pytest.mark.parametrize("data", [None, [], "x", {}, {"format": True}, {"format": "1"}])
def test_what_is_no_plan_is_refused(data):
    """Every other document, too."""
    with pytest.raises(ValueError, match=r"not a plan|missing|expected"):
        codec.plan_from_json(data)


def test_a_newer_plan_is_refused_by_its_number():
    """Before anything else in it is looked at."""
    with pytest.raises(ValueError, match=r"newer version \(format 2\)"):
        codec.plan_from_json({"format": 2})


def test_what_a_plan_lacks_is_named():
    """All of it at once."""
    with pytest.raises(ValueError, match="base, created, id, tool_version missing"):
        codec.plan_from_json({"format": 1})
    wrong = {**PLAN, "changes": [{"address": "plugin/a", "action": "destroy"}]}
    with pytest.raises(ValueError, match=r"changes\[0\].action: expected one of create, adopt"):
        codec.plan_from_json(wrong)


def test_a_bottomless_value_is_refused_in_words():
    """Not by a traceback."""
    tower: Any = []
    for _ in range(100_000):
        tower = [tower]
    with pytest.raises(ValueError, match="nested too deeply"):
        codec.fields_to_json({("k",): tower})
    with pytest.raises(ValueError, match="nested too deeply"):
        codec.fields_from_json({"/k": tower})
    while tower:
        tower = tower.pop()


def test_plain_json_is_itself():
    """A reader of a state needs to know nothing of us."""
    plain = {"a": [1, 2.5, True, None, "x", {}, []], "b": {"c": "d"}}
    assert value_to_json(plain) == plain
    assert value_from_json(plain) == plain
