"""Secret marks: which fields of which kind hold secrets, as one value made from the schemas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from synapse_apply.model.diagnostic import Path, lies_in


@dataclass(frozen=True, slots=True)
class KindMarks:
    """The secret fields of one kind.

    `selector` is the field whose value picks a set of secret paths (a storage's provider);
    a value that `by_value` does not know makes every leaf under `container` secret. Where
    `described` names all keys that are known of a value, any other key is secret too: what a
    server adds may be a credential.
    """

    container: str
    selector: str
    by_value: Mapping[str, frozenset[Path]]
    described: Mapping[str, frozenset[Path]] = field(default_factory=dict)

    def secret(self, spec: Mapping[str, Any], path: Path) -> bool:
        """Whether the field at this path (relative to spec), or one it stands in, is secret."""
        if not path or path[0] != self.container or len(path) == 1:
            return False
        value = spec.get(self.selector)
        known = self.by_value.get(value) if isinstance(value, str) else None
        if known is None:
            return True
        described = self.described.get(str(value))
        if described is not None and not _lies_in(path, described):
            return True
        return _lies_in(path, known)

    def whole(self, spec: Mapping[str, Any], path: Path) -> bool:
        """Whether a map at this path is one secret (`credentials`), not a map of secrets."""
        value = spec.get(self.selector)
        known = self.by_value.get(value) if isinstance(value, str) else None
        return known is not None and path in known


def _lies_in(path: Path, tops: frozenset[Path]) -> bool:
    """As `lies_in`, most often by one look."""
    return path in tops or (bool(tops) and lies_in(path, tops))


@dataclass(frozen=True, slots=True)
class SecretMarks:
    """Marks of all kinds, by the kind's prefix; a kind without marks has no secret field."""

    kinds: Mapping[str, KindMarks] = field(default_factory=dict)

    def secret(self, kind: str, spec: Mapping[str, Any], path: Path) -> bool:
        """Whether this field may hold a secret and must never be shown."""
        marks = self.kinds.get(kind)
        return marks is not None and marks.secret(spec, path)

    def whole(self, kind: str, spec: Mapping[str, Any], path: Path) -> bool:
        """Whether a map here is one secret value."""
        marks = self.kinds.get(kind)
        return marks is not None and marks.whole(spec, path)
