"""What the embedded backend covers is what the schemas mark."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from synapse_apply.emulator.storages import MASK, SECRET_KEYS, redact_configuration

PROVIDERS = sorted((Path(__file__).parents[3] / "schemas" / "v1" / "providers").glob("*.json"))


@pytest.mark.parametrize("path", PROVIDERS, ids=lambda path: path.name.partition(".")[0])
def test_secret_keys_are_those_of_the_schema(path):
    """Key by key; a provider that is secret as a whole has no keys of its own."""
    schema = json.loads(path.read_text(encoding="utf-8"))
    provider = path.name.removesuffix(".schema.json")
    if schema.get("x-secret"):
        assert provider not in SECRET_KEYS
        return
    declared = schema["properties"]
    marked = {key for key, rules in declared.items() if rules.get("x-secret")}
    assert marked == SECRET_KEYS[provider] & set(declared)


@pytest.mark.parametrize("provider", ["amazon_s3", "azure"])
@pytest.mark.parametrize(
    ("secrets", "shown"), [("plain", "x"), ("omitted", None), ("masked", MASK)]
)
def test_a_configuration_that_is_no_object_is_shown(provider, secrets, shown):
    """An edit from outside may leave anything there: an answer, not a fault of the server."""
    assert redact_configuration(provider, "x", secrets) == shown
