"""Where the JSON Schemas are, how one is bundled and compiled, and which fields they mark secret.

The published schemas allow a variable where a number is needed, for editors. Once variables
are replaced none may be left, so the compiled ones do not.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema_rs import Draft202012Validator

from synapse_apply.model.coding.json_types import JsonDocument, JsonObject, JsonValue
from synapse_apply.model.errors import InputError
from synapse_apply.model.project import Provider
from synapse_apply.model.secrets.secret_marks import KindMarks, SecretMarks

SCHEMA_VERSION = "v1"
_SCHEMA_SUFFIX = ".schema.json"


@cache
def choose_schema_folder() -> Path:
    """The folder of the schemas: inside the installed package, else of the checkout."""
    package_folder = Path(__file__).resolve().parents[2]
    packaged = package_folder / "_schemas" / SCHEMA_VERSION
    # A wheel has the schemas inside the package; a checkout has them beside it.
    return packaged if packaged.is_dir() else package_folder.parent / "schemas" / SCHEMA_VERSION


@cache
def list_schema_names() -> tuple[str, ...]:
    """The names of all schemas, such as `manifest` or `providers/amazon_s3`."""
    root = choose_schema_folder()
    schema_paths = (path.relative_to(root).as_posix() for path in root.rglob("*" + _SCHEMA_SUFFIX))
    return tuple(sorted(name.removesuffix(_SCHEMA_SUFFIX) for name in schema_paths))


@cache
def read_schema(name: str) -> JsonDocument:
    text = (choose_schema_folder() / (name + _SCHEMA_SUFFIX)).read_text(encoding="utf-8")
    schema: JsonDocument = json.loads(text)
    return schema


@cache
def bundle_schema_with_referenced_files(name: str) -> JsonObject:
    """A schema with every file that it refers to copied into its `$defs`."""
    definitions: dict[str, Any] = {}

    def inline_references(node: Any, file: str, prefix: str) -> JsonValue:
        if isinstance(node, list):
            return [inline_references(item, file, prefix) for item in node]
        if not isinstance(node, dict):
            return node
        return {
            key: inline_reference(value, file, prefix)
            if key == "$ref" and isinstance(value, str)
            else inline_references(value, file, prefix)
            for key, value in node.items()
        }

    def inline_reference(ref: str, file: str, prefix: str) -> str:
        referred_file, _, fragment = ref.partition("#")
        if not referred_file:
            return f"#{prefix}{fragment}"
        path = posixpath.normpath(posixpath.join(posixpath.dirname(file), referred_file))
        referred_name = path.removesuffix(_SCHEMA_SUFFIX)
        key = referred_name.replace("/", ".")
        if key not in definitions:
            # Entered before its content: schemas may refer to each other in a cycle.
            definitions[key] = {}
            definitions[key].update(
                inline_references(read_schema(referred_name), referred_name, f"/$defs/{key}")
            )
            definitions[key].pop("$schema", None)
        return f"#/$defs/{key}{fragment}"

    root: dict[str, Any] = inline_references(read_schema(name), name, "")
    root["$defs"] = {**root.get("$defs", {}), **definitions}
    return root


def format_schema(name: str) -> str:
    """A bundled schema as JSON text, for editors; raises InputError for an unknown name."""
    if name not in list_schema_names():
        raise InputError.from_summary(
            "Unknown schema",
            f"there is no schema `{name}`",
            "known: " + ", ".join(list_schema_names()),
        ) from None
    return (
        json.dumps(bundle_schema_with_referenced_files(name), indent=2, ensure_ascii=False) + "\n"
    )


def _without_templates(node: Any) -> JsonValue:
    if isinstance(node, list):
        return [_without_templates(item) for item in node]
    if not isinstance(node, dict):
        return node
    cleaned = {key: _without_templates(value) for key, value in node.items()}
    # The published schema writes `anyOf: [number, template]`; without the template `number` is
    # left.
    options = cleaned.get("anyOf")
    if isinstance(options, list):
        remaining = [
            option for option in options if not str(option.get("$ref", "")).endswith("/template")
        ]
        if len(remaining) == 1 and len(options) > 1:
            del cleaned["anyOf"]
            return {**remaining[0], **cleaned}
    return cleaned


@cache
def build_strict_schema(name: str) -> JsonObject:
    """A bundled schema without the alternatives that allow a variable."""
    strict_schema: dict[str, Any] = _without_templates(bundle_schema_with_referenced_files(name))
    return strict_schema


@cache
def compile_validator(name: str) -> Draft202012Validator:
    """The jsonschema-rs validator of a strict schema, compiled once."""
    return Draft202012Validator(build_strict_schema(name))


def is_valid_target_url(text: str) -> bool:
    """Whether the project file's schema allows a text as a target's `url`."""
    target = read_schema("project")["properties"]["targets"]["additionalProperties"]
    return Draft202012Validator(target["properties"]["url"]).is_valid(text)


@cache
def known_providers() -> tuple[str, ...]:
    """The storage providers that have a schema of their own."""
    return tuple(
        name.partition("/")[2] for name in list_schema_names() if name.startswith("providers/")
    )


def missing_required_keys(
    schema: Mapping[str, Any], present_keys: Collection[str] = ()
) -> set[str]:
    """The required keys that are missing; of several alternatives (`anyOf`) those of the first."""
    alternatives = [
        frozenset(alternative.get("required", ())) for alternative in schema.get("anyOf", ())
    ]
    is_satisfied = not alternatives or any(
        alternative <= set(present_keys) for alternative in alternatives
    )
    return {*schema.get("required", ()), *(() if is_satisfied else alternatives[0])} - set(
        present_keys
    )


def list_spec_fields(name: str) -> tuple[str, ...]:
    """The names of the fields in the `spec` of a kind's schema."""
    return tuple(read_schema(name)["properties"]["spec"]["properties"])


