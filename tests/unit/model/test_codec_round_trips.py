"""What is written is read back as it was, for every value."""

from __future__ import annotations

import json
import math
import os

import pytest
from hypothesis import HealthCheck, given, settings
from unit.model.plan_values import of, texts, values

from synapse_apply import Plan
from synapse_apply.model import codec
from synapse_apply.model.address import Address
from synapse_apply.model.json_values import format_canonical_json, value_from_json, value_to_json
from synapse_apply.model.plan import Action, Cause, Change, FieldChange, PlanBase
from synapse_apply.model.state import AuditEntry, BackendIdentity, Intent, Record, State
from synapse_apply.model.values import ABSENT, Fields, KnownAfterApply, Mac

few = settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
laws = settings(few, max_examples=1000 if os.environ.get("SYNAPSE_APPLY_TEST_DEEP") else 10)
SORTS = {
    Plan: (codec.plan_to_json, codec.plan_from_json),
    Change: (codec.change_to_json, codec.change_from_json),
    Record: (codec.record_to_json, codec.record_from_json),
    Intent: (codec.intent_to_json, codec.intent_from_json),
    AuditEntry: (codec.audit_entry_to_json, codec.audit_entry_from_json),
    State: (codec.state_to_json, codec.state_from_json),
    Fields: (codec.fields_to_json, codec.fields_from_json),
}


def same(left, right):
    """Equal in value and in type all the way down: Python calls 1, 1.0 and True equal."""
    return left == right and repr(left) == repr(right)


def through_text(data):
    """As a file or a database column would carry it."""
    return json.loads(format_canonical_json(data).encode("ascii"))


@pytest.mark.deep
@pytest.mark.parametrize("sort", SORTS, ids=lambda sort: getattr(sort, "__name__", "Fields"))
def test_every_sort_of_value_comes_back(sort):
    """Through the text that a file or a database column holds."""
    to_json, from_json = SORTS[sort]

    @laws
    @given(of(sort))
    def law(value):
        assert from_json(through_text(to_json(value))) == value

    law()


@few
@given(values)
def test_a_value_keeps_its_types(value):
    """1, 1.0 and true are three values; so are 0 and -0.0."""
    data = value_to_json(value)
    back = value_from_json(json.loads(json.dumps(data)))
    assert same(back, value)


@few
@given(values, values)
def test_equal_values_have_one_text(one, other):
    """The text can stand for the value when two are compared."""
    texts_equal = format_canonical_json(value_to_json(one)) == format_canonical_json(
        value_to_json(other)
    )
    assert not texts_equal or one == other
    assert format_canonical_json(value_to_json(one)) == format_canonical_json(value_to_json(one))


@few
@given(texts, texts)
def test_a_map_of_ours_is_told_from_a_marker(key, value):
    """A user's map may have any key, `$mac` too."""
    for tree in ({key: value}, {"$mac": key, "key_id": value}, [{"$absent": True}]):
        assert value_from_json(through_text(value_to_json(tree))) == tree


@pytest.mark.parametrize("number", [math.inf, -math.inf, 5e-324, -0.0])
def test_odd_numbers_come_back(number):
    """What JSON or Python's decimal printing has no room for is kept exactly."""
    assert same(value_from_json(through_text(value_to_json(number))), number)


def test_very_long_integers_come_back():
    """Python prints none of more than 4300 digits in decimal."""
    for number in (10**9999, -(2**20_000)):
        assert value_from_json(through_text(value_to_json([number]))) == [number]


def test_not_a_number_comes_back():
    """It equals nothing, itself least of all."""
    assert math.isnan(value_from_json(through_text(value_to_json(math.nan))))


def test_the_written_form_is_what_states_hold():
    """A change here is a change of the stored format."""
    record = Record(Address("plugin", "a"), "1", "v1", applied={("c/d", "k"): Mac("id", "ff")})
    data = codec.record_to_json(record)
    assert data["address"] == "plugin/a"
    assert data["applied"] == {"/c~1d/k": {"$mac": "ff", "key_id": "id"}}
    change = FieldChange(
        ("list", 0, "0"), ABSENT, KnownAfterApply(Address("plugin", "a")), Cause.GIT
    )
    plan = Plan(
        "p",
        "t",
        "v",
        PlanBase("prod", BackendIdentity("u"), "l", 3),
        changes=(Change(Address("release", "a@1"), Action.CREATE, fields=(change,)),),
    )
    written = codec.plan_to_json(plan)
    assert written["format"] == 1
    assert written["changes"][0]["fields"][0] == {
        "path": ["list", 0, "0"],
        "before": {"$absent": True},
        "after": {"$known_after_apply": "plugin/a"},
        "cause": "git",
        "sensitive": False,
        "note": "",
        "inside": [],
    }
