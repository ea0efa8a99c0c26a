"""The JSON Schemas: where they are, as one self-contained document each, and compiled.

In an editor a variable may stand where a number does; once variables have their values it may
not, so what is compiled here has no room for one.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path as FilePath
from typing import Any

from jsonschema_rs import Draft202012Validator

from synapse_apply.model.errors import InputError
from synapse_apply.model.marks import KindMarks, SecretMarks
from synapse_apply.model.project import Provider

VERSION = "v1"
_SUFFIX = ".schema.json"


def folder() -> FilePath:
    """The schemas of this version: packaged, else those of the checkout."""
    here = FilePath(__file__).resolve().parents[1]
    packaged = here / "_schemas" / VERSION
    return packaged if packaged.is_dir() else here.parent / "schemas" / VERSION


@cache
def names() -> tuple[str, ...]:
    """The schemas there are, such as `manifest` or `providers/amazon_s3`."""
    root = folder()
    found = (path.relative_to(root).as_posix() for path in root.rglob("*" + _SUFFIX))
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in found))


@cache
def _file(name: str) -> Any:
    return json.loads((folder() / (name + _SUFFIX)).read_text(encoding="utf-8"))


@cache
def bundled(name: str) -> dict[str, Any]:
    """A schema with every file it refers to under its own `$defs`."""
    inside: dict[str, Any] = {}

    def take(node: Any, file: str, prefix: str) -> Any:
        if isinstance(node, list):
            return [take(item, file, prefix) for item in node]
        if not isinstance(node, dict):
            return node
        return {
            key: refer(value, file, prefix)
            if key == "$ref" and isinstance(value, str)
            else take(value, file, prefix)
            for key, value in node.items()
        }

    def refer(ref: str, file: str, prefix: str) -> str:
        where, _, fragment = ref.partition("#")
        if not where:
            return f"#{prefix}{fragment}"
        path = posixpath.normpath(posixpath.join(posixpath.dirname(file), where))
        other = path.removesuffix(_SUFFIX)
        key = other.replace("/", ".")
        if key not in inside:
            inside[key] = {}
            inside[key].update(take(_file(other), other, f"/$defs/{key}"))
            inside[key].pop("$schema", None)
        return f"#/$defs/{key}{fragment}"

    root: dict[str, Any] = take(_file(name), name, "")
    root["$defs"] = {**root.get("$defs", {}), **inside}
    return root


def schema_text(name: str) -> str:
    """A schema as one self-contained JSON text, for editors; InputError for an unknown name."""
    if name not in names():
        raise InputError.of(
            "Unknown schema", f"there is no schema `{name}`", "known: " + ", ".join(names())
        ) from None
    return json.dumps(bundled(name), indent=2, ensure_ascii=False) + "\n"


def _without_templates(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_templates(item) for item in node]
    if not isinstance(node, dict):
        return node
    clean = {key: _without_templates(value) for key, value in node.items()}
    options = clean.get("anyOf")
    if isinstance(options, list):
        left = [o for o in options if not str(o.get("$ref", "")).endswith("/template")]
        if len(left) == 1 and len(options) > 1:
            del clean["anyOf"]
            return {**left[0], **clean}
    return clean


@cache
def strict(name: str) -> dict[str, Any]:
    """A bundled schema as values must fit it once variables have theirs."""
    clean: dict[str, Any] = _without_templates(bundled(name))
    return clean


@cache
def validator(name: str) -> Draft202012Validator:
    """The fast yes or no for one schema, compiled once."""
    return Draft202012Validator(strict(name))


def fits_url(text: str) -> bool:
    """Whether a target may have this URL, as the project file's schema says."""
    target = _file("project")["properties"]["targets"]["additionalProperties"]
    return Draft202012Validator(target["properties"]["url"]).is_valid(text)


@cache
def provider_names() -> tuple[str, ...]:
    """The storage providers whose keys are described."""
    return tuple(n.partition("/")[2] for n in names() if n.startswith("providers/"))


def needed_keys(schema: Mapping[str, Any], given: Collection[str] = ()) -> set[str]:
    """Keys that must stand beside those given; of several ways the first, where none is taken."""
    ways = [frozenset(way.get("required", ())) for way in schema.get("anyOf", ())]
    taken = not ways or any(way <= set(given) for way in ways)
    return {*schema.get("required", ()), *(() if taken else ways[0])} - set(given)


@cache
def secret_marks() -> SecretMarks:
    """Which fields hold secrets, read from the `x-secret` of the provider schemas.

    A provider whose schema is secret as a whole is left out: then every leaf is secret.
    """
    by_value, described = {}, {}
    for provider in provider_names():
        schema = _file("providers/" + provider)
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
def described_providers() -> frozenset[str]:
    """The storage providers of which it is known what their keys are."""
    return frozenset(secret_marks().kinds["storage"].by_value)


def marks_with(own: Mapping[str, Provider]) -> SecretMarks:
    """The same with the providers that a project describes."""
    if not own:
        return secret_marks()
    marks = secret_marks().kinds["storage"]
    by_value, described = dict(marks.by_value), dict(marks.described)
    for name, provider in own.items():
        by_value[name] = frozenset((marks.container, key) for key in provider.secrets)
        described[name] = frozenset((marks.container, key) for key in provider.keys)
    return SecretMarks({"storage": KindMarks(marks.container, marks.selector, by_value, described)})


def spec_fields(name: str) -> tuple[str, ...]:
    """The fields of `spec` that a kind's schema knows."""
    return tuple(_file(name)["properties"]["spec"]["properties"])
