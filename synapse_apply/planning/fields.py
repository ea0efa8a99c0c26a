"""How whole objects and lists are shown before and after a change, and what fingerprints hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from synapse_apply.kinds.compare import format_comparable_json
from synapse_apply.kinds.descriptor import Compare
from synapse_apply.model.diagnostic import FieldPath, format_json_pointer
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
    get_at_or_absent,
    is_map,
    set_at_creating_maps,
)
from synapse_apply.planning.plan_input import ResourceState


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


MAX_PATHS = 100
# Beyond this a list is compared as a whole: looking inside costs more than linear time.
MAX_LIST_LENGTH = 500


def list_differing_paths(before: Any, after: Any) -> tuple[FieldPath, ...]:
    """The sorted paths in two lists at which they differ, MAX_PATHS at most.

    Empty where a value is no list, or a list is longer than MAX_LIST_LENGTH. Indexes are those of
    `after`, or of `before` for a removed item.
    """
    if not (isinstance(before, list) and isinstance(after, list)):
        return ()
    if max(len(before), len(after)) > MAX_LIST_LENGTH:
        return ()
    from deepdiff import DeepDiff  # noqa: PLC0415 - 0.15 s that only a changed list needs

    paths: set[FieldPath] = set()
    tree = DeepDiff(before, after, view="tree", ignore_numeric_type_changes=True)
    for entries in tree.values():
        paths.update(tuple(entry.path(output_format="list")) for entry in entries)
    return tuple(
        sorted(paths, key=lambda path: [(str(type(part)), part) for part in path])[:MAX_PATHS]
    )


# `json.dumps` would make one at each call.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def compute_fingerprint(resource: ResourceState) -> str:
    """SHA-256 (hex) over the id and the live values of declared and recorded fields.

    Other fields are not ours, so their changes do not count. Without a record the salt is new in
    every run, so that of a secret only its presence counts.
    """
    observed = resource.lookup_result.observed
    live = unflatten(resource.live_fields)
    managed_paths = sorted(
        {*resource.declared_fields, *(resource.record.applied if resource.record else ())}
    )
    canonical_fields = {
        format_json_pointer(path): _fingerprint_field(resource, path, get_at_or_absent(live, path))
        for path in managed_paths
    }
    document = {"id": observed.remote_id if observed else "", "fields": canonical_fields}
    return hashlib.sha256(_ENCODER.encode(document).encode()).hexdigest()


def _fingerprint_field(resource: ResourceState, path: FieldPath, value: Any) -> str:
    if resource.record is None and holds_secret(value):
        return "secret"
    rule = resource.type.rules.get(str(path[0]))
    # Answers never show it; what a server may echo once must not change the fingerprint.
    if rule is not None and rule.write_only:
        value = ABSENT
    # Of an empty declared map only its presence is ours.
    if isinstance(value, dict) and resource.declared_fields.get(path) == {}:
        value = {}
    return format_comparable_json(value, rule.compare if rule is not None else Compare.EXACT)
