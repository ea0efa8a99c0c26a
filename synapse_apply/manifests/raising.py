"""Whether a declared version may be raised, and to what."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from synapse_apply.manifests.loading import Loaded
from synapse_apply.manifests.overlays import Overlay
from synapse_apply.manifests.written import Written
from synapse_apply.model.address import Address
from synapse_apply.model.desired import Desired
from synapse_apply.model.errors import InputError
from synapse_apply.model.project import Target
from synapse_apply.model.versions import bumped, order

SPEC_VERSION = ("spec", "version")
_VERSION = re.compile(r"[A-Za-z0-9._+-]{1,64}")


def check_written(document: Written, release: Desired) -> None:
    """InputError for a version that a variable gives: there is nothing here to edit."""
    raw = document.get(*SPEC_VERSION)
    if isinstance(raw, str) and "${" in raw:
        raise InputError.of(
            "The version is a variable",
            f"spec.version is {raw}: it is not written here.",
            "Change the variable's value, or write the version out.",
            address=str(release.address),
            position=document.document.positions.get(SPEC_VERSION),
        )


def raised(release: Desired, part: str, to: str = "") -> Address:
    """The address with the next version of a part, or with `to`; InputError if it is not higher."""
    version = str(release.spec["version"])
    new = to or bumped(version, part)
    at = {"address": str(release.address), "position": release.place(("version",))}
    if not new:
        raise InputError.of(
            "The version cannot be counted on",
            f"{version} is no semantic version, so nobody can tell its next {part} version.",
            "Say which one follows: --to VERSION.",
            **at,
        )
    if not _VERSION.fullmatch(new):
        raise InputError.of(
            "Malformed version",
            f"{new!r} has characters that no version has, or is too long.",
            "Use letters, digits, `.`, `_`, `+` and `-`, at most 64.",
        )
    low, high = order(version), order(new)
    if new == version or (low is not None and high is not None and high <= low):
        raise InputError.of(
            "The version would not rise",
            f"{release.address} is declared, and {new} does not come after {version}.",
            "Published versions never change: choose a higher one.",
            **at,
        )
    return Address(release.address.kind, f"{release.address.name.rpartition('@')[0]}@{new}")


def check_free(after: Address, loaded: Iterable[Loaded]) -> None:
    """InputError when the new version is declared already."""
    for one in loaded:
        if after in one.desired:
            raise InputError.of(
                "This version is declared already",
                f"{after} stands at {one.desired[after].position}.",
                "Choose another one with --to VERSION.",
                address=str(after),
            )


def check_overlays(
    targets: Iterable[Target], before: Address, after: Address, keys: Sequence[str]
) -> None:
    """InputError for an overlay that would win over an edit of these fields, or lose its object."""
    for target in targets:
        overlays: Iterable[Overlay] = target.overlays.values()
        for overlay in overlays:
            if overlay.fits(str(before)):
                _check_overlay(overlay, target, before, after, keys)


def _check_overlay(
    overlay: Overlay, target: Target, before: Address, after: Address, keys: Sequence[str]
) -> None:
    where = {"position": overlay.position, "target": target.name}
    spec = overlay.patch.get("spec")
    for key in keys:
        if isinstance(spec, Mapping) and key in spec:
            raise InputError.of(
                "An overlay sets what is to be edited",
                f"The overlay {overlay.pattern} sets spec.{key}.",
                "Change it there, or remove it from the overlay.",
                **where,
            )
    if not overlay.fits(str(after)):
        raise InputError.of(
            "An overlay is for the old version alone",
            f"The overlay {overlay.pattern} fits {before} and not {after}.",
            f"Write {before.kind}/{before.name.rpartition('@')[0]}@* in the project file.",
            **where,
        )
