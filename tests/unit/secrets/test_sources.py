"""Each source of secrets says all of itself, so that nothing else asks which one it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from installed import ROOT

from synapse_apply.model.errors import SecretUnavailable
from synapse_apply.model.project import Target, collect_credentials
from synapse_apply.model.values import SecretRef
from synapse_apply.secret_sources.catalogue import SECRET_SOURCES
from synapse_apply.secret_sources.source import (
    RunMemo,
    SecretSource,
    SourceContext,
    build_reference_or_none_if_malformed,
    raise_unavailable,
)

PARTS = json.loads((ROOT / "schemas" / "v1" / "parts.schema.json").read_text("utf-8"))
MAPPING = SecretSource(
    "vault",
    "{valueFrom: {vault: {path: a, key: b}}}",
    lambda ref, _context: ref.get_argument_or_empty("key"),
    required_keys=("path", "key"),
    optional_keys=("version",),
)


def test_the_schema_has_the_sources_of_the_catalogue() -> None:
    """Each may be written, and one of them must be."""
    schema = PARTS["$defs"]["valueFrom"]["properties"]["valueFrom"]
    assert list(schema["properties"]) == [*SECRET_SOURCES, "format"]
    assert schema["oneOf"] == [{"required": [name]} for name in SECRET_SOURCES]


@pytest.mark.parametrize("source", SECRET_SOURCES.values(), ids=lambda source: source.name)
def test_no_source_reads_anything_for_the_check_of_a_manifest(source: SecretSource) -> None:
    """In a folder that does not exist, without a variable."""
    argument = dict.fromkeys(source.required_keys, "a") or "A"
    ref = build_reference_or_none_if_malformed(source, argument, "text")
    assert ref is not None
    assert ref.source == source.name
    source.find_denial(ref, SourceContext(Path("/does/not/exist")))


@pytest.mark.parametrize(
    "argument",
    ["a", None, [], {}, {"path": "a"}, {"path": "a", "key": ""}, {"path": "a", "key": True},
     {"path": "a", "key": ["b"]}, {"path": "a", "key": "b", "other": "c"}],
)  # fmt: skip
def test_a_mapping_needs_its_keys_and_no_others(argument: object) -> None:
    """Also where no schema has looked at it."""
    assert build_reference_or_none_if_malformed(MAPPING, argument, "text") is None


def test_references_differ_by_all_that_they_name() -> None:
    """Else one value would be taken for another's."""
    one = build_reference_or_none_if_malformed(
        MAPPING, {"path": "a", "key": "b", "version": 3}, "text"
    )
    other = build_reference_or_none_if_malformed(
        MAPPING, {"path": "a", "key": "b", "version": 4}, "text"
    )
    assert one is not None
    assert other is not None
    assert one.identity != other.identity
    assert one.get_argument_or_empty("version") == "3"
    assert SecretRef("env", "A").identity == ("env", "A", "text")


def test_a_failure_is_not_tried_again_in_a_run() -> None:
    """A server that refuses is asked once, and every secret of it says why."""
    calls = []

    def fail() -> None:
        calls.append(1)
        raise_unavailable("Secret not available", "it is refused", "Ask for it.")

    memo = RunMemo()
    for _ in range(2):
        with pytest.raises(SecretUnavailable) as caught:
            memo.get_or_make("a", fail)
        assert caught.value.diagnostics[0].detail == "it is refused"
    assert calls == [1]


def test_what_opens_a_source_is_closed_to_manifests() -> None:
    """At any depth of the target's block."""
    settings = {
        "sops": {"age": {"env": "Age_Key"}, "aws_kms": {"secret": {"env": "S"}, "keys": []}}
    }
    reserved = collect_credentials({"prod": Target("prod", source_settings=settings)})
    assert reserved.variables["AGE_KEY"] == "targets.prod.sops.age"
    assert reserved.variables["S"] == "targets.prod.sops.aws_kms.secret"
