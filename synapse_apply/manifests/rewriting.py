"""Where a declared value is written, and how files are changed."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from typing import Any, NoReturn

from synapse_apply.manifests.decode.decode import API_VERSION, prefix_by_kind_name
from synapse_apply.manifests.decode.loading import FileCache
from synapse_apply.manifests.decode.variables import Overlay
from synapse_apply.manifests.files import ManifestPaths, format_display_path
from synapse_apply.manifests.yaml.editing import Edit, apply_edits
from synapse_apply.manifests.yaml.reader import Document, read_documents
from synapse_apply.model.address import has_wildcard
from synapse_apply.model.diagnostic import (
    Diagnostic,
    FieldPath,
    Position,
    error_finding,
    find_nearest_position,
)
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.phrases import format_field_path, shown_path
from synapse_apply.model.project import Project, Target
from synapse_apply.model.resource import Desired
from synapse_apply.model.values import ABSENT, get_at_or_absent


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
        return prefix_by_kind_name().get(str(value.get("kind")), "")

    @property
    def position(self) -> Position:
        return self.document.position

    def get_value_or_none(self, *path: str) -> Any:
        """The value at a path of keys; None where there is none."""
        node = self.document.value
        for part in path:
            node = node.get(part) if isinstance(node, Mapping) else None
        return node


def readable_documents(
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


def read_project_document(project: Project) -> WrittenDocument | None:
    """The document of the project file; None where there is no such file."""
    if (file := project.file) is None:
        return None
    name = shown_path(file)
    return WrittenDocument(file, name, 0, read_documents(file.read_bytes(), name).documents[0])


_VARIABLE_PATTERN = re.compile(r"\$\{var\.([^}]*)\}")


@frozen
class DocumentSpot:
    """A path in a document, whether a value stands there yet or not."""

    document: WrittenDocument
    path: FieldPath


@frozen
class FieldOrigins:
    """Where the values of one resource's fields come from on one target.

    `document` is its manifest, `project` the project file where there is one. `is_shared`: other
    targets read the same document, so that a change for this one alone goes into its overlay.
    """

    target: Target
    resource: Desired
    document: WrittenDocument
    project: WrittenDocument | None
    is_shared: bool

    def require_edit_spot(self, path: FieldPath) -> DocumentSpot:
        """Where to write a spec field's new value; raises InputError where none can be written.

        None can where a variable or a package's config.yaml gives it, or an overlay of several
        addresses does. The error names the position of what does.
        """
        full_path = ("spec", *path)
        overlay = self._last_overlay(full_path)
        if overlay is not None:
            project_path: FieldPath = (*overlay.prefix, *full_path)
            # Changing it here would change other resources as well.
            if has_wildcard(overlay.pattern):
                self._refuse(
                    f"{format_field_path(full_path)} is set by the overlay {overlay.pattern}, "
                    "which also applies to other addresses",
                    "Change the value there, or set it in an overlay for this address only.",
                    find_nearest_position(overlay.positions, project_path),
                )
        else:
            self._require_plain_value(full_path, path)
            if not self.is_shared:
                return DocumentSpot(self.document, full_path)
            # Other targets read the manifest, so this target's value goes into its own overlay.
            address = str(self.resource.address)
            project_path = ("targets", self.target.name, "overlays", address, *full_path)
        edit_spot = self._require_project_spot(project_path)
        self._require_no_variable(edit_spot)
        return edit_spot

    def _last_overlay(self, full_path: FieldPath) -> Overlay | None:
        """The overlay that sets this field; of several the last, whose value wins.

        One sets it that has the path, removes it, or replaces a value that contains it.
        """
        overlays: Sequence[Overlay] = tuple(self.target.overlays.values())
        for overlay in reversed(overlays):
            node: Any = overlay.patch
            for part in full_path:
                node = node.get(part, ABSENT) if isinstance(node, Mapping) else node
            if node is not ABSENT and overlay.matches_address(str(self.resource.address)):
                return overlay
        return None

    def _require_project_spot(self, path: FieldPath) -> DocumentSpot:
        if self.project is None or self.target.position is None:
            self._refuse(
                f"Other targets also read its manifest, and target {self.target.name} has no "
                "place in the project file for an overlay",
                "Declare the target in synapse-apply.yaml, or edit the manifest manually.",
                self.resource.position,
            )
        if self.target.row is not None:
            self._refuse(
                f"Target {self.target.name} comes from a row of a list, and has no separate "
                "overlay in the project file",
                "Change the template or the manifest manually.",
                self.target.position,
            )
        return DocumentSpot(self.project, path)

    def _require_plain_value(self, full_path: FieldPath, path: FieldPath) -> None:
        self._require_no_variable(DocumentSpot(self.document, full_path))
        written_value = get_at_or_absent(self.document.document.value, full_path)
        # Writing it into the manifest would contradict the package, which is an error.
        if written_value is ABSENT and get_at_or_absent(self.resource.spec, path) is not ABSENT:
            source = self.resource.source or self.document.get_value_or_none("spec", "from")
            self._refuse(
                f"{format_field_path(full_path)} is not in the manifest: the value comes from "
                "the package's config.yaml",
                f"Change the value in the config.yaml of {source}.",
                self.document.document.positions.get(("spec", "from"), self.resource.position),
            )

    def _require_no_variable(self, spot: DocumentSpot) -> None:
        value, document = spot.document.document.value, spot.document.document
        # A variable may give a whole map, of which the field is only a part.
        ancestors = (get_at_or_absent(value, spot.path[:end]) for end in range(len(spot.path)))
        texts = [ancestor for ancestor in ancestors if isinstance(ancestor, str)]
        for name in _iter_variable_names([*texts, get_at_or_absent(value, spot.path)]):
            # Where its value or declaration is in the project file, if it is there.
            positions = self.project.document.positions if self.project else {}
            of_target: FieldPath = ("targets", self.target.name, "variables", name)
            variable_position = positions.get(of_target, positions.get(("variables", name)))
            position_note = f" ({variable_position})" if variable_position else ""
            field_name = format_field_path(spot.path[spot.path.index("spec") :])
            self._refuse(
                f"{field_name} comes from variable {name}",
                f"Change the variable{position_note}, or write the value itself.",
                find_nearest_position(document.positions, spot.path),
            )

    def _refuse(self, detail: str, hint: str, position: Position | None) -> NoReturn:
        address, summary = str(self.resource.address), "This drift cannot be written"
        raise InputError.from_summary(
            summary, f"{detail}.", hint, position=position, address=address
        )


def _iter_variable_names(value: Any) -> Iterator[str]:
    """The names of the variables in a value as written; `$${` is an escape, not a variable."""
    if isinstance(value, str):
        yield from _VARIABLE_PATTERN.findall(value.replace("$${", ""))
    elif isinstance(value, Mapping | list):
        for child in value.values() if isinstance(value, Mapping) else value:
            yield from _iter_variable_names(child)


@frozen
class Rewrite:
    """A file to replace: its content when it was read, its new content, its `name` in messages."""

    file: Path
    name: str
    old_content: bytes = field(repr=False)
    new_content: bytes = field(repr=False)


def edited(file: Path, name: str, edits: Sequence[Edit]) -> Rewrite:
    """A file and what it is to be with these edits; InputError where it cannot be read."""
    try:
        old_content = file.read_bytes()
    except OSError as problem:
        raise InputError.from_summary(
            "A file cannot be read", f"{name}: {problem.strerror}."
        ) from None
    return Rewrite(file, name, old_content, apply_edits(old_content.decode(), name, edits).encode())


def rewrite_all_or_none(changes: Sequence[Rewrite]) -> None:
    """Replace the content of every file, following links; on InputError all are as they were.

    A file that is not writable, or that changed since it was read, is not replaced.
    """
    prepared: list[tuple[Rewrite, Path, Path]] = []
    done: list[Rewrite] = []
    try:
        # All temporary files are written before the first is renamed: a full disk changes nothing.
        for change in changes:
            # Links are followed first: a rename over a link would replace the link, not its file.
            real_path = change.file.resolve()
            # In the same folder, since a rename is atomic only within one file system. Dot files
            # are never read as manifests.
            temporary_path = real_path.with_name(f".{real_path.name}.{os.getpid()}.part")
            prepared.append((change, real_path, temporary_path))
            _write_temporary_file(change, real_path, temporary_path)
        for change, real_path, temporary_path in prepared:
            # Checked right before the rename: an editor may have saved the file meanwhile.
            _require_file_content(change, real_path, change.old_content)
            temporary_path.replace(real_path)
            done.append(change)
            # Read back: another writer may have replaced the file in between.
            _require_file_content(change, real_path, change.new_content)
    except (OSError, InputError) as problem:
        for replaced in done:
            with suppress(OSError):
                replaced.file.resolve().write_bytes(replaced.old_content)
        if isinstance(problem, InputError):
            raise
        # `change` is the one that could not be replaced.
        raise InputError.from_summary(
            "A file cannot be written",
            f"{change.name}: {problem.strerror}.",
            "Nothing was written. Check the permissions of the file and its folder.",
        ) from None
    finally:
        for _, _, temporary_path in prepared:
            with suppress(OSError):
                temporary_path.unlink()
    for folder in {real_path.parent for _, real_path, _ in prepared}:
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def create_new_file(path: Path, text: str) -> None:
    """Create a file and its parent folders; InputError if it exists or cannot be written.

    A file that could not be written completely is removed again.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Mode "x" fails if the file exists, without a gap between a check and the creation.
        file = path.open("x", encoding="utf-8", newline="\n")
        try:
            with file:
                file.write(text)
        except BaseException:
            # A half-written file would make the next try fail, since the file exists.
            with suppress(OSError):
                path.unlink()
            raise
    except FileExistsError:
        raise InputError(existing_file_finding(path)) from None
    except OSError as problem:
        raise InputError.from_summary(
            "A file cannot be written", f"{path}: {problem.strerror}.", "Check the folder."
        ) from None


