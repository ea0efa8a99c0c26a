"""Settings that are understood and have no effect in this version: nobody is to rely on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from synapse_apply.controller.settings import Mode
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, Position, warning_finding
from synapse_apply.model.phrases import format_field_path

LATER_MARK = "x-later"


def iter_unused_settings(
    value: Mapping[str, Any], schema: Mapping[str, Any], positions: Mapping[FieldPath, Position]
) -> Iterator[Diagnostic]:
    """A warning for each setting that the schema marks as one of a later version, and each mode."""
    for path in _iter_later_paths(value, schema, schema, ()):
        yield warning_finding(
            "Not used by this version",
            f"`{format_field_path(path)}` has no effect in this version",
            "it may stay; nothing is applied by this version of the controller",
            position=positions.get(path),
            path=path,
        )
    for source, settings in value["sources"].items():
        for pattern, rule in settings["targets"].items():
            mode = rule.get("mode", Mode.OBSERVE.value)
            if mode != Mode.OBSERVE.value:
                path = ("sources", source, "targets", pattern, "mode")
                yield warning_finding(
                    "A mode is not supported by this version",
                    f"mode {mode} of `{source}/{pattern}` is not supported by this version; its "
                    "targets are observed",
                    "it may stay, or write `mode: observe`",
                    position=positions.get(path),
                    path=path,
                )


def _iter_later_paths(
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
                yield from _iter_later_paths(item, below, root, (*path, key))
    elif isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        for index, item in enumerate(value):
            yield from _iter_later_paths(item, schema["items"], root, (*path, index))
