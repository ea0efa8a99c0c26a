"""Whether a declared release version may be raised, and to which version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from synapse_apply.manifests.decode.loading import LoadedManifests
from synapse_apply.manifests.decode.overlays import Overlay
from synapse_apply.manifests.edit.written_documents import WrittenDocument
from synapse_apply.model.address import Address
from synapse_apply.model.errors import InputError
from synapse_apply.model.packages.versions import (
    bump_version_or_empty,
    get_version_sort_key_or_none,
    is_valid_version,
)
from synapse_apply.model.project import Target
from synapse_apply.model.resource import Desired

VERSION_PATH = ("spec", "version")


def require_version_without_variable(document: WrittenDocument, release: Desired) -> None:
    """Raise InputError where the written version holds a variable: there is not text to edit."""
    written_version = document.get_value_or_none(*VERSION_PATH)
    if isinstance(written_version, str) and "${" in written_version:
        raise InputError.from_summary(
            "The version is a variable",
            f"spec.version is {written_version}: it is not written here.",
            "Change the variable's value, or write the version out.",
            address=str(release.address),
            position=document.document.positions.get(VERSION_PATH),
        )


def compute_address_with_higher_version(
    release: Desired, part: str, requested_version: str = ""
) -> Address:
    """The release's address with the next version, or with `requested_version`.

    `part` is major, minor or patch. Raises InputError where the version is malformed or not higher.
    """
    version = str(release.spec["version"])
    # `bump_version_or_empty` gives "" where the version is no semantic one.
    new_version = requested_version or bump_version_or_empty(version, part)
    error_fields = {
        "address": str(release.address),
        "position": release.find_position(("version",)),
    }
    if not new_version:
        raise InputError.from_summary(
            "The version cannot be counted on",
            f"{version} is not a semantic version, so nobody can tell its next {part} version.",
            "Say which one follows: --to VERSION.",
            **error_fields,
        )
    if not is_valid_version(new_version):
        raise InputError.from_summary(
            "Malformed version",
            f"{new_version!r} has characters that no version has, or is too long.",
            "Use letters, digits, `.`, `_`, `+` and `-`, at most 64.",
        )
    # Versions without an order (None) cannot be compared: only an equal one is refused.
    old_key, new_key = (
        get_version_sort_key_or_none(version),
        get_version_sort_key_or_none(new_version),
    )
    if new_version == version or (
        old_key is not None and new_key is not None and new_key <= old_key
    ):
        raise InputError.from_summary(
            "The version would not rise",
            f"{release.address} is declared, and {new_version} does not come after {version}.",
            "Published versions never change: choose a higher one.",
            **error_fields,
        )
    return Address(release.address.kind, f"{release.address.name.rpartition('@')[0]}@{new_version}")


def require_address_undeclared(new_address: Address, loaded: Iterable[LoadedManifests]) -> None:
    """Raise InputError where any target declares the new address already."""
    for loaded_target in loaded:
        if new_address in loaded_target.desired:
            raise InputError.from_summary(
                "This version is declared already",
                f"{new_address} stands at {loaded_target.desired[new_address].position}.",
                "Choose another one with --to VERSION.",
                address=str(new_address),
            )


def require_no_overlay_conflict(
    targets: Iterable[Target], old_address: Address, new_address: Address, keys: Sequence[str]
) -> None:
    """Raise InputError for an overlay that sets a field of `keys`, or matches only the old address.

    The first would undo the edit, the second would no longer apply after it.
    """
    for target in targets:
        overlays: Iterable[Overlay] = target.overlays.values()
        for overlay in overlays:
            if overlay.matches_address(str(old_address)):
                _require_matching_overlay_compatible(
                    overlay, target, old_address, new_address, keys
                )


def _require_matching_overlay_compatible(
    overlay: Overlay,
    target: Target,
    old_address: Address,
    new_address: Address,
    keys: Sequence[str],
) -> None:
    error_fields = {"position": overlay.position, "target": target.name}
    spec = overlay.patch.get("spec")
    for key in keys:
        # The overlay's value wins, so the edit of the manifest would change nothing.
        if isinstance(spec, Mapping) and key in spec:
            raise InputError.from_summary(
                "An overlay sets what is to be edited",
                f"The overlay {overlay.pattern} sets spec.{key}.",
                "Change it there, or remove it from the overlay.",
                **error_fields,
            )
    if not overlay.matches_address(str(new_address)):
        raise InputError.from_summary(
            "An overlay is for the old version alone",
            f"The overlay {overlay.pattern} fits {old_address} and not {new_address}.",
            f"Write {old_address.kind}/{old_address.name.rpartition('@')[0]}@* in the project "
            f"file.",
            **error_fields,
        )
