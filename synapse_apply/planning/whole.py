"""Whole objects as a plan shows them: before and after, with nothing where a secret stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from synapse_apply.model.diagnostic import Path
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import FieldChange
from synapse_apply.model.values import (
    ABSENT,
    Fields,
    KnownAfterApply,
    Mac,
    SecretWant,
    Withheld,
    is_map,
    plant,
    prune,
)


@frozen
class Whole:
    """One side of a change: the object, its sensitive paths, its paths not known yet."""

    tree: Mapping[str, Any] | None = None
    sensitive: tuple[Path, ...] = ()
    unknown: tuple[Path, ...] = ()


NOTHING = Whole()
_SECRETS = (Mac, Withheld, SecretWant)
_OPEN = frozenset({str, int, float, bool, list})  # neither secret nor unknown, whatever is in it


def nested(fields: Fields) -> dict[str, Any]:
    """Fields by path as one nested map; its leaves are the fields' values."""
    tree: dict[Any, Any] = {}
    for path, value in fields.items():
        if len(path) == 1 and type(value) is str:
            tree[path[0]] = value
        else:
            plant(tree, path, dict(value) if is_map(value) else value)
    return tree


def is_secret(value: Any) -> bool:
    """Whether a field's value, or anything below it, is a secret in one of its forms."""
    if is_map(value):
        return any(is_secret(below) for below in value.values())
    return isinstance(value, _SECRETS)


def whole(fields: Fields) -> Whole:
    """An object as it is, or as it would be created."""
    if {*map(type, fields.values())} <= _OPEN:
        return Whole(nested(fields))
    sensitive = sorted(path for path, value in fields.items() if is_secret(value))
    unknown = sorted(path for path, value in fields.items() if isinstance(value, KnownAfterApply))
    hidden = dict.fromkeys((*sensitive, *unknown))
    shown = {**fields, **hidden} if hidden else fields
    return Whole(nested(shown), tuple(sensitive), tuple(unknown))


def changed(live: Fields, want: Fields, changes: Iterable[FieldChange]) -> Whole:
    """The live object with the changes made; secrets we declare stand in it as sensitive paths."""
    tree = nested(live)
    for path, value in want.items():
        if isinstance(value, SecretWant):
            plant(tree, path, value)
    for change in changes:
        if change.sensitive and change.path in want:
            plant(tree, change.path, Withheld("planned"))
        elif change.after is ABSENT:
            prune(tree, change.path)
        else:
            plant(tree, change.path, change.after)
    return whole(dict(_flat(tree)))


def _flat(tree: Mapping[str, Any], at: Path = ()) -> Iterable[tuple[Path, Any]]:
    for key, value in tree.items():
        if is_map(value) and value:
            yield from _flat(value, (*at, key))
        elif value is not None:
            yield (*at, key), value
