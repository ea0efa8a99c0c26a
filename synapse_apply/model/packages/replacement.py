"""How a plan stores which files of a new release differ from the release that it replaces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_apply.model.coding.json_types import JsonObject
from synapse_apply.model.frozen import frozen

# The key of a plan's `extras` that holds a replacement as JSON.
REPLACES_KEY = "replaces"
ADDED, REMOVED, CHANGED = "added", "removed", "changed"
FILE_VERBS = (ADDED, CHANGED, REMOVED)


@frozen
class ChangedFile:
    """One file that differs. `diff` has the lines of `diff -u`, without the two file names.

    `note` says what is missing in the diff, or why there is none.
    """

    path: str
    verb: str
    diff: tuple[str, ...] = ()
    note: str = ""


@frozen
class Replacement:
    """The newest recorded version below a new one, and how its files differ.

    `counts` has how many were added, changed and removed, None where the files of `version` were
    never recorded; `files` are the first of them.
    """

    version: str
    counts: Mapping[str, int] | None = None
    files: tuple[ChangedFile, ...] = ()

    @property
    def unlisted_count(self) -> int:
        """How many files differ that are not in `files`."""
        return max(0, sum((self.counts or {}).values()) - len(self.files))

    def to_json(self) -> JsonObject:
        """The JSON object that plans store and show."""
        if self.counts is None:
            return {"version": self.version}
        files = [
            {
                "path": file.path,
                "change": file.verb,
                **({"diff": list(file.diff)} if file.diff else {}),
                **({"note": file.note} if file.note else {}),
            }
            for file in self.files
        ]
        return {"version": self.version, **self.counts, "files": files}


def parse_replacement_or_none(extras: Mapping[str, Any]) -> Replacement | None:
    """The replacement in a plan's `extras`.

    None without one, also where a saved plan has nonsense.
    """
    data = extras.get(REPLACES_KEY)
    if not isinstance(data, Mapping) or not isinstance(version := data.get("version"), str):
        return None
    counts = {verb: data.get(verb) for verb in FILE_VERBS}
    # A saved plan may have been edited, so nothing in it is trusted.
    valid_counts = {verb: n for verb, n in counts.items() if isinstance(n, int) and 0 <= n < 2**63}
    listed = data.get("files")
    if len(valid_counts) < len(FILE_VERBS) or not isinstance(listed, (list, tuple)):
        return Replacement(version)
    return Replacement(
        version, valid_counts, tuple(filter(None, map(_parse_changed_file_or_none, listed)))
    )


def _parse_changed_file_or_none(data: Any) -> ChangedFile | None:
    if not isinstance(data, Mapping):
        return None
    path, verb, note = data.get("path"), data.get("change"), data.get("note", "")
    diff = data.get("diff", ())
    if not isinstance(path, str) or verb not in FILE_VERBS or not isinstance(diff, (list, tuple)):
        return None
    lines = tuple(line for line in diff if isinstance(line, str))
    return ChangedFile(path, verb, lines, note if isinstance(note, str) else "")
