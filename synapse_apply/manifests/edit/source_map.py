"""In which document, and at which path, a declared field's value is written or would be."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from synapse_apply.manifests.decode.overlays import Overlay
from synapse_apply.manifests.edit.written_documents import WrittenDocument
from synapse_apply.model.diagnostic import (
    Diagnostic,
    FieldPath,
    Position,
    error_finding,
    find_position_at_or_nearest_above,
)
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.phrases import format_field_path
from synapse_apply.model.project import Target
from synapse_apply.model.resource import Desired
from synapse_apply.model.values import ABSENT, get_at_or_absent

_VARIABLE_PATTERN = re.compile(r"\$\{var\.([^}]*)\}")


@frozen
class DocumentSpot:
    """A path in a document, whether a value stands there yet or not."""

    document: WrittenDocument
    path: FieldPath

    @property
    def written_value_or_absent(self) -> Any:
        """The value that stands there now, or ABSENT."""
        return get_at_or_absent(self.document.document.value, self.path)


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
        overlay = self._find_last_overlay_setting(full_path)
        if overlay is not None:
            # Changing it here would change other resources as well.
            if overlay.has_wildcard_pattern:
                raise InputError(self._build_pattern_overlay_refusal(overlay, full_path))
            edit_spot = self._require_spot_in_project_file((*overlay.prefix, *full_path))
        # Other targets read the manifest, so this target's value goes into an overlay of its own.
        elif self.is_shared:
            self._require_value_not_from_variable_or_package(full_path, path)
            edit_spot = self._require_spot_in_project_file(
                ("targets", self.target.name, "overlays", str(self.resource.address), *full_path)
            )
        else:
            self._require_value_not_from_variable_or_package(full_path, path)
            return DocumentSpot(self.document, full_path)
        self._require_no_variable(edit_spot)
        return edit_spot

    def _find_last_overlay_setting(self, full_path: FieldPath) -> Overlay | None:
        """The overlay that sets this field; of several the last, whose value wins."""
        overlays: Sequence[Overlay] = tuple(self.target.overlays.values())
        matching = [
            overlay for overlay in overlays if overlay.matches_address(str(self.resource.address))
        ]
        return next(
            (
                overlay
                for overlay in reversed(matching)
                if _patch_sets_path(overlay.patch, full_path)
            ),
            None,
        )

    def _require_spot_in_project_file(self, path: FieldPath) -> DocumentSpot:
        if self.project is None or self.target.position is None:
            raise InputError(
                self._build_refusal(
                    f"Its manifest is read by other targets, too, and target {self.target.name} "
                    "has no place in the project file for an overlay",
                    "Declare the target in synapse-apply.yaml, or edit the manifest by hand.",
                    self.resource.position,
                )
            )
        if self.target.row is not None:
            raise InputError(
                self._build_refusal(
                    f"Target {self.target.name} is made by a row of a list, and has no overlay of "
                    "its own in the project file",
                    "Change the template, or the manifest, by hand.",
                    self.target.position,
                )
            )
        return DocumentSpot(self.project, path)

    def _require_value_not_from_variable_or_package(
        self, full_path: FieldPath, path: FieldPath
    ) -> None:
        self._require_no_variable(DocumentSpot(self.document, full_path))
        written_value_or_absent = get_at_or_absent(self.document.document.value, full_path)
        # Writing it into the manifest would contradict the package, which is an error.
        if (
            written_value_or_absent is ABSENT
            and get_at_or_absent(self.resource.spec, path) is not ABSENT
        ):
            source = self.resource.source or self.document.get_value_or_none("spec", "from")
            raise InputError(
                self._build_refusal(
                    f"{format_field_path(full_path)} is not in the manifest: the package's "
                    f"config.yaml gives it",
                    f"Change it in the config.yaml of {source}.",
                    self.document.document.positions.get(("spec", "from"), self.resource.position),
                )
            )

    def _require_no_variable(self, spot: DocumentSpot) -> None:
        value, document = spot.document.document.value, spot.document.document
        # A variable may give a whole map, of which the field is only a part.
        ancestors = (get_at_or_absent(value, spot.path[:end]) for end in range(len(spot.path)))
        names = [
            name
            for ancestor in ancestors
            if isinstance(ancestor, str)
            for name in _iter_variable_names(ancestor)
        ]
        for name in (*names, *_iter_variable_names(spot.written_value_or_absent)):
            variable_position = self._find_variable_position(name)
            position_note = f" ({variable_position})" if variable_position else ""
            field_name = format_field_path(spot.path[spot.path.index("spec") :])
            raise InputError(
                self._build_refusal(
                    f"{field_name} comes from variable {name}",
                    f"Change the variable{position_note}, or write the value out.",
                    find_position_at_or_nearest_above(document.positions, spot.path),
                )
            )

    def _find_variable_position(self, name: str) -> Position | None:
        """The position of a variable's value or declaration in the project file, if it is there."""
        if self.project is None:
            return None
        positions = self.project.document.positions
        of_target: FieldPath = ("targets", self.target.name, "variables", name)
        return positions.get(of_target, positions.get(("variables", name)))

    def _build_pattern_overlay_refusal(self, overlay: Overlay, full_path: FieldPath) -> Diagnostic:
        position = find_position_at_or_nearest_above(
            overlay.positions, (*overlay.prefix, *full_path)
        )
        return self._build_refusal(
            f"{format_field_path(full_path)} is set by the overlay {overlay.pattern}, which is "
            f"for others, too",
            "Change it there, or set it in an overlay of this address alone.",
            position,
        )

    def _build_refusal(self, detail: str, hint: str, position: Position | None) -> Diagnostic:
        return error_finding(
            "This drift cannot be written",
            f"{detail}.",
            hint,
            position=position,
            address=str(self.resource.address),
        )


def _patch_sets_path(patch: Any, path: FieldPath) -> bool:
    """Whether a merge patch sets a path, removes it, or replaces a value that contains it."""
    node = patch
    for part in path:
        if not isinstance(node, Mapping):
            return True
        if part not in node:
            return False
        node = node[part]
    return True


def _iter_variable_names(value: Any) -> Iterator[str]:
    """The names of the variables in a value as written; `$${` is an escape, not a variable."""
    if isinstance(value, str):
        yield from _VARIABLE_PATTERN.findall(value.replace("$${", ""))
    elif isinstance(value, Mapping):
        for child in value.values():
            yield from _iter_variable_names(child)
    elif isinstance(value, list):
        for child in value:
            yield from _iter_variable_names(child)
