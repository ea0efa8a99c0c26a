"""Which fields and values a report may show of a change: none of a secret, whatever its format."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from synapse_apply.model.diagnostic import FieldPath, is_at_or_below
from synapse_apply.model.frozen import replace
from synapse_apply.model.json_types import JsonDocument, JsonValue
from synapse_apply.model.plan import Action, Cause, Change, FieldChange
from synapse_apply.model.values import (
    ABSENT,
    KnownAfterApply,
    Reference,
    WithheldSecret,
    flatten,
    get_at_or_absent,
    is_map,
)
from synapse_apply.views.text.values import SECRET_TYPES, format_integer

# Python's JSON reader and writer fail near the recursion limit of 1000 levels.
_MAX_DEPTH = 200
_CREATE_ACTIONS = frozenset({Action.CREATE, Action.RECREATE})


def plain_json(value: Any, depth: int = 0) -> JsonValue:
    """A value as plain JSON: null for secrets, unknown values, other types, and too deep ones."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        # A longer integer cannot be written in decimal (sys.set_int_max_str_digits).
        return value if value.bit_length() < 10_000 else format_integer(value)
    if isinstance(value, float):
        # JSON has no infinity and no NaN (RFC 8259, 6).
        return value if math.isfinite(value) else str(value)
    if depth >= _MAX_DEPTH or isinstance(value, (*SECRET_TYPES, KnownAfterApply)):
        return None
    if isinstance(value, Mapping):
        return {str(key): plain_json(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(item, depth + 1) for item in value]
    # A value of an unknown type may hold a secret.
    return str(value.address) if isinstance(value, Reference) else None


def sorted_json(tree: Mapping[str, Any] | None, hidden_paths: Iterable[FieldPath]) -> JsonValue:
    """An object as plain JSON with sorted keys, and null at every hidden path."""
    if tree is None:
        return None
    return _redact_value(tree, {tuple(map(str, path)) for path in hidden_paths}, (), 0)


def _redact_value(
    value: Any, hidden_paths: set[tuple[str, ...]], path: tuple[str, ...], depth: int
) -> JsonValue:
    # The path, not the value, decides: a secret may have been revealed on the way.
    if path in hidden_paths:
        return None
    if isinstance(value, Mapping) and depth < _MAX_DEPTH:
        # Sorted, so that equal plans give equal documents.
        keys = sorted(value, key=str)
        return {
            str(k): _redact_value(value[k], hidden_paths, (*path, str(k)), depth + 1) for k in keys
        }
    if isinstance(value, list | tuple) and depth < _MAX_DEPTH:
        return [
            _redact_value(v, hidden_paths, (*path, str(n)), depth + 1) for n, v in enumerate(value)
        ]
    return plain_json(value, depth)


def tree_of_paths(paths: Iterable[FieldPath]) -> JsonDocument:
    """Paths as a nested map with `true` at each, the shape of Terraform's `*_sensitive`."""
    return unflatten_redacted((path, True) for path in paths)


def unflatten_redacted(values: Iterable[tuple[FieldPath, Any]]) -> JsonDocument:
    """Values by path as one nested map of plain JSON; ABSENT ones are left out."""
    root: dict[str, Any] = {}
    # Shorter paths first: a value at one stands in the way of a map below it, which is then
    # dropped.
    for path, value in sorted(values, key=lambda pair: (len(pair[0]), list(map(str, pair[0])))):
        node: Any = root if path and value is not ABSENT else None
        for part in path[:-1]:
            node = node.setdefault(str(part), {}) if isinstance(node, dict) else None
        if isinstance(node, dict):
            node[str(path[-1])] = plain_json(value)
    return root


def paths_known_later(changes: Iterable[FieldChange]) -> Iterator[FieldPath]:
    """The paths of fields whose new value is known only after the apply."""
    return (change.path for change in changes if isinstance(change.after, KnownAfterApply))


def hide_sensitive(
    change: Change, fields: Iterable[FieldChange] | None = None
) -> tuple[FieldChange, ...]:
    """The fields of a change, or those given, without values at, below or above a sensitive path.

    The planner marks each secret field already; a value that contains a marked path, such as a
    map, is redacted here, so that no view can show it.
    """
    secret_paths = {
        tuple(map(str, path)) for path in (*change.before_sensitive, *change.after_sensitive)
    }
    redacted = []
    for field in change.fields if fields is None else fields:
        path = tuple(map(str, field.path)) if secret_paths else ()
        nested = {secret[len(path) :] for secret in secret_paths if secret[: len(path)] == path}
        if field.sensitive or (secret_paths and is_at_or_below(path, secret_paths)):
            hidden = replace(field, before=ABSENT, after=ABSENT, sensitive=True)
        elif nested:
            before, after = (_mask_nested(side, nested) for side in (field.before, field.after))
            hidden = replace(field, before=before, after=after)
        else:
            hidden = field
        redacted.append(hidden)
    return tuple(redacted)


def _mask_nested(value: Any, secret_paths: set[tuple[str, ...]]) -> JsonValue:
    # The whole value is secret.
    if () in secret_paths:
        return WithheldSecret("masked")
    if not isinstance(value, Mapping):
        return value
    return {
        key: _mask_nested(
            item,
            {secret_path[1:] for secret_path in secret_paths if secret_path[:1] == (str(key),)},
        )
        for key, item in value.items()
    }


def shown_fields(change: Change) -> Sequence[FieldChange]:
    """The fields to show of a change that is made; all of the object's for a create or delete."""
    if change.fields or change.action not in {*_CREATE_ACTIONS, Action.DELETE}:
        return hide_sensitive(change, _fields_and_removals(change))
    is_delete = change.action is Action.DELETE
    full_object = (change.before if is_delete else change.after) or {}
    secret_paths = set(change.before_sensitive if is_delete else change.after_sensitive)
    visible = flatten(sorted_json(full_object, secret_paths) or {})
    fields = [
        FieldChange(path, value, ABSENT, Cause.NONE)
        if is_delete
        else FieldChange(path, ABSENT, value, Cause.NONE)
        for path, value in visible.items()
    ]
    return [*fields, *(_secret_change(path, Cause.NONE) for path in sorted(secret_paths, key=str))]


def wanted_fields(change: Change) -> Sequence[FieldChange]:
    """The fields to show of a change that is refused; none for a create."""
    if change.action in _CREATE_ACTIONS:
        return ()
    return hide_sensitive(change, _fields_and_removals(change))


def _fields_and_removals(change: Change) -> Iterator[FieldChange]:
    """The changed fields, with a removal for each live scalar or list at a path above one.

    A plan compares declared fields one by one, and does not list what is live at a path above one.
    """
    if not change.before:
        yield from change.fields
        return
    listed_paths = {field.path for field in change.fields}
    secret_paths = {*change.before_sensitive, *change.after_sensitive}
    secret_paths |= {field.path for field in change.fields if field.sensitive}
    for field in change.fields:
        for end in range(1, len(field.path)):
            path = field.path[:end]
            if path in listed_paths:
                continue
            value = get_at_or_absent(change.before, path)
            if value is not ABSENT and not is_map(value) and value != {}:
                listed_paths.add(path)
                # Where the new map holds a secret, the scalar that it replaces may be one, too.
                if any(secret_path[:end] == path for secret_path in secret_paths):
                    yield _secret_change(path, field.cause)
                else:
                    yield FieldChange(path, value, ABSENT, field.cause)
        yield field


def _secret_change(path: FieldPath, cause: Cause) -> FieldChange:
    return FieldChange(path, ABSENT, ABSENT, cause, sensitive=True)
