"""Live values as manifests: what is written reads back the same, secrets are never in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from synapse_apply.kinds.plugin import V1 as PLUGIN
from synapse_apply.kinds.storage import V1 as STORAGE
from synapse_apply.manifests.export import (
    ExportedManifest,
    Exporter,
    is_valid_name,
    make_unused_name,
    to_valid_name,
)
from synapse_apply.manifests.project.project import build_default_project
from synapse_apply.manifests.schemas import read_marks_of_storage_secrets
from synapse_apply.manifests.yaml.reader import read_documents
from synapse_apply.manifests.yaml.writing import format_document
from synapse_apply.model.address import Address

PROJECT = build_default_project(Path("/nowhere"))
EXPORTER = Exporter(PROJECT, PROJECT.targets["embedded"], read_marks_of_storage_secrets(), "x.json")
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["no", "1.10", "1e3", "~", "0x1f", "a: b", "# c", "- d", "|", "${var.x}"])
)
TREES = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(), below, max_size=4),
    max_leaves=20,
)


def plugin(**spec: Any) -> ExportedManifest:
    live = PLUGIN.decode({"id": 1, "name": "P", **spec}, read_marks_of_storage_secrets()).spec
    return EXPORTER.build_manifest(Address("plugin", "p"), live, {})


def storage(provider: str, configuration: Any) -> ExportedManifest:
    raw = {"id": 1, "name": "S", "provider": provider, "configuration": configuration}
    live = STORAGE.decode(raw, read_marks_of_storage_secrets()).spec
    return EXPORTER.build_manifest(Address("storage", "s"), live, {})


def configuration(made: ExportedManifest) -> Any:
    """As a reader of YAML 1.1 has it."""
    return yaml.safe_load(made.text)["spec"]["configuration"]


@given(st.dictionaries(st.text(), TREES, max_size=5))
def test_any_value_is_read_back_by_our_reader(tree: dict[str, Any]) -> None:
    """Written, read, its escapes taken away: the same, as is each type."""
    text = format_document({"apiVersion": "x", "tree": tree}, "s.json")
    reading = read_documents(text.encode("utf-8"), "a.yaml")
    assert not reading.diagnostics
    assert repr(_unescaped(reading.documents[0].value["tree"])) == repr(tree)


def _unescaped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unescaped(below) for key, below in value.items()}
    if isinstance(value, list):
        return [_unescaped(below) for below in value]
    return value.replace("$${", "${") if isinstance(value, str) else value


@pytest.mark.parametrize(
    "text", ["no", "on", "1.10", "1e3", "0755", "2026-01-01", "~", "=", "1:30"]
)
def test_texts_that_look_like_other_types_are_texts_for_older_readers(text: str) -> None:
    """YAML 1.1 would make a boolean, a number or a date of them."""
    assert configuration(plugin(configuration={"x": text})) == {"x": text}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"${var.x}": 1}, "a key of a manifest cannot contain"),
        ({"x" * 2000: 1}, "the key is too long"),
        ({"half": "\ud800"}, "half of a surrogate pair"),
        ({"nan": [float("nan")]}, "not a JSON number"),
        ({"long": 10**2000}, "too long"),
    ],
)
def test_what_a_manifest_cannot_hold_is_left_out_and_told(value: Any, why: str) -> None:
    """The rest is written."""
    made = plugin(configuration={**value, "rest": 1})
    assert [why in str(left) for left in made.left_out] == [True]
    assert configuration(made) == {"rest": 1}


def test_values_that_stand_too_deep_are_left_out() -> None:
    """Lists and maps; the reader takes only so many levels."""
    deep: Any = "end"
    for _ in range(80):
        deep = [deep]
    made = plugin(configuration={"deep": deep, "rest": 1})
    assert "too deep" in str(made.left_out[0])
    assert configuration(made) == {"rest": 1}


def test_a_field_that_the_schema_refuses_is_left_out() -> None:
    """A key that a known provider does not have; without one that it needs there is nothing."""
    made = storage("file_system", {"base_path": "/d", "colour": "red"})
    assert configuration(made) == {"base_path": "/d"}
    assert [str(left) for left in made.left_out] == [
        "configuration.colour: `colour` is not a field of `spec.configuration`"
    ]
    none = storage("amazon_s3", {"bucket_name": "********"})
    assert not none.text
    assert none.left_out


@given(st.lists(st.text(max_size=80), max_size=8))
def test_names_are_valid_and_no_two_are_the_same(texts: list[str]) -> None:
    """Whatever things are called, in whatever language."""
    taken: set[str] = set()
    for number, text in enumerate(texts):
        name = make_unused_name(text, str(number), "storage", taken)
        assert is_valid_name(name)
        assert name not in taken
        taken.add(name)


def test_names_are_near_to_what_things_are_called() -> None:
    """The first of several alike has the plain name, the others their ids."""
    assert make_unused_name("Raw Data!", "7", "storage", ()) == "raw-data"
    assert make_unused_name("raw data", "8", "storage", {"raw-data"}) == "raw-data-8"
    assert make_unused_name("저장소", "9", "storage", ()) == "storage-9"
    assert make_unused_name("a" * 90, "12", "storage", {"a" * 63}) == "a" * 60 + "-12"
    assert to_valid_name("Ünï", "x") == "n"


def test_no_two_secrets_share_a_variable() -> None:
    """Names that differ in signs alone, in one manifest and in another one."""
    exporter = Exporter(
        PROJECT, PROJECT.targets["embedded"], read_marks_of_storage_secrets(), "x.json"
    )
    token = "ghp_" + "a1B2c3D4e5" * 4
    spec = {"name": "P", "configuration": {"a-b": token, "a_b": token, "a": {"b": token}}}
    made = [exporter.build_manifest(Address("plugin", name), spec, {}) for name in ("x-y", "x.y")]
    variables = [one.variable for manifest in made for one in manifest.secrets]
    assert len(variables) == len(set(variables)) == 6
    assert variables[0].startswith("PLUGIN_X_Y_A_B")
    assert not any(token in manifest.text for manifest in made)


def test_a_secret_that_is_left_out_is_not_named() -> None:
    """A pointer to nothing would be a warning from the first day."""
    token = "ghp_" + "a1B2c3D4e5" * 4
    made = plugin(configuration={"${var.x}": token, "rest": 1})
    assert not made.secrets
    assert "sensitive" not in made.text
    assert token not in made.text
