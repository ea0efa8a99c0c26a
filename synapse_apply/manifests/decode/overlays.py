"""Which resources a target's overlay applies to, and how it changes them (RFC 7386)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any

from synapse_apply.manifests.yaml.reader import SourceText
from synapse_apply.model.address import has_wildcard, matches_pattern
from synapse_apply.model.diagnostic import FieldPath, Position
from synapse_apply.model.frozen import frozen


@frozen
class Overlay:
    """A patch for the addresses that match a pattern; `positions` are the project file's.

    `prefix` is the path of the patch in that file. The repr shows no value: a patch may hold a
    secret in plain text.
    """

    pattern: str
    patch: Mapping[str, Any] = field(repr=False)
    positions: Mapping[FieldPath, Position] = field(repr=False)
    prefix: FieldPath
    source: SourceText

    @property
    def has_wildcard_pattern(self) -> bool:
        return has_wildcard(self.pattern)

    @property
    def position(self) -> Position | None:
        return self.positions.get(self.prefix)

    def matches_address(self, address: str) -> bool:
        """Whether the pattern matches an address, given as text; only `*` is special."""
        return matches_pattern(address, self.pattern)


def apply_merge_patch(value: Any, patch: Any) -> Any:
    """A copy of a value with a merge patch applied (RFC 7386); null removes a key."""
    if not isinstance(patch, Mapping):
        return patch
    # RFC 7386: a patch that is a map replaces any other value by a map.
    result = dict(value) if isinstance(value, Mapping) else {}
    for key, change in patch.items():
        if change is None:
            result.pop(key, None)
        else:
            result[key] = apply_merge_patch(result.get(key), change)
    return result


def copy_without(value: Any, path: FieldPath) -> Any:
    """A copy without the key at a path; a path into a list removes the whole list."""
    if not path or not isinstance(value, Mapping) or path[0] not in value:
        return value
    key, child = path[0], value[path[0]]
    # An item cannot be cut out of a list without moving the items behind it.
    if len(path) > 1 and isinstance(child, Mapping):
        return {**value, key: copy_without(child, path[1:])}
    return {name: item_value for name, item_value in value.items() if name != key}


@frozen
class LayeredPositions(Mapping[FieldPath, Position]):
    """Positions in a patched document: a value that the overlay set is in the project file."""

    overlay: Overlay
    base_positions: Mapping[FieldPath, Position]

    def __getitem__(self, path: FieldPath) -> Position:
        node: Any = self.overlay.patch
        for part in path:
            if not isinstance(node, Mapping):
                break
            if part not in node:
                return self.base_positions[path]
            node = node[part]
        # A map of the patch is merged into one that was there, which keeps its own position. Below
        # lies another overlay, perhaps: it is asked once, or each would double the work.
        if isinstance(node, Mapping) and (position := self.base_positions.get(path)) is not None:
            return position
        project_path = (*self.overlay.prefix, *path)
        if project_path in self.overlay.positions:
            return self.overlay.positions[project_path]
        return self.base_positions[path]

    def __iter__(self) -> Iterator[FieldPath]:
        yielded = set()
        for path in self.base_positions:
            yielded.add(path)
            yield path
        depth = len(self.overlay.prefix)
        for path in self.overlay.positions:
            if path[:depth] == self.overlay.prefix and path[depth:] not in yielded:
                yield path[depth:]

    def __len__(self) -> int:
        return sum(1 for _ in self)

    # Without this, a test for truth would count every position through __len__.
    def __bool__(self) -> bool:
        return bool(self.base_positions) or bool(self.overlay.positions)
