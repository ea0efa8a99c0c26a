"""Where a source's mirror lies in the data folder, and the folder that stands in for a checkout.

`DATA/mirrors/SOURCE.git` is the bare repository. `DATA/places/SOURCE` has a `.git` file that leads
to it, and else only `.synapse-apply` folders of the tool: local states, embedded backends. No file
of a commit ever lies there. `DATA/homes/SOURCE` is the home folder of the source's workers.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from synapse_apply.controller.settings import Source
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen

_FOLDER_MODE = 0o700
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@frozen
class SourceFolders:
    """The folders of one source. `project` is that of its project file, below `empty_checkout`."""

    mirror: Path
    empty_checkout: Path
    project: Path
    home: Path

    def create_folders(self) -> None:
        """Make the place and the home where they are missing; OSError."""
        for folder in (self.mirror.parent, self.empty_checkout.parent, self.home.parent):
            folder.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)
        for folder in (self.empty_checkout, self.home):
            folder.mkdir(_FOLDER_MODE, exist_ok=True)
        self.project.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)
        text = f"gitdir: {self.mirror}\n"
        file = self.empty_checkout / ".git"
        if not file.is_file() or file.read_text(errors="replace") != text:
            # Renamed into place: a worker that reads it at this moment sees one or the other.
            new_file = self.empty_checkout / ".git.new"
            new_file.write_text(text)
            new_file.replace(file)


def source_folders(data_folder: Path, source: Source) -> SourceFolders:
    """The folders of a source, not made yet; InputError for an unusable name or path."""
    data_folder = Path(os.path.realpath(data_folder))
    path = PurePosixPath(source.path)
    if not _NAME.fullmatch(source.name):
        raise InputError.from_summary(
            "The name of a source cannot be used",
            f"{source.name!r} is no name of a folder.",
            "Use letters, digits, dots, dashes and underscores.",
            position=source.position,
        )
    if path.is_absolute() or ".." in path.parts or "\0" in source.path:
        raise InputError.from_summary(
            "The path of a source leads out of its repository",
            f"sources.{source.name}.path is {source.path!r}.",
            "Write the folder of synapse-apply.yaml from the top of the repository on.",
            position=source.position,
        )
    empty_checkout = data_folder / "places" / source.name
    return SourceFolders(
        data_folder / "mirrors" / f"{source.name}.git",
        empty_checkout,
        empty_checkout / path,
        data_folder / "homes" / source.name,
    )