# The schemas are schemas/v1/providers/*.schema.json; a project may describe further providers. What
# looks like a secret in a manifest is another question: `decode/secret_fields.py`.


@cache
def read_marks_of_storage_secrets() -> SecretMarks:
    """Which storage fields hold secrets, read from `x-secret` of the provider schemas.

    A provider whose schema itself is `x-secret` is left out, so that every leaf is secret.
    """
    by_value, described = {}, {}
    for provider in known_providers():
        schema = read_schema("providers/" + provider)
        if schema.get("x-secret"):
            continue
        fields = schema.get("properties", {})
        described[provider] = frozenset(("configuration", key) for key in fields)
        by_value[provider] = frozenset(
            ("configuration", key)
            for key, field in fields.items()
            if isinstance(field, Mapping) and field.get("x-secret")
        )
    marks = KindMarks("configuration", "provider", by_value, described)
    return SecretMarks({"storage": marks})


@cache
def providers_with_secrets() -> frozenset[str]:
    """The storage providers whose schema lists their keys and which of these are secret."""
    return frozenset(read_marks_of_storage_secrets().kinds["storage"].secret_paths_by_value)


def build_marks(project_providers: Mapping[str, Provider]) -> SecretMarks:
    """The marks of `read_marks_of_storage_secrets`, and of providers that the project describes."""
    # Not built anew for each target, since nearly no project describes providers.
    if not project_providers:
        return read_marks_of_storage_secrets()
    marks = read_marks_of_storage_secrets().kinds["storage"]
    by_value, described = dict(marks.secret_paths_by_value), dict(marks.described_paths_by_value)
    for name, provider in project_providers.items():
        secrets = provider.secrets | provider.doubted
        by_value[name] = frozenset((marks.container, key) for key in secrets)
        described[name] = frozenset((marks.container, key) for key in provider.keys)
    return SecretMarks({"storage": KindMarks(marks.container, marks.selector, by_value, described)})
