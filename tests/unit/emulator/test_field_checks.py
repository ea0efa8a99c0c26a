"""Fields are cleaned as Django REST framework cleans them."""

from __future__ import annotations

import pytest

from synapse_apply.emulator.core.fields import ApiError, Body, Field, convert_sent_fields


def cleaned(field_type, value, *, is_form=False, **options):
    field = Field("f", field_type, **options)
    return convert_sent_fields([field], Body({"f": value}, is_form=is_form))["f"]


@pytest.mark.parametrize(
    ("field_type", "value", "expected"),
    [
        ("object", '{"a": 1}', {"a": 1}),
        ("texts", "one", ["one"]),
        ("texts", '["a", "b"]', ["a", "b"]),
        ("texts", ["a", "b"], ["a", "b"]),
        ("boolean", "True", True),
        ("text", ["first", "last"], "last"),
        ("percent", "50", 50),
        ("raw", "007", "007"),
    ],
)
def test_taken_from_forms(field_type, value, expected):
    """Texts become what the field wants; of repeated parts the last counts."""
    assert cleaned(field_type, value, is_form=True) == expected


@pytest.mark.parametrize(
    ("field_type", "value"),
    [
        ("text", None), ("text", True), ("text", {}), ("text", "a\0"), ("object", "x"),
        ("object", None), ("boolean", "maybe"), ("boolean", 1.0), ("boolean", None),
        ("integer", "1.0"), ("integer", True), ("integer", "9" * 30), ("texts", "a"),
        ("texts", [None]), ("percent", 101), ("percent", True), ("percent", "50"),
    ],
)  # fmt: skip
def test_refused_from_json(field_type, value):
    """400 under the field's name."""
    with pytest.raises(ApiError) as caught:
        cleaned(field_type, value)
    assert (caught.value.status, list(caught.value.body)) == (400, ["f"])


def test_required_blank_and_null():
    """Each has a text of its own."""
    field = Field("f", required=True)
    texts = set()
    for values in ({}, {"f": " "}, {"f": None}):
        with pytest.raises(ApiError) as caught:
            convert_sent_fields([field], Body(values))
        texts.add(caught.value.body["f"][0])
    assert len(texts) == 3
    assert convert_sent_fields([field], Body({}), partial=True) == {}
    assert cleaned("text", None, nullable=True) is None
