"""For how long an accepted difference holds, and what undoing it puts back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from synapse_apply.model.diagnostic import Path
from synapse_apply.model.state import Acceptance, Record
from synapse_apply.model.values import Fields


def still_accepted(before: Record | None, applied: Fields, seen: Fields) -> Acceptance | None:
    """What was accepted of a record, without the fields that have moved on either side since."""
    if before is None or before.accepted is None:
        return None
    accepted = before.accepted
    paths = tuple(
        path
        for path in accepted.paths
        if _at_or_below(before.applied, path) == _at_or_below(applied, path)
        and _at_or_below(before.seen, path) == _at_or_below(seen, path)
    )
    return acceptance_of(paths, accepted.applied, accepted.seen) if paths else None


def acceptance_of(paths: Iterable[Path], applied: Fields, seen: Fields) -> Acceptance:
    """These paths as accepted, with what stands there in the fields of before."""
    paths = tuple(sorted(paths, key=lambda path: [str(part) for part in path]))
    before = ({at: v for path in paths for at, v in _at_or_below(side, path).items()}
              for side in (applied, seen))  # fmt: skip
    return Acceptance(paths, *before)


def before_acceptance(record: Record) -> Record:
    """The record with the fields that were accepted as they stood in it before."""
    if record.accepted is None:
        return record
    applied, seen = dict(record.applied), dict(record.seen)
    for path in record.accepted.paths:
        for side in (applied, seen):
            for at in _at_or_below(side, path):
                del side[at]
    applied.update(record.accepted.applied)
    seen.update(record.accepted.seen)
    return replace(record, applied=applied, seen=seen, accepted=None)


def _at_or_below(fields: Fields, path: Path) -> dict[Path, Any]:
    return {at: value for at, value in fields.items() if at[: len(path)] == path}
