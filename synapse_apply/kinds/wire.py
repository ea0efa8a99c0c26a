"""How an answered object becomes spec fields: which are kept, which are wrapped as secrets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from synapse_apply.model.coding.json_types import DecodedSpec, Spec
from synapse_apply.model.coding.server_json import describe_field_names
from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.errors import Effect, RemoteError
from synapse_apply.model.remote import parse_remote_id
from synapse_apply.model.secrets.secret_marks import (
    MaskedText,
    SecretMarks,
    SpecMarks,
    unmask_value,
)
from synapse_apply.model.values import Sensitive, WithheldSecret, is_map

_MASK_CHARACTERS = frozenset("*•●·")
# `xxx` is a mask only where a secret is expected; elsewhere it may be a name.
_SECRET_MASKS = _MASK_CHARACTERS | frozenset("xX")
# Shorter runs occur in real values.
_SHORTEST_MASK = 3
_EMPTY_VALUES: tuple[Any, ...] = ("", {}, [])


def select_sorted_non_null_fields(raw: Mapping[str, Any], names: frozenset[str]) -> DecodedSpec:
    """The fields of a server object with these names, sorted, without nulls."""
    return {name: value for name in _sort_names(names) if (value := raw.get(name)) is not None}


def list_missing_fields(raw: Mapping[str, Any], names: frozenset[str]) -> frozenset[str]:
    """Which of these fields a server object does not have, not even as null."""
    return names - raw.keys()


@cache
def _sort_names(names: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(names))


def wrap_secrets_and_withhold_masked(
    kind: str,
    spec: Spec,
    marks: SecretMarks,
    api: str = "",
    remote_id: str = "",
    keys: Iterable[str] = (),
) -> DecodedSpec:
    """The spec with each secret leaf as Sensitive, or as WithheldSecret if the server masks it.

    A server may mask more than `marks` has; a mask is never a value to be sent back. `api`,
    `remote_id` and `keys` identify the object, since single objects may have secret fields of
    their own.
    """
    spec_marks = marks.select_for_object(kind, spec, api, remote_id, keys)
    if spec_marks is None:
        return dict(spec)
    if kind not in marks.kinds:
        return {key: _wrap_named(spec_marks, (key,), value) for key, value in spec.items()}
    wrapped_spec: dict[str, Any] = {}
    for key, value in spec.items():
        # A text outside of the secret container is never a secret. This is the most frequent case.
        if key != spec_marks.container and type(value) is str:
            is_masked = value[:1] in _MASK_CHARACTERS and _is_masked_value(value, _MASK_CHARACTERS)
            wrapped_spec[key] = WithheldSecret("masked") if is_masked else value
        elif value is not None:
            wrapped = _wrap_secrets(spec_marks, (key,), value)
            # A container that has only nulls is there, and has nothing in it.
            wrapped_spec[key] = {} if wrapped is None else wrapped
    return wrapped_spec


def _wrap_named(marks: SpecMarks, path: FieldPath, value: Any) -> Any:
    """A value with only the fields wrapped that a manifest or the state names as secrets."""
    if value is None:
        return None
    if is_map(value) and (value or not marks.is_secret(path)):
        return {key: _wrap_named(marks, (*path, key), inner) for key, inner in value.items()}
    if not marks.is_secret(path) and not marks.has_named_field_below(path):
        return value
    if value in _EMPTY_VALUES:
        return WithheldSecret("omitted")
    return (
        WithheldSecret("masked")
        if _is_masked_value(value, _SECRET_MASKS)
        else Sensitive(unmask_value(value))
    )


def _wrap_secrets(marks: SpecMarks, path: FieldPath, value: Any) -> Any:
    """A value with its secrets wrapped; None for null, and for a map that has only nulls."""
    if value is None:
        return None
    if is_map(value) and value and not marks.is_map_one_secret(path):
        wrapped_map = {
            key: wrapped
            for key, inner in value.items()
            if (wrapped := _wrap_secrets(marks, (*path, key), inner)) is not None
        }
        return wrapped_map or None
    # A container that is one text or list may have a secret anywhere in it.
    is_packed = path == (marks.container,) and not is_map(value)
    is_secret = is_packed or marks.is_secret(path) or marks.has_named_field_below(path)
    if is_secret and value in _EMPTY_VALUES:
        return WithheldSecret("omitted")  # an empty value in place of a secret, never to be sent
    if _is_masked_value(value, _SECRET_MASKS if is_secret else _MASK_CHARACTERS):
        return WithheldSecret("masked")
    return Sensitive(unmask_value(value)) if is_secret else value


def _is_masked_value(value: Any, characters: frozenset[str]) -> bool:
    """Whether a value is masked: a run of at least three of one character, e.g. `***`.

    A map counts as masked with any masked value, a list only if all its items are.
    """
    if isinstance(value, str):
        first = value[:1]
        return first in characters and len(value) >= _SHORTEST_MASK and value == first * len(value)
    if is_map(value):
        return any(_is_masked_value(inner, characters) for inner in value.values())
    return (
        isinstance(value, list)
        and bool(value)
        and all(_is_masked_value(inner, characters) for inner in value)
    )


def require_remote_id_of_answer(raw: Mapping[str, Any]) -> str:
    """The id of a server object as text; RemoteError, effect unknown, for an unusable one."""
    value = raw.get("id")
    if isinstance(value, MaskedText):
        message = "the backend answered an object whose id repeats a secret that it was sent"
        raise RemoteError(message, effect=Effect.UNKNOWN)
    try:
        return parse_remote_id(value)
    except ValueError as problem:
        message = f"the backend answered an object without an id ({describe_field_names(raw)})"
        if value is not None:
            message = f"the backend answered an object with an id that is none: {problem}"
        raise RemoteError(message, effect=Effect.UNKNOWN) from None


def to_wire_id(text: str) -> int | str:
    """A remote id as the API takes it: an int if it consists of digits."""
    return int(text) if text.isascii() and text.isdecimal() else text
