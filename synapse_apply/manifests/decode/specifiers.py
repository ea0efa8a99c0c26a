"""Versions and specifiers as pip and the platform's SDK read them (PEP 440)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

_MAX_LENGTH = 500


@lru_cache(maxsize=1024)
def _parse_specifier(text: str) -> SpecifierSet | None:
    # Here, not above: most packages need no other plugin.
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # noqa: PLC0415

    if len(text) > _MAX_LENGTH:
        return None
    try:
        return SpecifierSet(text)
    except InvalidSpecifier:
        return None


def is_version_specifier(text: str) -> bool:
    """Whether a text says which versions fit, such as `>=1.2,<2`; an empty one lets all fit."""
    return _parse_specifier(text) is not None


def is_version_matching(version: str, specifier: str) -> bool:
    """Whether a version fits a specifier; neither fits where it cannot be read."""
    from packaging.version import InvalidVersion, Version  # noqa: PLC0415

    specifier_set = _parse_specifier(specifier)
    if specifier_set is None:
        return False
    try:
        return specifier_set.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False
