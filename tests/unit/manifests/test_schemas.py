"""The schemas: described, self-contained, one source of secret marks, and two validators agree."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from laws.effort import effort
from unit.manifests.corpus import FOLDER, read_case
from unit.manifests.test_reader_never_raises import MANIFEST, PROJECT

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.manifests import schemas
from synapse_apply.manifests.yaml.reader import read_documents
from synapse_apply.model.errors import InputError

KINDS = ("plugin", "release", "storage")
OURS = ("manifest", "parts", "project", *KINDS)
NAMES = [
    name for name in schemas.list_schema_names() if name in OURS or name.startswith("providers/")
]


def fields(node: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Every field a schema describes, with its place."""
    if isinstance(node, dict):
        for name, field in node.get("properties", {}).items():
            if "then" not in at:
                yield f"{at}.{name}", field
        for key, below in node.items():
            yield from fields(below, f"{at}.{key}")
    elif isinstance(node, list):
        for below in node:
            yield from fields(below, at + "[]")


@pytest.mark.parametrize("name", NAMES)
def test_every_field_is_described(name: str) -> None:
    """An editor shows a text on each."""
    schema = json.loads(
        (schemas.choose_schema_folder() / f"{name}.schema.json").read_text(encoding="utf-8")
    )
    conditions = (".if.", ".not.", ".allOf[]")
    bare = [
        at for at, field in fields(schema)
        if not any(part in at + "." for part in conditions) and not field.get("description")
    ]  # fmt: skip
    assert bare in ([], [".$defs.valueFrom.valueFrom"])


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_stands_alone(name: str) -> None:
    """Bundled, it refers to nothing outside itself and is a schema of its draft."""
    text = schemas.format_schema(name)
    Draft202012Validator.check_schema(json.loads(text))
    assert "schema.json#" not in text.replace("json-schema.org", "")
    assert all(ref.startswith("#/") for ref in refs(json.loads(text)))


def refs(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for below in node.values():
            yield from refs(below)
    elif isinstance(node, list):
        for below in node:
            yield from refs(below)


def test_an_unknown_schema_is_an_error() -> None:
    """With the names there are."""
    with pytest.raises(InputError) as caught:
        schemas.format_schema("../pyproject")
    assert "manifest" in caught.value.diagnostics[0].hint


def test_an_editor_lets_a_variable_stand_for_a_number_and_we_do_not() -> None:
    """The file schema takes `${var.x}`; once variables have values nothing else fits."""
    document = read_documents(MANIFEST, "f").documents[0].value
    document["spec"]["is_stable"] = "${var.stable}"
    document["spec"]["version"] = "${var.version}"
    assert Draft202012Validator(schemas.bundle_schema_with_referenced_files("manifest")).is_valid(
        document
    )
    assert not schemas.compile_validator("release").is_valid(document)
    document["spec"]["is_stable"] = "yes"
    assert not Draft202012Validator(
        schemas.bundle_schema_with_referenced_files("manifest")
    ).is_valid(document)


def test_schemas_and_kinds_know_the_same_fields() -> None:
    """What is not a field of the object is taken out of the spec; nothing else differs."""
    extra = {"plugin": {"from", "retain"}, "release": {"source", "file", "verify"}}
    for kind in KINDS:
        wanted = set(CATALOGUE[kind].rules) | extra.get(kind, set())
        assert set(schemas.list_spec_fields(kind)) == wanted


def test_secret_marks_come_from_the_schemas() -> None:
    """Marked keys are secret; every leaf is, of a provider whose keys nobody documented."""
    marks = schemas.read_marks_of_storage_secrets()
    spec = {"provider": "amazon_s3"}
    assert marks.is_secret("storage", spec, ("configuration", "secret_access_key"))
    assert not marks.is_secret("storage", spec, ("configuration", "bucket_name"))
    assert (
        marks.kinds["storage"]
        .select_spec_marks({"provider": "gcp"})
        .is_map_one_secret(("configuration", "credentials"))
    )
    for provider in ("azure", "ftp", "digital_ocean"):
        assert marks.is_secret("storage", {"provider": provider}, ("configuration", "anything"))
    assert not marks.is_secret("plugin", {}, ("configuration", "token"))


def agree(name: str, value: Any) -> bool:
    slow = Draft202012Validator(schemas.build_strict_schema(name)).is_valid(value)
    assert schemas.compile_validator(name).is_valid(value) == slow
    return slow


def test_both_validators_agree_on_the_corpus() -> None:
    """The fast yes and the explanation never contradict each other."""
    seen = 0
    for path in FOLDER.glob("*.txt"):
        for name, data in read_case(path).files.items():
            for document in read_documents(data, name).documents:
                for schema in ("project", *KINDS):
                    agree(schema, document.value)
                    seen += 1
    assert seen > 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4) | st.sampled_from(["1.0.0", "prod", "${var.x}", 2**70, 3.0]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, below in pairs:
        yield (*at, key)
        if isinstance(below, dict | list):
            yield from paths(below, (*at, key))


@effort(15, 600)
@given(st.data(), JSON)
def test_both_validators_agree_on_damaged_documents(data: st.DataObject, piece: Any) -> None:
    """Any value in any place of a good document."""
    documents = [*read_documents(MANIFEST, "f").documents, *read_documents(PROJECT, "f").documents]
    value = data.draw(st.sampled_from([document.value for document in documents]))
    path = data.draw(st.sampled_from(list(paths(value))))
    holder = value
    for part in path[:-1]:
        holder = holder[part]
    holder[path[-1]] = piece
    for schema in ("project", *KINDS):
        agree(schema, value)
