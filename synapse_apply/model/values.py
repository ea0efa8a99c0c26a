"""Which values a field may have beside plain JSON (secrets, references, unknown), and field paths.

A field is a leaf: a scalar, a list (one value) or an empty map; maps are walked key by key. So a
leaf is never a map with keys, which is why the markers below can be encoded as such maps.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any, ClassVar

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.frozen import frozen

LIVE_SOURCE = "live"


class Sensitive:
    """Wraps a secret value, so that it prints as `(sensitive)` and cannot be serialised."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        """To be called as soon as a value is read, so that nothing else holds it."""
        self._value = value

    def reveal(self) -> Any:
        """The bare value, to be used only in `secrets/` and in request bodies."""
        return self._value

    def __repr__(self) -> str:
        return "(sensitive)"

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return "(sensitive)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sensitive) and self._value == other._value

    def __hash__(self) -> int:
        # The same for all: a hash of the value would leak into dict order and timing.
        return hash(Sensitive)

    def __reduce__(self) -> Any:
        raise TypeError("a sensitive value is never serialised")


@frozen
class SecretRef:
    """Where a secret value comes from; holds the value only for `literal` and `login`.

    `source` is one of `secret_sources/catalogue.py`, literal (written in the manifest: a warning,
    an error under `--strict`) or login (a token of a login file); `name` is the variable or file,
    or what messages call the secret; `format` text or json. `arguments` are the keys and texts of
    a `valueFrom` that has a mapping below its source's key, sorted.
    """

    source: str
    name: str = ""
    format: str = "text"
    literal: Sensitive | None = None
    arguments: tuple[tuple[str, str], ...] = ()

    @property
    def keeps_live_value(self) -> bool:
        """Whether the server's value stays, so that none is read or sent."""
        return self.source == LIVE_SOURCE

    @property
    def identity(self) -> tuple[str, ...]:
        """All that the reference names, without a value: equal for the same secret."""
        return (self.source, self.name, self.format, *itertools.chain(*self.arguments))

    def get_argument_or_empty(self, key: str) -> str:
        """The text at a key of its `valueFrom`; "" without one."""
        return dict(self.arguments).get(key, "")

    def __str__(self) -> str:
        return f"valueFrom {self.source} {self.name}".rstrip()


@frozen
class Mac:
    """A keyed digest (HMAC-SHA256, hex) of a secret value under a record's salt and a path.

    `place` is a digest of where the value comes from (`find_place` of the resolver), "" where that
    is not known or a commit can change what is there.
    """

    key_id: str
    digest: str
    # In place of a digest: it is unknown which value the server has.
    UNSEEN: ClassVar[str] = "unknown"
    place: str = field(default="", compare=False)


def of_two_keys(one: Any, other: Any) -> bool:
    """Whether two sides are digests under two keys, so that nobody can tell whether they differ."""
    macs = [side for side in (one, other) if isinstance(side, Mac) and side.digest != Mac.UNSEEN]
    return len({mac.key_id for mac in macs}) > 1


@frozen
class WithheldSecret:
    """A secret that a server does not show: `form` is omitted (no field) or masked."""

    form: str


@frozen
class DesiredSecret:
    """A declared secret as the planner compares it: its reference, and its MAC if it is known.

    `missing_reason` says why there is no MAC ("RAW_KEY is not set"). `lasting_mac` is one under a
    salt that is the same in each run, also while no record keeps one. `place` is as in Mac.
    """

    ref: SecretRef
    mac: Mac | None = None
    missing_reason: str = ""
    lasting_mac: Mac | None = None
    place: str = ""

    def may_be_of_git(self, recorded: Any) -> bool:
        """Whether a commit may have changed the secret since `recorded`, the applied field."""
        if self.ref.keeps_live_value or not isinstance(recorded, Mac):
            return not self.ref.keeps_live_value
        if self.mac == recorded:
            return recorded.place not in {"", self.place}
        return not self.place or self.place != recorded.place


@frozen
class Reference:
    """A field whose value is the remote id of another declared resource."""

    address: Address


@frozen
class KnownAfterApply:
    """A value that is known after an apply, such as the id of a plugin that is not created yet."""

    address: Address

    def __str__(self) -> str:
        return "(known after apply)"


class Absent:
    """The type of ABSENT, which says that a field is not there; a null counts as absent."""

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

# Most values have one of these types; isinstance with an abstract class is much slower.
_NON_MAP_TYPES = frozenset({str, int, float, bool, list, type(None)})
# Values of these are no markers, and hold none.
PLAIN_TYPES = frozenset({str, int, float, bool})

# What a field may hold: JSON, or one of the markers above.
FieldValue = Any
Fields = Mapping[FieldPath, FieldValue]


def flatten(
    tree: Mapping[str, Any],
    is_leaf: Callable[[FieldPath], bool] | None = None,
    prefix: FieldPath = (),
) -> dict[FieldPath, Any]:
    """The fields of a nested map by path, in its order; `is_leaf` makes a subtree one field.

    Nulls are left out, as they count as absent. A map of nulls alone is one field, an empty map.
    """
    fields: dict[FieldPath, Any] = {}
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


def unflatten(fields: Fields) -> dict[str, Any]:
    """Fields by path as one nested map, whose leaves are the fields' values."""
    tree: dict[Any, Any] = {}
    for path, value in fields.items():
        if len(path) == 1 and type(value) is str:
            tree[path[0]] = value
        else:
            set_at_creating_maps(tree, path, dict(value) if is_map(value) else value)
    return tree


# The forms of a secret: declared, compared, recorded, answered.
_SECRETS = (SecretRef, DesiredSecret, Mac, Sensitive, WithheldSecret)


def holds_secret(value: Any, forms: type | tuple[type, ...] = _SECRETS) -> bool:
    """Whether a field's value, or anything in a map, is a secret in one of these forms."""
    if is_map(value):
        return any(holds_secret(inner, forms) for inner in value.values())
    return isinstance(value, forms)


def collect_references(tree: Mapping[str, Any]) -> list[Reference]:
    """The references among the fields of a nested map; lists are not searched."""
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
    """Whether a value is a map; written for speed, as it is called for every field."""
    kind = type(value)
    return kind is dict or (kind not in _NON_MAP_TYPES and isinstance(value, Mapping))


def map_json(value: Any, change: Callable[[Any], Any]) -> Any:
    """JSON with what `change` gives in the place of each scalar, and of each text as a key."""
    if is_map(value):
        return {
            change(key) if isinstance(key, str) else key: map_json(inner, change)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [map_json(inner, change) for inner in value]
    return change(value)


def get_at_or_absent(tree: Any, path: FieldPath) -> Any:
    """The value at a path of a nested map; ABSENT where there is none, or null."""
    for part in path:
        if (type(tree) is not dict and not is_map(tree)) or part not in tree:
            return ABSENT
        tree = tree[part]
    return ABSENT if tree is None else tree


def set_at_creating_maps(tree: dict[str, Any], path: FieldPath, value: Any) -> None:
    """Set the value at a path, creating maps on the way; a value that is no map is replaced."""
    *parents, last = path
    for part in parents:
        child = tree.get(str(part))
        if type(child) is not dict:
            child = tree[str(part)] = {}
        tree = child
    tree[str(last)] = value


def delete_at_if_present(tree: dict[str, Any], path: FieldPath) -> None:
    """Remove the value at a path, if there is one; maps that become empty stay."""
    for part in path[:-1]:
        child = tree.get(str(part))
        if not isinstance(child, dict):
            return
        tree = child
    tree.pop(str(path[-1]), None)
