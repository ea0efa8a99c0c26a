"""Where inside a list two values differ, so that a plan names more than "the list changed"."""

from __future__ import annotations

from typing import Any

from synapse_apply.model.diagnostic import Path

MOST = 100
# Beyond this a list is compared as a whole: looking inside costs more than linear time.
LONGEST = 500


def inside(before: Any, after: Any) -> tuple[Path, ...]:
    """The paths, relative to the list, at which two lists differ, in order; at most MOST.

    Empty when either is no list (a scalar has no inside) or is longer than LONGEST. Indexes are
    those of `after`, or of `before` where an item was removed.
    """
    if not (isinstance(before, list) and isinstance(after, list)):
        return ()
    if max(len(before), len(after)) > LONGEST:
        return ()
    from deepdiff import DeepDiff  # noqa: PLC0415 - 0.15 s that only a changed list needs

    found: set[Path] = set()
    tree = DeepDiff(before, after, view="tree", ignore_numeric_type_changes=True)
    for items in tree.values():
        found.update(tuple(item.path(output_format="list")) for item in items)
    return tuple(sorted(found, key=lambda path: [(str(type(p)), p) for p in path])[:MOST])
