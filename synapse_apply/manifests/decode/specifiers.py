"""Whether a version fits a version specifier, as pip and the platform's SDK decide (PEP 440)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet

_MAX_LENGTH = 500


@lru_cache(maxsize=1024)
def _parse_specifier_or_none(text: str) -> SpecifierSet | None:
    # Imported here: most packages depend on no other plugin and need not load `packaging`.
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # noqa: PLC0415

    # The grammar of PEP 440 is matched by regular expressions that are slow on long hostile texts.
    if len(text) > _MAX_LENGTH:
        return None
    try:
        return SpecifierSet(text)
    except InvalidSpecifier:
        return None


def is_version_specifier(text: str) -> bool:
    """Whether a text is a version specifier, such as `>=1.2,<2`; an empty one is, and fits all."""
    return _parse_specifier_or_none(text) is not None


def is_version_matching_or_false_if_unparsable(version: str, specifier: str) -> bool:
    """Whether a version fits a specifier; False where either cannot be parsed."""
    from packaging.version import InvalidVersion, Version  # noqa: PLC0415

    specifier_set = _parse_specifier_or_none(specifier)
    if specifier_set is None:
        return False
    try:
        # A pre-release counts: it was declared on purpose, unlike one that pip finds in an index.
        return specifier_set.contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False
