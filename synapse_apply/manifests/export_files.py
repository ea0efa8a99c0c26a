"""The files of an export: all are looked at before the first is written, through no link."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath

from synapse_apply.manifests.rewriting import Rewrite, rewrite, taken, write_new
from synapse_apply.manifests.shapes import schema_text
from synapse_apply.model.diagnostic import Diagnostic, error
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen

# Dot folders are never read for manifests.
SCHEMA_FILE = FilePath(".schema", "manifest.schema.json")
_FORCE = "Write elsewhere with --out, or replace such files with --force."
_FORCE_INVENTORY = (
    "Name another file with --inventory. --force would replace this one, and its rows would be "
    "lost."
)


@frozen
class Layout:
    """The folder of the manifests, and the file of the inventory."""

    folder: FilePath
    inventory: FilePath

    @property
    def schema(self) -> FilePath:
        return self.folder / SCHEMA_FILE


@dataclass(slots=True)
class Written:
    """Files that were written, and those that were there with just this content."""

    files: list[FilePath] = field(default_factory=list)
    unchanged: list[FilePath] = field(default_factory=list)


def write_export(
    layout: Layout, manifests: Mapping[FilePath, str], rows: str, *, force: bool
) -> Written:
    """Write the texts by their paths, the inventory's text, and the schema where there is none.

    InputError with every file that cannot be written, or is there with other content and must not
    be replaced; then nothing was written.
    """
    findings = [*_in_the_way(layout, manifests)]
    if findings:
        raise InputError(*findings)
    told = Written()
    new: dict[FilePath, str] = {}
    old: list[Rewrite] = []
    for path, text in {**manifests, layout.inventory: rows}.items():
        before = _content(path)
        if before is None:
            new[path] = text
        elif before == text.encode():
            told.unchanged.append(path)
        else:
            old.append(Rewrite(path, str(path), before, text.encode()))
    if old and not force:
        hints = {layout.inventory: _FORCE_INVENTORY}
        raise InputError(*(taken(change.file, hints.get(change.file, _FORCE)) for change in old))
    if not layout.schema.exists():
        new[layout.schema] = schema_text("manifest")
    rewrite(old)
    for path, text in new.items():
        write_new(path, text)
    told.files += sorted({*new, *(change.file for change in old)} - {layout.schema})
    return told


def _in_the_way(layout: Layout, manifests: Collection[FilePath]) -> Iterator[Diagnostic]:
    """What a file would be written through, or in place of; each told once."""
    files = (*manifests, layout.schema)
    if _real(layout.inventory) in set(map(_real, files)):
        yield error(
            "Two files of one name",
            f"{layout.inventory} is where the inventory shall be written, and a file of the "
            "manifests, too.",
            "Nothing was written. Name another file with --inventory.",
        )
    for folder in dict.fromkeys((layout.folder, *(file.parent for file in files))):
        yield from _no_folder(folder, "--out", may_link=folder == layout.folder)
    yield from _no_folder(layout.inventory.parent, "--inventory", may_link=True)
    for file in files:
        if file.is_symlink():
            yield _link(file, "--out")
    if layout.inventory.is_symlink():
        yield _link(layout.inventory, "--inventory")


def _real(path: FilePath) -> str:
    """The same for two spellings of one file, also where the system takes A for a."""
    return os.path.realpath(path).lower()


def _no_folder(folder: FilePath, option: str, *, may_link: bool) -> Iterator[Diagnostic]:
    """Why no file can be written there; a folder that is not there is made."""
    if folder.is_symlink() and not (may_link and folder.is_dir()):
        yield _link(folder, option)
        return
    there = next(above for above in (folder, *folder.parents) if os.path.lexists(above))
    if there.is_dir():
        return
    if there.is_symlink():
        yield _link(there, option)
    else:
        yield error(
            "A file is where a folder is needed",
            f"{there} is no folder.",
            f"Nothing was written. Write elsewhere with {option}.",
        )


def _link(path: FilePath, option: str) -> Diagnostic:
    leads = os.path.realpath(path)
    why = "and an export writes through no link, also with --force"
    if not os.path.lexists(leads):
        why = "where nothing is"
    return error(
        "A link is in the way",
        f"{path} is a link to {leads}, {why}.",
        f"Nothing was written. Remove the link, or write elsewhere with {option}.",
    )


def _content(path: FilePath) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise InputError.of(
            "A file cannot be read",
            f"{path}: {problem.strerror}.",
            "Nothing was written. Write elsewhere with --out or --inventory.",
        ) from None
