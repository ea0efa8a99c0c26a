"""Values made plain JSON, with null where a secret or an unknown stands."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from synapse_apply.model.diagnostic import Path, is_at_or_below
from synapse_apply.model.plan import Change, FieldChange
from synapse_apply.model.values import ABSENT, KnownAfterApply, Reference, WithheldSecret
from synapse_apply.views.text.values import SECRET_TYPES, format_integer

# Python's own JSON reader gives up near a thousand levels; nothing real comes close to this.
_MAX_DEPTH = 200


def to_redacted_json(value: Any, depth: int = 0) -> Any:
    """JSON from any value: null for secrets, unknowns and types nobody foresaw."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return value if value.bit_length() < 10_000 else format_integer(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth >= _MAX_DEPTH or isinstance(value, (*SECRET_TYPES, KnownAfterApply)):
        return None
    if isinstance(value, Mapping):
        return {str(key): to_redacted_json(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_redacted_json(item, depth + 1) for item in value]
    return str(value.address) if isinstance(value, Reference) else None


def redact_object(tree: Mapping[str, Any] | None, hidden_paths: Iterable[Path]) -> Any:
    """A whole object as plain JSON with keys in order and null at every hidden path."""
    if tree is None:
        return None
    return _redact_value(tree, {tuple(map(str, path)) for path in hidden_paths}, (), 0)


def _redact_value(
    value: Any, hidden_paths: set[tuple[str, ...]], path: tuple[str, ...], depth: int
) -> Any:
    if path in hidden_paths:
        return None
    if isinstance(value, Mapping) and depth < _MAX_DEPTH:
        keys = sorted(value, key=str)
        return {
            str(k): _redact_value(value[k], hidden_paths, (*path, str(k)), depth + 1) for k in keys
        }
    if isinstance(value, list | tuple) and depth < _MAX_DEPTH:
        return [
            _redact_value(v, hidden_paths, (*path, str(n)), depth + 1) for n, v in enumerate(value)
        ]
    return to_redacted_json(value, depth)


def build_flag_tree(paths: Iterable[Path]) -> dict[str, Any]:
    """Paths as a nested map of `true`, the shape of Terraform's `*_sensitive`."""
    return unflatten_to_redacted_json((path, True) for path in paths)


def unflatten_to_redacted_json(values: Iterable[tuple[Path, Any]]) -> dict[str, Any]:
    """Values by path as one nested map; what is absent is left out."""
    root: dict[str, Any] = {}
    for path, value in sorted(values, key=lambda pair: (len(pair[0]), list(map(str, pair[0])))):
        if path and value is not ABSENT:
            _set_unless_blocked(root, path, to_redacted_json(value))
    return root


def _set_unless_blocked(root: dict[str, Any], path: Path, value: Any) -> None:
    node = root
    for part in path[:-1]:
        child = node.setdefault(str(part), {})
        if not isinstance(child, dict):
            return
        node = child
    node[str(path[-1])] = value


def iter_unknown_paths(changes: Iterable[FieldChange]) -> Iterator[Path]:
    """The fields whose value only the server can give."""
    return (change.path for change in changes if isinstance(change.after, KnownAfterApply))


def redact_change_fields(
    change: Change, fields: Iterable[FieldChange] | None = None
) -> tuple[FieldChange, ...]:
    """The fields of a change, or these, with nothing left at, under or above a sensitive path.

    The planner marks each secret field already; a value that a mark reaches in another way, a
    whole map for one, is veiled here, so that a view cannot show it.
    """
    secret_paths = {
        tuple(map(str, path)) for path in (*change.before_sensitive, *change.after_sensitive)
    }
    return tuple(
        _redact_field_change(field, secret_paths)
        for field in (change.fields if fields is None else fields)
    )


def _redact_field_change(change: FieldChange, secret_paths: set[tuple[str, ...]]) -> FieldChange:
    path = tuple(map(str, change.path))
    if change.sensitive or is_at_or_below(path, secret_paths):
        return replace(change, before=ABSENT, after=ABSENT, sensitive=True)
    nested_paths = {
        secret_path[len(path) :] for secret_path in secret_paths if secret_path[: len(path)] == path
    }
    if not nested_paths:
        return change
    return replace(
        change,
        before=_redact_nested_value(change.before, nested_paths),
        after=_redact_nested_value(change.after, nested_paths),
    )


def _redact_nested_value(value: Any, secret_paths: set[tuple[str, ...]]) -> Any:
    if () in secret_paths:
        return WithheldSecret("masked")
    if not isinstance(value, Mapping):
        return value
    return {
        key: _redact_nested_value(
            item,
            {secret_path[1:] for secret_path in secret_paths if secret_path[:1] == (str(key),)},
        )
        for key, item in value.items()
    }
