"""Findings on a setting, with the place in the file where it stands."""

from __future__ import annotations

from collections.abc import Mapping

from synapse_apply.model.diagnostic import (
    Diagnostic,
    FieldPath,
    Position,
    error_finding,
    find_nearest_position,
    warning_finding,
)


class FindingBuilder:
    """Builds findings on settings of one document, by their paths in it."""

    def __init__(self, positions: Mapping[FieldPath, Position]) -> None:
        self._positions = positions

    def build_error(self, path: FieldPath, summary: str, detail: str, hint: str) -> Diagnostic:
        """An error at the setting, or at what encloses it where it is not written."""
        position = find_nearest_position(self._positions, path)
        return error_finding(summary, detail, hint, position=position, path=path)

    def build_warning(self, path: FieldPath, summary: str, detail: str, hint: str) -> Diagnostic:
        """A warning, placed as an error is."""
        position = find_nearest_position(self._positions, path)
        return warning_finding(summary, detail, hint, position=position, path=path)