def existing_file_finding(path: Path, hint: str = "") -> Diagnostic:
    """The finding for a file that exists and is not to be overwritten."""
    return error_finding(
        "The file already exists",
        f"{path} was not changed.",
        hint or "Choose a different name, or remove the file first.",
    )


def _write_temporary_file(change: Rewrite, real_path: Path, temporary_path: Path) -> None:
    """Write the new content beside the file, synced, with the file's owner and mode."""
    file_stat = real_path.stat()
    if not os.access(real_path, os.W_OK):
        raise PermissionError(13, "it is not writable")
    # O_EXCL follows no link that somebody put at this name.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with os.fdopen(os.open(temporary_path, flags, 0o600), "wb") as file:
        file.write(change.new_content)
        file.flush()
        # Another owner needs a privilege: without it the file belongs to who runs the command.
        if hasattr(os, "fchown"):
            with suppress(OSError):
                os.fchown(file.fileno(), file_stat.st_uid, file_stat.st_gid)
        temporary_path.chmod(stat.S_IMODE(file_stat.st_mode))
        # Otherwise a power failure after the rename could leave an empty file.
        os.fsync(file.fileno())


def _require_file_content(change: Rewrite, real_path: Path, content: bytes) -> None:
    if real_path.read_bytes() != content:
        raise InputError.from_summary(
            "A file changed during the run",
            f"{change.name} changed after it was read.",
            "Nothing was written. Run the command again.",
        )
