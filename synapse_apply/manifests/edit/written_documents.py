"""The manifests of targets as written, before variables, overlays and schemas, for editing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

from synapse_apply.manifests.decode.decode import API_VERSION, map_kind_names_to_address_prefixes
from synapse_apply.manifests.decode.loading import FileCache
from synapse_apply.manifests.files.manifest_files import ManifestPaths, format_display_path
from synapse_apply.manifests.yaml.reader import Document
from synapse_apply.model.diagnostic import Position
from synapse_apply.model.frozen import frozen
from synapse_apply.model.project import Project, Target


@frozen
class WrittenDocument:
    """One document of a file; `index` is its number among the file's non-empty ones, from 0."""

    file: Path
    name: str
    index: int
    document: Document = field(repr=False)

    @property
    def address_prefix_or_empty(self) -> str:
        """The address prefix of the document's kind; "" for a document that is no manifest."""
        value = self.document.value
        if not isinstance(value, Mapping) or value.get("apiVersion") != API_VERSION:
            return ""
        return map_kind_names_to_address_prefixes().get(str(value.get("kind")), "")

    @property
    def position(self) -> Position:
        return self.document.position

    def get_value_or_none(self, *path: str) -> Any:
        """The value at a path of keys; None where there is none."""
        node = self.document.value
        for part in path:
            node = node.get(part) if isinstance(node, Mapping) else None
        return node


def iter_readable_written_documents(
    project: Project, targets: Iterable[Target], paths: Sequence[str] = ()
) -> Iterator[WrittenDocument]:
    """Read the manifests of these targets and yield each document once; raises nothing.

    `paths` replace the listed manifests.
    """
    file_cache = FileCache()
    # A dict in place of a set, as it keeps the order.
    files: dict[Path, None] = {}
    for target in targets:
        files.update(dict.fromkeys(ManifestPaths(project, target, paths).collect().files))
    for file in files:
        reading = file_cache.read(file, format_display_path(file, str(Path.cwd())))
        for index, document in enumerate(reading.documents):
            yield WrittenDocument(file, document.source.file, index, document)
