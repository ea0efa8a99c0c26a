"""What each kind sends of the fields that a manifest declares: all of them, as they are."""

from __future__ import annotations

import pytest

from synapse_apply.kinds.catalogue import CATALOGUE

EVERY_KIND_AND_VERSION = [
    pytest.param(kind, binding, id=f"{kind.prefix}-{binding.api}")
    for kind in CATALOGUE.values()
    for binding in kind.bindings.values()
]


def declared_fields(kind, binding, value):
    """Each field with this value, and references as ids; without what only a final call sets."""
    final = binding.final_call.name if binding.final_call else None
    return {
        name: "17" if kind.rules[name].references else value
        for name in binding.fields
        if name != final
    }


def as_sent(kind, spec):
    """The same with ids as the API takes them."""
    return {name: 17 if kind.rules[name].references else value for name, value in spec.items()}


@pytest.mark.parametrize(("kind", "binding"), EVERY_KIND_AND_VERSION)
def test_the_platforms_form_takes_no_field_away(kind, binding):
    """It changes how a field is written; what was declared below one is still there."""
    spec = declared_fields(kind, binding, {"key": "value"})
    key = "code=yolo@{'key': 'value'}"
    body = {**binding.encode(spec), **binding.encode_for_platform(spec, key)}
    for name, value in as_sent(kind, spec).items():
        sent = body[name]
        assert kind.rules[name].references or value.items() <= sent.items(), name
