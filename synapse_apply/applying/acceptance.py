"""How long an accepted difference stays valid, and which values undoing it restores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.state import Acceptance, Record
from synapse_apply.model.values import Fields


def narrow_acceptance_to_unchanged_fields_or_none(
    before: Record | None, applied: Fields, last_seen: Fields
) -> Acceptance | None:
    """A record's acceptance, without fields whose applied or seen value has changed since."""
    if before is None or before.accepted is None:
        return None
    accepted = before.accepted
    paths = tuple(
        path
        for path in accepted.paths
        if _select_fields_at_or_below(before.applied, path)
        == _select_fields_at_or_below(applied, path)
        and _select_fields_at_or_below(before.seen, path)
        == _select_fields_at_or_below(last_seen, path)
    )
    return build_acceptance(paths, accepted.applied, accepted.seen) if paths else None


def build_acceptance(paths: Iterable[FieldPath], applied: Fields, last_seen: Fields) -> Acceptance:
    """An acceptance of these paths, with their values in the record's earlier fields."""
    paths = tuple(sorted(paths, key=lambda path: [str(part) for part in path]))
    fields_before = (
        {
            field_path: value
            for path in paths
            for field_path, value in _select_fields_at_or_below(side, path).items()
        }
        for side in (applied, last_seen)
    )
    return Acceptance(paths, *fields_before)


def revert_acceptance(record: Record) -> Record:
    """The record with the values that it had before its differences were accepted."""
    if record.accepted is None:
        return record
    applied, last_seen = dict(record.applied), dict(record.seen)
    for path in record.accepted.paths:
        for side in (applied, last_seen):
            for field_path in _select_fields_at_or_below(side, path):
                del side[field_path]
    applied.update(record.accepted.applied)
    last_seen.update(record.accepted.seen)
    return replace(record, applied=applied, seen=last_seen, accepted=None)


def _select_fields_at_or_below(fields: Fields, path: FieldPath) -> dict[FieldPath, Any]:
    return {
        field_path: value for field_path, value in fields.items() if field_path[: len(path)] == path
    }
