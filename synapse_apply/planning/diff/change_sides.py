"""How whole objects are shown before and after a change, with secrets left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.frozen import frozen
from synapse_apply.model.json_types import DecodedSpec
from synapse_apply.model.plan import FieldChange
from synapse_apply.model.values import (
    ABSENT,
    DesiredSecret,
    Fields,
    KnownAfterApply,
    Mac,
    WithheldSecret,
    delete_at_if_present,
    is_map,
    set_at_creating_maps,
)


@frozen
class ChangeSide:
    """One side of a change: the object, its sensitive paths, and its paths not known yet."""

    tree: Mapping[str, Any] | None = None
    sensitive_paths: tuple[FieldPath, ...] = ()
    unknown_paths: tuple[FieldPath, ...] = ()


EMPTY_SIDE = ChangeSide()
_SECRETS = (Mac, WithheldSecret, DesiredSecret)
# Values of these types are never secret or unknown; lists are declared and compared as a whole.
_PLAIN_TYPES = frozenset({str, int, float, bool, list})


def unflatten(fields: Fields) -> DecodedSpec:
    """Fields by path as one nested map, whose leaves are the fields' values."""
    tree: dict[Any, Any] = {}
    for path, value in fields.items():
        if len(path) == 1 and type(value) is str:
            tree[path[0]] = value
        else:
            set_at_creating_maps(tree, path, dict(value) if is_map(value) else value)
    return tree


def holds_secret(value: Any) -> bool:
    """Whether a field's value, or anything inside it, is a secret in one of its forms."""
    if is_map(value):
        return any(holds_secret(inner) for inner in value.values())
    return isinstance(value, _SECRETS)


def build_change_side(fields: Fields) -> ChangeSide:
    """An object as it is, or as it would be created."""
    # The usual case, without a look at each field.
    if {*map(type, fields.values())} <= _PLAIN_TYPES:
        return ChangeSide(unflatten(fields))
    sensitive = sorted(path for path, value in fields.items() if holds_secret(value))
    unknown = sorted(path for path, value in fields.items() if isinstance(value, KnownAfterApply))
    hidden = dict.fromkeys((*sensitive, *unknown))
    visible_fields = {**fields, **hidden} if hidden else fields
    return ChangeSide(unflatten(visible_fields), tuple(sensitive), tuple(unknown))


def build_side_after_changes(
    live: Fields, declared_fields: Fields, changes: Iterable[FieldChange]
) -> ChangeSide:
    """The live object with the changes made; declared secrets are sensitive paths in it."""
    tree = unflatten(live)
    for path, value in declared_fields.items():
        # Otherwise a secret that answers do not show would be missing from the object after the
        # change.
        if isinstance(value, DesiredSecret):
            set_at_creating_maps(tree, path, value)
    for change in changes:
        # Only the path of a new secret is known here, not its value.
        if change.sensitive and change.path in declared_fields:
            set_at_creating_maps(tree, change.path, WithheldSecret("planned"))
        elif change.after is ABSENT:
            delete_at_if_present(tree, change.path)
        else:
            set_at_creating_maps(tree, change.path, change.after)
    return build_change_side(dict(_iter_non_null_leaves(tree)))


def _iter_non_null_leaves(
    tree: Mapping[str, Any], prefix: FieldPath = ()
) -> Iterable[tuple[FieldPath, Any]]:
    for key, value in tree.items():
        if is_map(value) and value:
            yield from _iter_non_null_leaves(value, (*prefix, key))
        elif value is not None:
            yield (*prefix, key), value
