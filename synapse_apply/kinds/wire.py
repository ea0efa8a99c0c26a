"""From a server object to spec fields: picking what is ours and wrapping what is secret."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from synapse_apply.model.diagnostic import Path
from synapse_apply.model.errors import Effect, RemoteError
from synapse_apply.model.marks import SecretMarks, SpecMarks
from synapse_apply.model.masked import MaskedText, as_answered
from synapse_apply.model.remote_ids import remote_id_of
from synapse_apply.model.server_json import fields_of
from synapse_apply.model.values import Sensitive, Withheld, is_map

_MASK_CHARACTERS = frozenset("*•●·")
_SECRET_MASKS = _MASK_CHARACTERS | frozenset("xX")
_SHORTEST_MASK = 3
_NOTHING: tuple[Any, ...] = ("", {}, [])


def pick(raw: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """The fields of a server object that the kind knows, nulls left out."""
    return {name: value for name in _ordered(names) if (value := raw.get(name)) is not None}


def lacking(raw: Mapping[str, Any], names: frozenset[str]) -> frozenset[str]:
    """The fields that the kind knows and a server object does not even have as null."""
    return names - raw.keys()


@cache
def _ordered(names: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(names))


def secure(
    kind: str,
    spec: Mapping[str, Any],
    marks: SecretMarks,
    api: str = "",
    remote_id: str = "",
    keys: Iterable[str] = (),
) -> dict[str, Any]:
    """The same spec with every secret leaf as Sensitive, or Withheld where the server masks it.

    A server may mask more than the marks know of: a mask is never a value to be sent back. `api`,
    `remote_id` and `keys` tell which object it is: single ones have secret fields of their own.
    """
    found = marks.of(kind, spec, api, remote_id, keys)
    if found is None:
        return dict(spec)
    if kind not in marks.kinds:
        return {key: _wrap_named(found, (key,), value) for key, value in spec.items()}
    safe: dict[str, Any] = {}
    for key, value in spec.items():
        if key != found.container and type(value) is str:  # never a secret
            masked = value[:1] in _MASK_CHARACTERS and _is_mask(value, _MASK_CHARACTERS)
            safe[key] = Withheld("masked") if masked else value
        elif (covered := _covered(found, (key,), value)) is not None:
            safe[key] = covered
    return safe


def _wrap_named(marks: SpecMarks, path: Path, value: Any) -> Any:
    """A value with the fields that are named as secrets wrapped; all else stays as it is."""
    if value is None:
        return None
    if is_map(value) and (value or not marks.secret(path)):
        return {key: _wrap_named(marks, (*path, key), inner) for key, inner in value.items()}
    if not marks.secret(path) and not marks.holds_named(path):
        return value
    if value in _NOTHING:
        return Withheld("omitted")
    return Withheld("masked") if _is_mask(value, _SECRET_MASKS) else Sensitive(as_answered(value))


def _covered(marks: SpecMarks, path: Path, value: Any) -> Any:
    """A value with its secrets wrapped; None for a null, and for a map of nothing else."""
    if value is None:
        return None
    if is_map(value) and value and not marks.whole(path):
        below = {
            key: safe
            for key, inner in value.items()
            if (safe := _covered(marks, (*path, key), inner)) is not None
        }
        return below or None
    # A server that writes all of it as one text or list hides any secret in there from us.
    packed = path == (marks.container,) and not is_map(value)
    secret = packed or marks.secret(path)
    if secret and value in _NOTHING:
        return Withheld("omitted")  # the place of what is kept back, never a value to send
    if _is_mask(value, _SECRET_MASKS if secret else _MASK_CHARACTERS):
        return Withheld("masked")
    return Sensitive(as_answered(value)) if secret else value


def _is_mask(value: Any, characters: frozenset[str]) -> bool:
    """Servers mask with a run of one character; a map with a mask in it is not whole either."""
    if isinstance(value, str):
        first = value[:1]
        return first in characters and len(value) >= _SHORTEST_MASK and value == first * len(value)
    if is_map(value):
        return any(_is_mask(inner, characters) for inner in value.values())
    return (
        isinstance(value, list)
        and bool(value)
        and all(_is_mask(inner, characters) for inner in value)
    )


def remote_id(raw: Mapping[str, Any]) -> str:
    """The id of a server object as text; RemoteError for an answer that is no object of the API."""
    found = raw.get("id")
    if isinstance(found, MaskedText):
        words = "the backend answered an object whose id repeats a secret that it was sent"
        raise RemoteError(words, effect=Effect.UNKNOWN)
    try:
        return remote_id_of(found)
    except ValueError as problem:
        words = f"the backend answered an object without an id ({fields_of(raw)})"
        if found is not None:
            words = f"the backend answered an object with an id that is none: {problem}"
        raise RemoteError(words, effect=Effect.UNKNOWN) from None


def wire_id(text: str) -> int | str:
    """A remote id as the API wants it: a number where it is one."""
    return int(text) if text.isascii() and text.isdecimal() else text
