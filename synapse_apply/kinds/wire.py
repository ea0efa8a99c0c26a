"""From a server object to spec fields: picking what is ours and wrapping what is secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_apply.model.errors import Effect, RemoteError
from synapse_apply.model.marks import SecretMarks
from synapse_apply.model.values import Sensitive, Withheld, leaves, plant

_MASK_CHARACTERS = frozenset("*•●·")
_LETTERS_THAT_MASK = frozenset("xX")
_SHORTEST_MASK = 3


def pick(raw: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """The fields of a server object that the kind knows, nulls left out."""
    return {name: raw[name] for name in sorted(names) if raw.get(name) is not None}


def secure(kind: str, spec: Mapping[str, Any], marks: SecretMarks) -> dict[str, Any]:
    """The same spec with every secret leaf as Sensitive, or Withheld where the server masks it.

    A server may mask more than the marks know of: a mask is never a value to be sent back.
    """
    if kind not in marks.kinds:
        return dict(spec)
    container = marks.kinds[kind].container
    safe: dict[str, Any] = {}
    for path, value in leaves(spec, lambda at: marks.whole(kind, spec, at)):
        # A server that writes all of it as one text or list hides any secret in there from us.
        packed = path == (container,) and not isinstance(value, Mapping)
        secret = packed or marks.secret(kind, spec, path)
        if _is_mask(value, _MASK_CHARACTERS | (_LETTERS_THAT_MASK if secret else frozenset())):
            plant(safe, path, Withheld("masked"))
        else:
            plant(safe, path, Sensitive(value) if secret else value)
    return safe


def _is_mask(value: Any, characters: frozenset[str]) -> bool:
    """Servers mask with a run of one character; a map with a mask in it is not whole either."""
    if isinstance(value, Mapping):
        return any(_is_mask(inner, characters) for inner in value.values())
    if isinstance(value, list):
        return bool(value) and all(_is_mask(inner, characters) for inner in value)
    return (
        isinstance(value, str)
        and len(value) >= _SHORTEST_MASK
        and len(set(value)) == 1
        and value[0] in characters
    )


def remote_id(raw: Mapping[str, Any]) -> str:
    """The id of a server object as text; RemoteError for an answer that is no object of the API."""
    found = raw.get("id")
    if found is None:
        raise RemoteError("the backend answered an object without an id", effect=Effect.UNKNOWN)
    return str(found)


def wire_id(text: str) -> int | str:
    """A remote id as the API wants it: a number where it is one."""
    return int(text) if text.isdecimal() else text
