"""Which files an export may write: none through a link, none over other content without force."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import field
from pathlib import Path

from synapse_apply.manifests.edit.rewriting import (
    Rewrite,
    build_existing_file_finding,
    create_new_file_with_parents,
    rewrite_all_or_none,
)
from synapse_apply.manifests.schema.schemas import format_schema
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen, mutable

# Dot folders are never read for manifests.
SCHEMA_FILE = Path(".schema", "manifest.schema.json")
_FORCE_HINT = "Write elsewhere with --out, or replace such files with --force."
_FORCE_INVENTORY_HINT = (
    "Name another file with --inventory. --force would replace this one, and its rows would be "
    "lost."
)


@frozen
class ExportLayout:
    """The folder of the manifests, and the file of the inventory."""

    folder: Path
    inventory: Path

    @property
    def schema_file(self) -> Path:
        return self.folder / SCHEMA_FILE


@mutable
class ExportResult:
    """The files that were written, and those that had this content already."""

    files: list[Path] = field(default_factory=list)
    unchanged: list[Path] = field(default_factory=list)


def write_export(
    layout: ExportLayout, manifests: Mapping[Path, str], inventory_text: str, *, force: bool
) -> ExportResult:
    """Write manifests by path, the inventory, and the schema file if it is missing.

    Raises InputError with every file that cannot be written, or has other content and must not
    be replaced (`force`); then nothing was written.
    """
    findings = [*_iter_obstacle_findings(layout, manifests)]
    if findings:
        raise InputError(*findings)
    result = ExportResult()
    new_texts: dict[Path, str] = {}
    rewrites: list[Rewrite] = []
    for path, text in {**manifests, layout.inventory: inventory_text}.items():
        current_content = _read_content_or_none_if_absent(path)
        if current_content is None:
            new_texts[path] = text
        # An export that is repeated must not touch files that are as they should be.
        elif current_content == text.encode():
            result.unchanged.append(path)
        else:
            rewrites.append(Rewrite(path, str(path), current_content, text.encode()))
    if rewrites and not force:
        hints = {layout.inventory: _FORCE_INVENTORY_HINT}
        raise InputError(
            *(
                build_existing_file_finding(change.file, hints.get(change.file, _FORCE_HINT))
                for change in rewrites
            )
        )
    if not layout.schema_file.exists():
        new_texts[layout.schema_file] = format_schema("manifest")
    # Before the new files: if this fails, nothing has been written.
    rewrite_all_or_none(rewrites)
    for path, text in new_texts.items():
        create_new_file_with_parents(path, text)
    result.files += sorted(
        {*new_texts, *(change.file for change in rewrites)} - {layout.schema_file}
    )
    return result


def _iter_obstacle_findings(
    layout: ExportLayout, manifests: Collection[Path]
) -> Iterator[Diagnostic]:
    """A finding for each link, or file in the place of a folder, that is in the way of a write."""
    files = (*manifests, layout.schema_file)
    if _build_lower_case_real_path(layout.inventory) in set(
        map(_build_lower_case_real_path, files)
    ):
        yield error_finding(
            "Two files of one name",
            f"{layout.inventory} is where the inventory shall be written, and a file of the "
            "manifests, too.",
            "Nothing was written. Name another file with --inventory.",
        )
    for folder in dict.fromkeys((layout.folder, *(file.parent for file in files))):
        yield from _iter_folder_obstacle_findings(folder, "--out", may_link=folder == layout.folder)
    yield from _iter_folder_obstacle_findings(layout.inventory.parent, "--inventory", may_link=True)
    for file in files:
        if file.is_symlink():
            yield _build_link_finding(file, "--out")
    if layout.inventory.is_symlink():
        yield _build_link_finding(layout.inventory, "--inventory")


def _build_lower_case_real_path(path: Path) -> str:
    """A path's real path in lower case: equal for two spellings, also where case is ignored."""
    return os.path.realpath(path).lower()


def _iter_folder_obstacle_findings(
    folder: Path, option: str, *, may_link: bool
) -> Iterator[Diagnostic]:
    """Findings for why no file can be written in a folder; one that is missing will be created."""
    # The user named the folder, so it may be a link; the folders inside it are ours.
    if folder.is_symlink() and not (may_link and folder.is_dir()):
        yield _build_link_finding(folder, option)
        return
    # lexists, not exists: a dangling link is in the way, too.
    existing = next(ancestor for ancestor in (folder, *folder.parents) if os.path.lexists(ancestor))
    if existing.is_dir():
        return
    if existing.is_symlink():
        yield _build_link_finding(existing, option)
    else:
        yield error_finding(
            "A file is where a folder is needed",
            f"{existing} is not a folder.",
            f"Nothing was written. Write elsewhere with {option}.",
        )


def _build_link_finding(path: Path, option: str) -> Diagnostic:
    link_target = os.path.realpath(path)
    reason = "and an export writes through no link, also with --force"
    if not os.path.lexists(link_target):
        reason = "where nothing is"
    return error_finding(
        "A link is in the way",
        f"{path} is a link to {link_target}, {reason}.",
        f"Nothing was written. Remove the link, or write elsewhere with {option}.",
    )


def _read_content_or_none_if_absent(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise InputError.from_summary(
            "A file cannot be read",
            f"{path}: {problem.strerror}.",
            "Nothing was written. Write elsewhere with --out or --inventory.",
        ) from None
