"""Which names and addresses a manifest may have, and how a server's text becomes one."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.model.address import Address
from synapse_apply.model.packages.versions import is_valid_version

_NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_NAME_RULE = (
    "lower-case letters, digits, `.`, `_` and `-`, begins with a letter or a digit, and is not "
    "longer than 63"
)
_MAX_NAME_LENGTH = 63


def is_valid_name(text: str) -> bool:
    """Whether a text is allowed as `metadata.name`."""
    return _NAME_PATTERN.fullmatch(text) is not None


def explain_invalid_address_or_empty(address: Address) -> str:
    """Why no manifest can declare an address; "" where one can."""
    kind = CATALOGUE.get(address.kind)
    if kind is None:
        return f"the kinds are {', '.join(sorted(CATALOGUE))}"
    name, separator, version = address.name, "", ""
    if kind.series_field:
        name, separator, version = name.rpartition("@")
        if not separator or not is_valid_version(version):
            return f"a {address.kind}'s address is {address.kind}/NAME@VERSION"
        # The plugin of such a release is given by its id, so no name has to be valid.
        if name.startswith("id="):
            return ""
    return "" if is_valid_name(name) else f"a name has {_NAME_RULE}"


def build_valid_name_or_fallback(text: str, fallback: str = "plugin") -> str:
    """A valid name made of a text's allowed characters; `fallback` where it has none."""
    candidate = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")
    return candidate[:_MAX_NAME_LENGTH].rstrip("-._") or fallback


def make_unused_name(text: str, number: str, kind: str, used_names: Collection[str]) -> str:
    """A valid name made of a text, with `number` behind it where `used_names` has it already.

    `number` is the object's id, so that an object gets the same name each time.
    """
    fallback = build_valid_name_or_fallback(f"{kind}-{number}", kind)
    base_name = build_valid_name_or_fallback(text, fallback)
    if base_name not in used_names:
        return base_name
    return next(
        name
        for name in _iter_endless_numbered_names(
            base_name, build_valid_name_or_fallback(number, "id")
        )
        if name not in used_names
    )


def _iter_endless_numbered_names(base_name: str, number: str) -> Iterator[str]:
    # A long id is cut at its front, so that one character of the name still fits.
    suffix = f"-{number}"[-_MAX_NAME_LENGTH + 1 :]
    yield base_name[: _MAX_NAME_LENGTH - len(suffix)].rstrip("-._") + suffix
    # Cut at the front again, so that each count gives another name.
    count = 2
    while True:
        numbered_suffix = f"{suffix}-{count}"[-_MAX_NAME_LENGTH + 1 :]
        yield base_name[: _MAX_NAME_LENGTH - len(numbered_suffix)].rstrip("-._") + numbered_suffix
        count += 1
