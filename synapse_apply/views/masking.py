"""Values made plain JSON, with null where a secret or an unknown stands."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from synapse_apply.model.diagnostic import Path, lies_in
from synapse_apply.model.plan import Change, FieldChange
from synapse_apply.model.values import ABSENT, KnownAfterApply, Reference, Withheld
from synapse_apply.views.literals import SECRETS, number

# Python's own JSON reader gives up near a thousand levels; nothing real comes close to this.
_DEEPEST = 200


def plain(value: Any, depth: int = 0) -> Any:
    """JSON from any value: null for secrets, unknowns and types nobody foresaw."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return value if value.bit_length() < 10_000 else number(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth >= _DEEPEST or isinstance(value, (*SECRETS, KnownAfterApply)):
        return None
    if isinstance(value, Mapping):
        return {str(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, depth + 1) for item in value]
    return str(value.address) if isinstance(value, Reference) else None


def masked(tree: Mapping[str, Any] | None, hidden: Iterable[Path]) -> Any:
    """A whole object as plain JSON with keys in order and null at every hidden path."""
    if tree is None:
        return None
    return _masked(tree, {tuple(map(str, path)) for path in hidden}, (), 0)


def _masked(value: Any, hidden: set[tuple[str, ...]], at: tuple[str, ...], depth: int) -> Any:
    if at in hidden:
        return None
    if isinstance(value, Mapping) and depth < _DEEPEST:
        keys = sorted(value, key=str)
        return {str(k): _masked(value[k], hidden, (*at, str(k)), depth + 1) for k in keys}
    if isinstance(value, list | tuple) and depth < _DEEPEST:
        return [_masked(v, hidden, (*at, str(n)), depth + 1) for n, v in enumerate(value)]
    return plain(value, depth)


def tree_of(paths: Iterable[Path]) -> dict[str, Any]:
    """Paths as a nested map of `true`, the shape of Terraform's `*_sensitive`."""
    return values_tree((path, True) for path in paths)


def values_tree(values: Iterable[tuple[Path, Any]]) -> dict[str, Any]:
    """Values by path as one nested map; what is absent is left out."""
    root: dict[str, Any] = {}
    for path, value in sorted(values, key=lambda pair: (len(pair[0]), list(map(str, pair[0])))):
        if path and value is not ABSENT:
            _put(root, path, plain(value))
    return root


def _put(root: dict[str, Any], path: Path, value: Any) -> None:
    at = root
    for part in path[:-1]:
        below = at.setdefault(str(part), {})
        if not isinstance(below, dict):
            return
        at = below
    at[str(path[-1])] = value


def unknown_paths(changes: Iterable[FieldChange]) -> Iterator[Path]:
    """The fields whose value only the server can give."""
    return (change.path for change in changes if isinstance(change.after, KnownAfterApply))


def veiled(change: Change, fields: Iterable[FieldChange] | None = None) -> tuple[FieldChange, ...]:
    """The fields of a change, or these, with nothing left at, under or above a sensitive path.

    The planner marks each secret field already; a value that a mark reaches in another way, a
    whole map for one, is veiled here, so that a view cannot show it.
    """
    marks = {tuple(map(str, path)) for path in (*change.before_sensitive, *change.after_sensitive)}
    return tuple(_veiled(field, marks) for field in (change.fields if fields is None else fields))


def _veiled(change: FieldChange, marks: set[tuple[str, ...]]) -> FieldChange:
    path = tuple(map(str, change.path))
    if change.sensitive or lies_in(path, marks):
        return replace(change, before=ABSENT, after=ABSENT, sensitive=True)
    below = {mark[len(path) :] for mark in marks if mark[: len(path)] == path}
    if not below:
        return change
    return replace(change, before=_veil(change.before, below), after=_veil(change.after, below))


def _veil(value: Any, marks: set[tuple[str, ...]]) -> Any:
    if () in marks:
        return Withheld("masked")
    if not isinstance(value, Mapping):
        return value
    return {
        key: _veil(item, {mark[1:] for mark in marks if mark[:1] == (str(key),)})
        for key, item in value.items()
    }
