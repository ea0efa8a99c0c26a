"""Secrets that stand in the file themselves: refused, and never shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from synapse_apply.model.diagnostic import (
    Diagnostic,
    FieldPath,
    Position,
    error_finding,
    find_nearest_position,
)
from synapse_apply.model.phrases import format_field_path

# Where the schema has a secret; `*` is any key or item. What stands there is never quoted.
_SECRET_PATHS: tuple[tuple[str, ...], ...] = (
    ("sources", "*", "credentials", "token"),
    ("sources", "*", "credentials", "ssh_key"),
    ("sources", "*", "commit_status", "*", "token"),
    ("notify", "*", "webhook", "url"),
    ("notify", "*", "webhook", "secret"),
    ("notify", "*", "slack", "url"),
    ("hooks", "*", "secret"),
    ("access", "proxy", "secret"),
    ("access", "tokens", "*"),
    ("store", "url"),
)
# A value that fits the schema, so that what is refused here is not refused there again.
PLACEHOLDER_VARIABLE = "NOT_READ"


def replace_literal_secrets(
    value: Any, positions: Mapping[FieldPath, Position]
) -> tuple[Any, list[Diagnostic]]:
    """The document without secrets that are written out, and an error for each.

    The document is changed in place.
    """
    findings = []
    for pattern in _SECRET_PATHS:
        for owner, key, path in _matching_parts(value, pattern, ()):
            if owner[key] is None or isinstance(owner[key], Mapping):
                continue
            owner[key] = {"env": PLACEHOLDER_VARIABLE}
            findings.append(
                error_finding(
                    "A secret stands in the file",
                    f"`{format_field_path(path)}` holds a value; it is not shown",
                    "name a variable or a file, such as {env: NAME}, and replace the secret: "
                    "whoever reads this file has it",
                    position=find_nearest_position(positions, path),
                    path=path,
                )
            )
    return value, findings


def _matching_parts(
    node: Any, pattern: tuple[str, ...], path: FieldPath
) -> Iterator[tuple[Any, str | int, FieldPath]]:
    """The container, the key and the path of each place that fits the pattern."""
    key, *rest = pattern
    keys: list[str | int] = []
    if isinstance(node, dict):
        keys = [name for name in node if key in {"*", name}]
    elif isinstance(node, list) and key == "*":
        keys = list(range(len(node)))
    for name in keys:
        if rest:
            yield from _matching_parts(node[name], tuple(rest), (*path, name))
        else:
            yield node, name, (*path, name)
