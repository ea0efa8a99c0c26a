"""Values that stand in a field beside plain JSON: secrets, references, what is not known yet.

A field is a leaf: a scalar, a list (one value) or an empty map; maps are walked key by key. So a
leaf is never a map with keys, which is why the markers below can be encoded as such maps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Path
from synapse_apply.model.frozen import frozen


class Sensitive:
    """A secret value on its way to a request body or a comparison; prints as `(sensitive)`."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        """Wrap at once: nothing else of ours may hold the bare value."""
        self._value = value

    def reveal(self) -> Any:
        """The bare value, for `secrets/` and for a request body only."""
        return self._value

    def __repr__(self) -> str:
        return "(sensitive)"

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return "(sensitive)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sensitive) and self._value == other._value

    def __hash__(self) -> int:
        return hash(Sensitive)

    def __reduce__(self) -> Any:
        raise TypeError("a sensitive value is never serialised")


@frozen
class SecretRef:
    """Where a secret value comes from; holds no value unless a manifest wrote it in plain.

    `source` is env, file, live (keep what the server has), literal (a warning, an error under
    `--strict`) or login (a token of a login file, with its value); `name` the variable or file;
    `format` text or json.
    """

    source: str
    name: str = ""
    format: str = "text"
    literal: Sensitive | None = None

    def __str__(self) -> str:
        return f"valueFrom {self.source} {self.name}".rstrip()


@frozen
class Mac:
    """A keyed digest (HMAC-SHA256, hex) of a secret value under a record's salt and a path."""

    key_id: str
    digest: str


@frozen
class WithheldSecret:
    """What a server answers in place of a secret: nothing (omitted) or a mask (masked)."""

    form: str


@frozen
class DesiredSecret:
    """A desired secret as the planner sees it: its reference and its keyed digest, if known.

    `missing_reason` tells why there is no digest ("RAW_KEY is not set").
    """

    ref: SecretRef
    mac: Mac | None = None
    missing_reason: str = ""


@frozen
class Reference:
    """A field whose value is the remote id of another declared resource."""

    address: Address


@frozen
class KnownAfterApply:
    """A value only the server can give, such as the id of a plugin not created yet."""

    address: Address

    def __str__(self) -> str:
        return "(known after apply)"


class Absent:
    """The field is not there; its only instance is ABSENT. Live null equals absent."""

    _instance: Absent | None = None

    def __new__(cls) -> Absent:  # noqa: PYI034 - the only instance is an Absent
        if cls._instance is None:
            cls._instance = super().__new__(cls)
        return cls._instance

    def __repr__(self) -> str:
        return "ABSENT"

    def __bool__(self) -> bool:
        return False

    def __reduce__(self) -> str:
        return "ABSENT"


ABSENT = Absent()

# Most values are of one of these; asking an abstract class whether they are maps takes longer.
_NON_MAP_TYPES = frozenset({str, int, float, bool, list, type(None)})

# What a field may hold: JSON, or one of the markers above.
FieldValue = Any
Fields = Mapping[Path, FieldValue]


def flatten(
    tree: Mapping[str, Any], is_leaf: Callable[[Path], bool] | None = None, prefix: Path = ()
) -> dict[Path, Any]:
    """The fields of a nested map, in its order; `is_leaf` makes a whole subtree one field.

    Nulls are left out: absent and null are the same here. A map of nulls alone is an empty map,
    which is not the same as no map.
    """
    fields: dict[Path, Any] = {}
    for key, value in tree.items():
        path = (*prefix, key)
        if type(value) is str:
            fields[path] = value
        elif value is None:
            continue
        elif is_map(value) and value and not (is_leaf is not None and is_leaf(path)):
            nested_fields = flatten(value, is_leaf, path)
            fields.update(nested_fields or {path: {}})
        else:
            fields[path] = value
    return fields


def collect_references(tree: Mapping[str, Any]) -> list[Reference]:
    """Every reference that is a field of a nested map."""
    collected: list[Reference] = []
    for value in tree.values():
        if type(value) is str:
            continue
        if is_map(value):
            collected += collect_references(value)
        elif isinstance(value, Reference):
            collected.append(value)
    return collected


def is_map(value: Any) -> bool:
    """Whether a value is a map; asked of every field, and so without the slow way round."""
    kind = type(value)
    return kind is dict or (kind not in _NON_MAP_TYPES and isinstance(value, Mapping))


def get_at(tree: Any, path: Path) -> Any:
    """The value at a path of a nested map, ABSENT where there is none or it is null."""
    for part in path:
        if not is_map(tree) or part not in tree:
            return ABSENT
        tree = tree[part]
    return ABSENT if tree is None else tree


def set_at(tree: dict[str, Any], path: Path, value: Any) -> None:
    """Set the value at a path, making maps on the way; a non-map in the way is replaced."""
    *parents, last = path
    for part in parents:
        child = tree.get(str(part))
        if type(child) is not dict:
            child = tree[str(part)] = {}
        tree = child
    tree[str(last)] = value


def delete_at(tree: dict[str, Any], path: Path) -> None:
    """Remove the value at a path; maps on the way stay, even when they become empty."""
    for part in path[:-1]:
        child = tree.get(str(part))
        if not isinstance(child, dict):
            return
        tree = child
    tree.pop(str(path[-1]), None)
