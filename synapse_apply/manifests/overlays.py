"""Overlays: merge patches (RFC 7386) a target lays over the manifests it shares with others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any

from synapse_apply.manifests.reader import Source
from synapse_apply.model.address import fits_pattern, is_pattern
from synapse_apply.model.diagnostic import Path, Position
from synapse_apply.model.frozen import frozen


@frozen
class Overlay:
    """A patch for the addresses that fit a pattern; `positions` are the project file's.

    `prefix` is where the patch stands in that file. Its repr shows no value: a patch may hold a
    secret in plain text.
    """

    pattern: str
    patch: Mapping[str, Any] = field(repr=False)
    positions: Mapping[Path, Position] = field(repr=False)
    prefix: Path
    source: Source

    @property
    def is_pattern(self) -> bool:
        return is_pattern(self.pattern)

    @property
    def position(self) -> Position | None:
        return self.positions.get(self.prefix)

    def fits(self, address: str) -> bool:
        """Whether an address, as text, is meant; only `*` is special."""
        return fits_pattern(address, self.pattern)


def merged(value: Any, patch: Any) -> Any:
    """A value with a merge patch applied; both stay as they are."""
    if not isinstance(patch, Mapping):
        return patch
    result = dict(value) if isinstance(value, Mapping) else {}
    for key, change in patch.items():
        if change is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), change)
    return result


def without(value: Any, path: Path) -> Any:
    """A copy without the key that a path leads to; a list that it leads into goes as a whole."""
    if not path or not isinstance(value, Mapping) or path[0] not in value:
        return value
    key, below = path[0], value[path[0]]
    if len(path) > 1 and isinstance(below, Mapping):
        return {**value, key: without(below, path[1:])}
    return {name: one for name, one in value.items() if name != key}


@frozen
class Layered(Mapping[Path, Position]):
    """Positions of a patched document: what an overlay wrote stands in the project file."""

    overlay: Overlay
    under: Mapping[Path, Position]

    def __getitem__(self, path: Path) -> Position:
        if self._is_overlaid(path):
            above = (*self.overlay.prefix, *path)
            if above in self.overlay.positions:
                return self.overlay.positions[above]
        return self.under[path]

    def _is_overlaid(self, path: Path) -> bool:
        at: Any = self.overlay.patch
        for part in path:
            if not isinstance(at, Mapping):
                return True
            if part not in at:
                return False
            at = at[part]
        return not isinstance(at, Mapping) or path not in self.under

    def __iter__(self) -> Iterator[Path]:
        seen = set()
        for path in self.under:
            seen.add(path)
            yield path
        depth = len(self.overlay.prefix)
        for path in self.overlay.positions:
            if path[:depth] == self.overlay.prefix and path[depth:] not in seen:
                yield path[depth:]

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return bool(self.under) or bool(self.overlay.positions)
