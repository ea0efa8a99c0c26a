"""Secret marks: which fields of which kind hold secrets, as one value made from the schemas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from synapse_apply.model.diagnostic import Path, lies_in
from synapse_apply.model.frozen import frozen


@frozen
class SpecMarks:
    """The secret fields of the objects that are alike in the selector; as of KindMarks.

    `known` is None where nothing is known of such objects. `open` are described and no secret.
    """

    container: str
    known: frozenset[Path] | None = None
    described: frozenset[Path] | None = None
    open: frozenset[Path] = frozenset()

    def secret(self, path: Path) -> bool:
        """Whether the field at this path (relative to spec), or one it stands in, is secret."""
        if path in self.open or len(path) < 2 or path[0] != self.container:
            return False
        if self.known is None:
            return True
        if self.described is not None and not _lies_in(path, self.described):
            return True
        return _lies_in(path, self.known)

    def whole(self, path: Path) -> bool:
        """Whether a map at this path is one secret (`credentials`), not a map of secrets."""
        return self.known is not None and path in self.known


@frozen
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
    _made: dict[str, SpecMarks] = field(default_factory=dict, init=False, repr=False, compare=False)

    def of(self, spec: Mapping[str, Any]) -> SpecMarks:
        """The marks of one object."""
        value = spec.get(self.selector)
        if not isinstance(value, str) or value not in self.by_value:
            return SpecMarks(self.container)
        if value not in self._made:
            known, described = self.by_value[value], self.described.get(value)
            plain = frozenset(path for path in described or () if not lies_in(path, known))
            self._made[value] = SpecMarks(self.container, known, described, plain)
        return self._made[value]


def _lies_in(path: Path, tops: frozenset[Path]) -> bool:
    """As `lies_in`, most often by one look."""
    return path in tops or (bool(tops) and lies_in(path, tops))


@frozen
class SecretMarks:
    """Marks of all kinds, by the kind's prefix; a kind without marks has no secret field."""

    kinds: Mapping[str, KindMarks] = field(default_factory=dict)

    def secret(self, kind: str, spec: Mapping[str, Any], path: Path) -> bool:
        """Whether this field may hold a secret and must never be shown."""
        marks = self.kinds.get(kind)
        return marks is not None and marks.of(spec).secret(path)
