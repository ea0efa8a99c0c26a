"""How live objects are searched and read, and how an answered object becomes spec fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from synapse_apply.kinds.descriptor import Api, ApiBinding, ResourceType
from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, FieldPath, Position, error_finding
from synapse_apply.model.errors import Effect, RemoteError
from synapse_apply.model.json_types import DecodedSpec, ServerObject, Spec
from synapse_apply.model.json_values import describe_field_names
from synapse_apply.model.phrases import format_short_list
from synapse_apply.model.remote import parse_remote_id
from synapse_apply.model.resource import Capabilities, Desired, Lookup, Observed
from synapse_apply.model.secrets.secret_marks import (
    MaskedText,
    SecretMarks,
    SpecMarks,
    unmask_value,
)
from synapse_apply.model.values import Reference, Sensitive, WithheldSecret, is_map

_MASK_CHARACTERS = frozenset("*•●·")
# `xxx` is a mask only where a secret is expected; elsewhere it may be a name.
_SECRET_MASKS = _MASK_CHARACTERS | frozenset("xX")
# Shorter runs occur in real values.
_SHORTEST_MASK = 3
_EMPTY_VALUES: tuple[Any, ...] = ("", {}, [])


def select_sorted_non_null_fields(raw: Mapping[str, Any], names: frozenset[str]) -> DecodedSpec:
    """The fields of a server object with these names, sorted, without nulls."""
    return {name: value for name in _sort_names(names) if (value := raw.get(name)) is not None}


# Most objects of a list have the same fields.
_sort_names = cache(sorted)


def observe(
    kind: str,
    api: str,
    raw: ServerObject,
    spec: Spec,
    marks: SecretMarks,
    keys: Iterable[str] = (),
    **details: Any,
) -> Observed:
    """The live object with these fields, its secrets wrapped; see `Observed` for `details`."""
    remote_id = require_remote_id_of_answer(raw)
    wrapped = wrap_secrets_and_withhold_masked(kind, spec, marks, api, remote_id, keys)
    return Observed(remote_id, api, wrapped, **details)


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
    return _wrap_secret(value)


def _wrap_secrets(marks: SpecMarks, path: FieldPath, value: Any) -> Any:
    """A value with its secrets wrapped; None for null, and for a map of nulls alone."""
    if value is None:
        return None
    is_open_map = is_map(value) and not marks.is_map_one_secret(path)
    if is_open_map and (value or not marks.is_secret(path)):
        wrapped_map = {
            key: wrapped
            for key, inner in value.items()
            if (wrapped := _wrap_secrets(marks, (*path, key), inner)) is not None
        }
        return wrapped_map if wrapped_map or not value else None
    # A container that is one text or list may have a secret anywhere in it.
    is_packed = path == (marks.container,) and not is_map(value)
    if is_packed or marks.is_secret(path) or marks.has_named_field_below(path):
        return _wrap_secret(value)
    return WithheldSecret("masked") if _is_masked_value(value, _MASK_CHARACTERS) else value


def _wrap_secret(value: Any) -> Sensitive | WithheldSecret:
    """What stands at a secret place; an empty value there, or a mask, is never to be sent."""
    if value in _EMPTY_VALUES:
        return WithheldSecret("omitted")
    if _is_masked_value(value, _SECRET_MASKS):
        return WithheldSecret("masked")
    return Sensitive(unmask_value(value))


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
        message = "the backend returned an object whose id repeats a secret that it received"
        raise RemoteError(message, effect=Effect.UNKNOWN)
    try:
        return parse_remote_id(value)
    except ValueError as problem:
        message = f"the backend returned an object without an id ({describe_field_names(raw)})"
        if value is not None:
            message = f"the backend returned an object with an invalid id: {problem}"
        raise RemoteError(message, effect=Effect.UNKNOWN) from None


def to_wire_id(text: str) -> int | str:
    """A remote id as the API takes it: an int if it consists of digits."""
    return int(text) if text.isascii() and text.isdecimal() else text


_NO_SUCH_ENDPOINT = (404, 405)


def list_raw_objects(api: Api, binding: ApiBinding) -> Sequence[ServerObject] | None:
    """All listed objects; None if this backend has no list of this kind.

    That is known by 404 or 405, and only for a list that is a probed capability. RemoteError for
    any other failure.
    """
    if binding.list_objects is None:
        return None
    try:
        return binding.list_objects(api)
    except RemoteError as failure:
        if binding.list_capability and failure.status_code in _NO_SUCH_ENDPOINT:
            return None
        raise


def list_members_or_none(
    api: Api, binding: ApiBinding, owner: Observed
) -> Sequence[ServerObject] | None:
    """The objects of one live owner, of a kind that can only be listed by owner.

    None if this owner's cannot be listed, or this backend has no such list (404 or 405).
    """
    if binding.list_members_or_none is None:
        return None
    try:
        return binding.list_members_or_none(api, owner)
    except RemoteError as failure:
        if failure.status_code in _NO_SUCH_ENDPOINT:
            return None
        raise


def read_observed(api: Api, binding: ApiBinding, remote_id: str, marks: SecretMarks) -> Observed:
    """Read the live object with this id; RemoteError if that fails or another one is answered."""
    observed = binding.decode(binding.read_object(api, remote_id), marks)
    if observed.remote_id != remote_id:
        message = f"the backend returned id {observed.remote_id} instead of {remote_id}"
        raise RemoteError(message)
    return observed


def list_by_natural_key(
    api: Api, binding: ApiBinding, key: str, capabilities: Capabilities, marks: SecretMarks
) -> list[Observed]:
    """All live objects with this natural key, with all fields. RemoteError if the search fails.

    [] also if this backend cannot search for such a key.
    """
    # A search whose result proves nothing is not sent.
    if not key or binding.determine_search_proof(key, capabilities) is Lookup.NONE:
        return []
    hits: Sequence[ServerObject] = []
    capability = binding.list_capability
    if binding.list_objects and (not capability or capabilities.has_capability(capability)):
        listed = binding.list_objects(api)
        keyed = [raw for raw in listed if key in binding.list_natural_keys(raw)]
        hits = read_in_full(api, binding, keyed)
    elif binding.find_by_key is not None:
        hits = binding.find_by_key(api, key)
    return [binding.decode(raw, marks) for raw in hits]


def read_in_full(
    api: Api, binding: ApiBinding, hits: Sequence[ServerObject]
) -> Sequence[ServerObject]:
    """Listed objects with all their fields: each is read by id, unless list items are complete."""
    if binding.lists_whole_objects:
        return hits
    return [binding.read_object(api, require_remote_id_of_answer(raw)) for raw in hits]


class Claim(NamedTuple):
    """What a resource claims for itself alone, and where its document stands."""

    key: tuple[str, ...]
    address: Address
    position: Position | None


def declared_natural_key(
    kind: ResourceType, resource: Desired, resources: Mapping[Address, Desired]
) -> str:
    """The natural key that the manifests alone tell, "" where they do not."""
    parents = {
        name: Observed("", "", resources[value.address].spec)
        for name, value in resource.spec.items()
        if type(value) is Reference and value.address in resources
    }
    return kind.derive_natural_key(resource.spec, parents)


def list_conflicts(
    claims: Iterable[Claim], summary: str, describe: Callable[[str, str], str], hint: str
) -> list[tuple[Diagnostic, list[Address]]]:
    """An error for each key that several claim, and the addresses that it stops.

    `describe` gets the last part of the key, and the addresses with their positions.
    """
    first_by_key: dict[tuple[str, ...], Claim] = {}
    groups: dict[tuple[str, ...], list[Claim]] = {}
    for claim in claims:
        first_claim = first_by_key.setdefault(claim.key, claim)
        if first_claim is not claim:
            # Groups are made only for duplicates: most of ten thousand keys occur once.
            groups.setdefault(claim.key, [first_claim]).append(claim)
    conflicts = []
    for key in sorted(groups):
        group = sorted(groups[key], key=lambda claim: claim.address)
        names = format_short_list(
            f"{each.address} ({each.position})" if each.position else each.address for each in group
        )
        _, address, position = group[-1]
        finding = error_finding(
            summary, describe(key[-1], names), hint, position=position, address=str(address)
        )
        conflicts.append((finding, [each.address for each in group]))
    return conflicts


def list_key_conflicts(
    keyed: Iterable[tuple[str, Desired]],
) -> list[tuple[Diagnostic, list[Address]]]:
    """An error for each key that several resources without `metadata.id` have; "" is none."""
    return list_conflicts(
        (
            Claim((each.address.kind, key), each.address, each.position)
            for key, each in keyed
            if key and not each.remote_id
        ),
        "Two resources declare one object",
        lambda key, names: f"{names} all have {key}.",
        "Delete one of the documents, or change its identity. If there are two live objects, set "
        "`metadata.id` in each document.",
    )


def send_unchanging_update(api: Api) -> bool:
    """Send an update without any field to the first listed plugin; False if there is no plugin."""
    for plugin in api.v2.iterate_plugins({"per_page": 1}):
        api.v2.update_plugin(to_wire_id(require_remote_id_of_answer(plugin)), {})
        return True
    return False
