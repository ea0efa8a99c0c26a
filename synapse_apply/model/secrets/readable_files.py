"""Which files of a machine a project may name, where its author is not the one who runs it."""

from __future__ import annotations

from pathlib import PurePath

from synapse_apply.model.frozen import frozen


@frozen
class ReadableFiles:
    """The files below `folders`, but for those at or below `excluded`; all are real paths.

    A folder may be a single file. Without a folder nothing may be read.
    """

    folders: tuple[PurePath, ...] = ()
    excluded: tuple[PurePath, ...] = ()

    def includes(self, real_path: PurePath) -> bool:
        """Whether a file may be read, by its path with all links followed."""
        return _is_below_one(real_path, self.folders) and not _is_below_one(
            real_path, self.excluded
        )


def _is_below_one(path: PurePath, folders: tuple[PurePath, ...]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)
