"""Manifests as they are written: before variables, overlays and schemas, with their place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path as FilePath
from typing import Any

from synapse_apply.manifests.decode import API_VERSION, kinds
from synapse_apply.manifests.files import manifest_files, shown
from synapse_apply.manifests.loading import Shelf
from synapse_apply.manifests.reader import Document
from synapse_apply.model.diagnostic import Position
from synapse_apply.model.frozen import frozen
from synapse_apply.model.project import Project, Target


@frozen
class Written:
    """One document of a file; `index` counts those of the file that are not empty, from 0."""

    file: FilePath
    name: str
    index: int
    document: Document = field(repr=False)

    @property
    def prefix(self) -> str:
        """The prefix of the kind's addresses; "" for a document that is no manifest."""
        value = self.document.value
        if not isinstance(value, Mapping) or value.get("apiVersion") != API_VERSION:
            return ""
        return kinds().get(str(value.get("kind")), "")

    @property
    def position(self) -> Position:
        return self.document.position

    def get(self, *path: str) -> Any:
        """What stands at a path of keys; None where nothing does."""
        at = self.document.value
        for part in path:
            at = at.get(part) if isinstance(at, Mapping) else None
        return at


def written(
    project: Project, targets: Iterable[Target], paths: Sequence[str] = ()
) -> Iterator[Written]:
    """Every document of the manifests of these targets, each once; raises nothing.

    `paths` replace the listed manifests.
    """
    shelf = Shelf()
    files: dict[FilePath, None] = {}
    for target in targets:
        files.update(dict.fromkeys(manifest_files(project, target, paths).files))
    for file in files:
        reading = shelf.read(file, shown(file, str(FilePath.cwd())))
        for index, document in enumerate(reading.documents):
            yield Written(file, document.source.file, index, document)
