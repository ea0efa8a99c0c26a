"""Names that manifests can have, made of texts that may be anything."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from synapse_apply.kinds.catalogue import CATALOGUE
from synapse_apply.model.address import Address

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_NAME_WORDS = (
    "lower-case letters, digits, `.`, `_` and `-`, begins with a letter or a digit, and is not "
    "longer than 63"
)
_VERSION = re.compile(r"[A-Za-z0-9._+-]{1,64}")
_LONGEST = 63


def is_name(text: str) -> bool:
    """Whether `metadata.name` may be this."""
    return _NAME.fullmatch(text) is not None


def misnamed(address: Address) -> str:
    """Why no manifest can have an address; "" where one can."""
    kind = CATALOGUE.get(address.kind)
    if kind is None:
        return f"the kinds are {', '.join(sorted(CATALOGUE))}"
    name, sign, version = address.name, "", ""
    if kind.series:
        name, sign, version = name.rpartition("@")
        if not sign or _VERSION.fullmatch(version) is None:
            return f"a {address.kind}'s address is {address.kind}/NAME@VERSION"
        if name.startswith("id="):
            return ""
    return "" if is_name(name) else f"a name has {_NAME_WORDS}"


def slug(text: str, otherwise: str = "plugin") -> str:
    """The nearest name to a text; `otherwise` where nothing of it can stay."""
    made = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")
    return made[:_LONGEST].rstrip("-._") or otherwise


def free_name(text: str, number: str, kind: str, taken: Collection[str]) -> str:
    """A name near a text that is not taken yet; `number` tells apart what would be called alike.

    `number` is the object's id, so that the same objects are called the same each time.
    """
    mark = slug(f"{kind}-{number}", kind)
    first = slug(text, mark)
    if first not in taken:
        return first
    return next(name for name in _others(first, slug(number, "id")) if name not in taken)


def _others(first: str, number: str) -> Iterator[str]:
    ending = f"-{number}"[-_LONGEST + 1 :]
    yield first[: _LONGEST - len(ending)].rstrip("-._") + ending
    count = 2
    while True:
        more = f"{ending}-{count}"[-_LONGEST + 1 :]
        yield first[: _LONGEST - len(more)].rstrip("-._") + more
        count += 1
