"""Secret marks: which fields of which kind hold secrets, as one value made from the schemas.

Beside what the schemas say of a kind, single objects have secret fields that their manifests name
(`lifecycle.sensitive`) or that are recorded as secrets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Path, is_at_or_below
from synapse_apply.model.frozen import frozen


@frozen
class SpecMarks:
    """The secret fields of the objects that are alike in the selector; as of KindMarks.

    `secret_paths` is None where nothing is known of such objects. `open_paths` are described and no
    secret. `named` are secret fields of one object alone: of a map there, everything below;
    `above_named` are the places above them.
    """

    container: str
    secret_paths: frozenset[Path] | None = None
    described_paths: frozenset[Path] | None = None
    open_paths: frozenset[Path] = frozenset()
    named: frozenset[Path] = frozenset()
    above_named: frozenset[Path] = frozenset()

    def with_named(self, paths: frozenset[Path]) -> SpecMarks:
        """The same marks and those of one object."""
        above = frozenset(path[:end] for path in paths for end in range(1, len(path)))
        return replace(self, named=paths, above_named=above)

    def is_secret(self, path: Path) -> bool:
        """Whether the field at this path (relative to spec), or one it stands in, is secret."""
        if self.named and any(path[:end] in self.named for end in range(1, len(path) + 1)):
            return True
        if path in self.open_paths or len(path) < 2 or path[0] != self.container:
            return False
        if self.secret_paths is None:
            return True
        if self.described_paths is not None and not _is_at_or_below(path, self.described_paths):
            return True
        return _is_at_or_below(path, self.secret_paths)

    def has_named_below(self, path: Path) -> bool:
        """Whether a named field lies below: what stands here and is no map may hold its value."""
        return path in self.above_named

    def is_map_one_secret(self, path: Path) -> bool:
        """Whether a map at this path is one secret (`credentials`), not a map of secrets."""
        return self.secret_paths is not None and path in self.secret_paths


UNMARKED = SpecMarks("", frozenset())


@frozen
class KindMarks:
    """The secret fields of one kind.

    `selector` is the field whose value picks a set of secret paths (a storage's provider); a value
    that `secret_paths_by_value` does not know makes every leaf under `container` secret. Where
    `described_paths_by_value` names all keys that are known of a value, any other key is secret
    too: what a server adds may be a credential.
    """

    container: str
    selector: str
    secret_paths_by_value: Mapping[str, frozenset[Path]]
    described_paths_by_value: Mapping[str, frozenset[Path]] = field(default_factory=dict)
    _marks_by_value: dict[str, SpecMarks] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def select_spec_marks(self, spec: Mapping[str, Any]) -> SpecMarks:
        """The marks of one object."""
        value = spec.get(self.selector)
        if not isinstance(value, str) or value not in self.secret_paths_by_value:
            return SpecMarks(self.container)
        if value not in self._marks_by_value:
            secret_paths, described_paths = (
                self.secret_paths_by_value[value],
                self.described_paths_by_value.get(value),
            )
            open_paths = frozenset(
                path for path in described_paths or () if not is_at_or_below(path, secret_paths)
            )
            self._marks_by_value[value] = SpecMarks(
                self.container, secret_paths, described_paths, open_paths
            )
        return self._marks_by_value[value]


def _is_at_or_below(path: Path, roots: frozenset[Path]) -> bool:
    """As `is_at_or_below`, most often by one look."""
    return path in roots or (bool(roots) and is_at_or_below(path, roots))


@frozen
class NamedSecrets:
    """Secret fields of single objects, by the ways in which an object is recognised.

    `by_id` goes by (kind, API version, remote id), `by_key` by (kind, natural key). `anywhere` are
    those of declared objects whose natural key is not known before they are found, by kind.
    Of the object at `address`, where that is given, its own and those of its id count, so that no
    other one with the same key lends it any.
    """

    by_address: Mapping[Address, frozenset[Path]] = field(default_factory=dict)
    by_id: Mapping[tuple[str, str, str], frozenset[Path]] = field(default_factory=dict)
    by_key: Mapping[tuple[str, str], frozenset[Path]] = field(default_factory=dict)
    anywhere: Mapping[str, frozenset[Path]] = field(default_factory=dict)
    address: Address | None = None

    def collect_secret_paths(
        self, kind: str, api: str, remote_id: str, keys: Iterable[str]
    ) -> frozenset[Path]:
        """The secret fields of one live object."""
        own = self.by_id.get((kind, api, remote_id), frozenset())
        if self.address is not None:
            return own | self.by_address.get(self.address, frozenset())
        by_key = (self.by_key[kind, key] for key in keys if (kind, key) in self.by_key)
        return own | next(by_key, frozenset()) | self.anywhere.get(kind, frozenset())


# What we know is redacted by path, from the marks in the provider schemas; searching texts for
# values is only for a server's words (client/http/redaction.py), since a server may quote a request
# anywhere.
@frozen
class SecretMarks:
    """Marks of all kinds, by the kind's prefix; a kind without marks has no secret field.

    `named` are fields of single objects beside those; None where there are none.
    """

    kinds: Mapping[str, KindMarks] = field(default_factory=dict)
    named: NamedSecrets | None = None

    def is_secret(self, kind: str, spec: Mapping[str, Any], path: Path) -> bool:
        """Whether this field may hold a secret and must never be shown."""
        marks = self.select_for_object(kind, spec)
        return marks is not None and marks.is_secret(path)

    def with_address(self, address: Address) -> SecretMarks:
        """The marks for what is found under this address."""
        if self.named is None:
            return self
        return replace(self, named=replace(self.named, address=address))

    def select_for_object(
        self,
        kind: str,
        spec: Mapping[str, Any],
        api: str = "",
        remote_id: str = "",
        keys: Iterable[str] = (),
    ) -> SpecMarks | None:
        """The marks of one object; None where it has no secret field."""
        of_kind = self.kinds.get(kind)
        named = (
            self.named.collect_secret_paths(kind, api, remote_id, keys)
            if self.named
            else frozenset()
        )
        if of_kind is None:
            return UNMARKED.with_named(named) if named else None
        return (
            of_kind.select_spec_marks(spec).with_named(named)
            if named
            else of_kind.select_spec_marks(spec)
        )
