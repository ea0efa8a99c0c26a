"""Where the value of a declared field is written, and so where another one would have to stand."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from synapse_apply.manifests.overlays import Overlay
from synapse_apply.manifests.places import nearest
from synapse_apply.manifests.wording import dotted
from synapse_apply.manifests.written import Written
from synapse_apply.model.desired import Desired
from synapse_apply.model.diagnostic import Diagnostic, Path, Position, error
from synapse_apply.model.errors import InputError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.project import Target
from synapse_apply.model.values import ABSENT, dig

_VARIABLE = re.compile(r"\$\{var\.([^}]*)\}")


@frozen
class Spot:
    """A place in a document, whether something stands there yet or not."""

    document: Written
    path: Path

    @property
    def raw(self) -> Any:
        """What is written there now."""
        return dig(self.document.document.value, self.path)


@frozen
class Origins:
    """Where the fields of one resource come from on one target.

    `document` is its manifest, `project` the project file where there is one. `shared`: other
    targets read the same document, so that what is of this one alone goes into its overlay.
    """

    target: Target
    resource: Desired
    document: Written
    project: Written | None
    shared: bool

    def spot(self, path: Path) -> Spot:
        """Where a field of the spec has to be written; InputError, with the place, where it cannot.

        A value that a variable or a package's config.yaml gives is not written at the field.
        """
        full = ("spec", *path)
        overlay = self._setter(full)
        if overlay is not None:
            if overlay.is_pattern:
                raise InputError(self._of_a_pattern(overlay, full))
            found = self._in_project((*overlay.prefix, *full))
        elif self.shared:
            self._check_written(full, path)
            found = self._in_project(
                ("targets", self.target.name, "overlays", str(self.resource.address), *full)
            )
        else:
            self._check_written(full, path)
            return Spot(self.document, full)
        self._check_variable(found)
        return found

    def _setter(self, full: Path) -> Overlay | None:
        """The overlay whose word on this field is the last one."""
        overlays: Sequence[Overlay] = tuple(self.target.overlays.values())
        fitting = [one for one in overlays if one.fits(str(self.resource.address))]
        return next((one for one in reversed(fitting) if _sets(one.patch, full)), None)

    def _in_project(self, path: Path) -> Spot:
        if self.project is None or self.target.position is None:
            raise InputError(
                self._refusal(
                    f"Its manifest is read by other targets, too, and target {self.target.name} "
                    "has no place in the project file for an overlay",
                    "Declare the target in synapse-apply.yaml, or edit the manifest by hand.",
                    self.resource.position,
                )
            )
        return Spot(self.project, path)

    def _check_written(self, full: Path, path: Path) -> None:
        self._check_variable(Spot(self.document, full))
        raw = dig(self.document.document.value, full)
        if raw is ABSENT and dig(self.resource.spec, path) is not ABSENT:
            source = self.resource.source or self.document.get("spec", "from")
            raise InputError(
                self._refusal(
                    f"{dotted(full)} is not in the manifest: the package's config.yaml gives it",
                    f"Change it in the config.yaml of {source}.",
                    self.document.document.positions.get(("spec", "from"), self.resource.position),
                )
            )

    def _check_variable(self, spot: Spot) -> None:
        value, document = spot.document.document.value, spot.document.document
        above = (dig(value, spot.path[:end]) for end in range(len(spot.path)))
        names = [name for one in above if isinstance(one, str) for name in _variables(one)]
        for name in (*names, *_variables(spot.raw)):
            place = self._variable(name)
            at = f" ({place})" if place else ""
            what = dotted(spot.path[spot.path.index("spec") :])
            raise InputError(
                self._refusal(
                    f"{what} comes from variable {name}",
                    f"Change the variable{at}, or write the value out.",
                    nearest(document.positions, spot.path),
                )
            )

    def _variable(self, name: str) -> Position | None:
        """Where the value of a variable stands, as far as the project file has it."""
        if self.project is None:
            return None
        positions = self.project.document.positions
        of_target: Path = ("targets", self.target.name, "variables", name)
        return positions.get(of_target, positions.get(("variables", name)))

    def _of_a_pattern(self, overlay: Overlay, full: Path) -> Diagnostic:
        place = nearest(overlay.positions, (*overlay.prefix, *full))
        return self._refusal(
            f"{dotted(full)} is set by the overlay {overlay.pattern}, which is for others, too",
            "Change it there, or set it in an overlay of this address alone.",
            place,
        )

    def _refusal(self, detail: str, hint: str, position: Position | None) -> Diagnostic:
        return error(
            "This drift cannot be accepted",
            f"{detail}.",
            hint,
            position=position,
            address=str(self.resource.address),
        )


def _sets(patch: Any, path: Path) -> bool:
    """Whether a merge patch has a word on a path: a value, a null, or one that replaces a map."""
    at = patch
    for part in path:
        if not isinstance(at, Mapping):
            return True
        if part not in at:
            return False
        at = at[part]
    return True


def _variables(value: Any) -> Iterator[str]:
    """The variables in a value as it is written; `$${` is none."""
    if isinstance(value, str):
        yield from _VARIABLE.findall(value.replace("$${", ""))
    elif isinstance(value, Mapping):
        for below in value.values():
            yield from _variables(below)
    elif isinstance(value, list):
        for below in value:
            yield from _variables(below)
