"""From a server object to spec fields: picking what is ours and wrapping what is secret."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from synapse_apply.model.errors import Effect, RemoteError
from synapse_apply.model.marks import SecretMarks
from synapse_apply.model.values import Sensitive, Withheld, leaves, plant

_MASK_CHARACTERS = frozenset("*•●xX·")
_SHORTEST_MASK = 3


def pick(raw: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """The fields of a server object that the kind knows, nulls left out."""
    return {name: raw[name] for name in sorted(names) if raw.get(name) is not None}


def secure(kind: str, spec: Mapping[str, Any], marks: SecretMarks) -> dict[str, Any]:
    """The same spec with every secret leaf as Sensitive, or Withheld where the server masks it."""
    if kind not in marks.kinds:
        return dict(spec)
    safe: dict[str, Any] = {}
    for path, value in leaves(spec, lambda at: marks.whole(kind, spec, at)):
        plant(safe, path, _wrap(value) if marks.secret(kind, spec, path) else value)
    return safe


def _wrap(value: Any) -> Any:
    return Withheld("masked") if _is_mask(value) else Sensitive(value)


def _is_mask(value: Any) -> bool:
    """Servers mask with a run of one mask character; `xxx` as a real secret would be no secret."""
    return (
        isinstance(value, str)
        and len(value) >= _SHORTEST_MASK
        and len(set(value)) == 1
        and value[0] in _MASK_CHARACTERS
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
