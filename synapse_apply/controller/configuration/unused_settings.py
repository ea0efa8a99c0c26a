"""Settings that are understood and have no effect in this version: nobody is to rely on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from synapse_apply.model.diagnostic import Diagnostic, FieldPath, Position, warning_finding
from synapse_apply.model.phrases import format_field_path

LATER_MARK = "x-later"


def iter_unused_setting_warnings(
    value: Mapping[str, Any], schema: Mapping[str, Any], positions: Mapping[FieldPath, Position]
) -> Iterator[Diagnostic]:
    """A warning for each setting that the schema marks as one of a later version."""
    for path in _later_settings(value, schema, schema, ()):
        yield warning_finding(
            "Not used by this version",
            f"`{format_field_path(path)}` has no effect in this version",
            "it may stay; a later version uses it",
            position=positions.get(path),
            path=path,
        )


def _later_settings(
    value: Any, schema: Mapping[str, Any], root: Mapping[str, Any], path: FieldPath
) -> Iterator[FieldPath]:
    if schema.get(LATER_MARK):
        yield path
        return
    reference = schema.get("$ref", "")
    if reference:
        schema = root
        for key in reference.removeprefix("#/").split("/"):
            schema = schema[key]
    if isinstance(value, Mapping):
        for key, item in value.items():
            below = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
            if isinstance(below, Mapping):
                yield from _later_settings(item, below, root, (*path, key))
    elif isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        for index, item in enumerate(value):
            yield from _later_settings(item, schema["items"], root, (*path, index))
