"""How whole objects and lists are shown before and after a change, and what fingerprints hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from synapse_apply.kinds.compare import format_comparable_json
from synapse_apply.model.diagnostic import FieldPath, format_json_pointer
from synapse_apply.model.plan import FieldChange
from synapse_apply.model.values import (
    ABSENT,
    DesiredSecret,
    Fields,
    KnownAfterApply,
    WithheldSecret,
    delete_at_if_present,
    flatten,
    get_at_or_absent,
    holds_secret,
    set_at_creating_maps,
    unflatten,
)
from synapse_apply.planning.plan_input import ResourceState


class ChangeSide(NamedTuple):
    """One side of a change: the object, its sensitive paths, and its paths not known yet."""

    tree: Mapping[str, Any] | None = None
    sensitive_paths: tuple[FieldPath, ...] = ()
    unknown_paths: tuple[FieldPath, ...] = ()


EMPTY_SIDE = ChangeSide()
# Values of these types are never secret or unknown; lists are declared and compared as a whole.
_PLAIN_TYPES = frozenset({str, int, float, bool, list})


def change_side(fields: Fields) -> ChangeSide:
    """An object as it is, or as it would be created."""
    # The usual case, without a look at each field.
    if {*map(type, fields.values())} <= _PLAIN_TYPES:
        return ChangeSide(unflatten(fields))
    sensitive = sorted(path for path, value in fields.items() if holds_secret(value))
    unknown = sorted(path for path, value in fields.items() if isinstance(value, KnownAfterApply))
    hidden = dict.fromkeys((*sensitive, *unknown))
    return ChangeSide(unflatten({**fields, **hidden}), tuple(sensitive), tuple(unknown))


def side_after(resource: ResourceState, changes: Iterable[FieldChange]) -> ChangeSide:
    """The live object with the changes made; declared secrets are sensitive paths in it."""
    tree, declared = unflatten(resource.live_fields), resource.declared_fields
    for path, value in declared.items():
        # Else a secret that answers do not show would be missing from the object after the change.
        if isinstance(value, DesiredSecret):
            set_at_creating_maps(tree, path, value)
    for change in changes:
        # Only the path of a new secret is known here, not its value.
        if change.sensitive and change.path in declared:
            set_at_creating_maps(tree, change.path, WithheldSecret("planned"))
        elif change.after is ABSENT:
            delete_at_if_present(tree, change.path)
        else:
            set_at_creating_maps(tree, change.path, change.after)
    return change_side(flatten(tree))


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
    observed, record, live = resource.observed, resource.record, unflatten(resource.live_fields)
    fields = {}
    for path in sorted({*resource.declared_fields, *(record.applied if record else ())}):
        rule, value = resource.rule(path), get_at_or_absent(live, path)
        pointer = format_json_pointer(path)
        if record is None and holds_secret(value):
            fields[pointer] = "secret"
            continue
        # Answers never show it; what a server may echo once must not change the fingerprint.
        if rule.write_only:
            value = ABSENT
        # Of an empty declared map only its presence is ours.
        if isinstance(value, dict) and resource.declared_fields.get(path) == {}:
            value = {}
        fields[pointer] = format_comparable_json(value, rule.compare)
    document = {"id": observed.remote_id if observed else "", "fields": fields}
    return hashlib.sha256(_ENCODER.encode(document).encode()).hexdigest()
