"""Where inside a list two values differ, so that a plan shows more than "the list changed"."""

from __future__ import annotations

from typing import Any

from synapse_apply.model.diagnostic import FieldPath

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
