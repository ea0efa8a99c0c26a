"""How it is looked up whether a field is secret: in marks of its kind, its manifest or its record.

Beside the fields that schemas mark, single objects have secret fields that their manifests name
(`lifecycle.sensitive`) or that are recorded as secrets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from pathlib import PurePath
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import FieldPath, is_at_or_below
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.json_types import JsonValue, Spec
from synapse_apply.model.values import map_json


# The original is kept for three readers alone: a comparison at a secret place, a request back to
# that server, and the link to a next page. An id that is masked is no id: a call that answered one
# is unknown.
class MaskedText(str):
    """A server's text with secrets masked; as a str it is the masked text.

    `original` is what the server answered. Only a comparison at a secret field, a request to
    the same server and the link to a list's next page may use it, through `unmask_value`.
    """

    __slots__ = ("original",)
    original: Any

    @classmethod
    def from_original(cls, masked: str, original: Any) -> MaskedText:
        """A masked text with its original, which is a text or a number."""
        result = cls(masked)
        result.original = original
        return result

    def __reduce__(self) -> Any:
        """Copies and pickles are the masked text alone, without the original."""
        return str, (str(self),)


def unmask_value(value: Any) -> JsonValue:
    """A JSON value with every masked text, in keys as well, replaced by its original."""
    return map_json(value, lambda part: part.original if isinstance(part, MaskedText) else part)


def contains_masked_text(value: Any) -> bool:
    """Whether a JSON value contains a masked text, also as a key."""
    if isinstance(value, dict):
        return any(
            contains_masked_text(key) or contains_masked_text(inner) for key, inner in value.items()
        )
    if isinstance(value, list):
        return any(map(contains_masked_text, value))
    return isinstance(value, MaskedText)


@frozen
class ReadableFiles:
    """The files below `folders`, but for those at or below `excluded`; all are real paths.

    A folder may be a single file. Without a folder nothing may be read.
    """

    folders: tuple[PurePath, ...] = ()
    excluded: tuple[PurePath, ...] = ()

    def includes(self, real_path: PurePath) -> bool:
        """Whether a file may be read, by its path with all links followed."""
        return _is_below_one(real_path, self.folders) and not _is_below_one(
            real_path, self.excluded
        )


def _is_below_one(path: PurePath, folders: tuple[PurePath, ...]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


@frozen
class SpecMarks:
    """The secret fields of objects with the same value of the selector (see KindMarks).

    `secret_paths` is None where they are not known, so that all are secret. `open_paths` are
    described and not secret. `named` are secret fields of one object alone, with everything below
    them; `above_named` are the paths above these.
    """

    container: str
    secret_paths: frozenset[FieldPath] | None = None
    described_paths: frozenset[FieldPath] | None = None
    open_paths: frozenset[FieldPath] = frozenset()
    named: frozenset[FieldPath] = frozenset()
    above_named: frozenset[FieldPath] = frozenset()

    def with_named_secret_paths(self, paths: frozenset[FieldPath]) -> SpecMarks:
        """A copy with the secret fields of one object."""
        above = frozenset(path[:end] for path in paths for end in range(1, len(path)))
        return replace(self, named=paths, above_named=above)

    def is_secret(self, path: FieldPath) -> bool:
        """Whether the field at a path (relative to spec), or one that contains it, is secret."""
        if self.named and any(path[:end] in self.named for end in range(1, len(path) + 1)):
            return True
        # Only fields inside the container can be secret, never the container itself.
        if path in self.open_paths or len(path) < 2 or path[0] != self.container:
            return False
        # An unknown provider: nothing says which of its fields are secret.
        if self.secret_paths is None:
            return True
        if self.described_paths is not None and not _is_at_or_below(path, self.described_paths):
            return True
        return _is_at_or_below(path, self.secret_paths)

    def has_named_field_below(self, path: FieldPath) -> bool:
        """Whether a named field is below a path.

        A scalar or list at the path may then hold its value.
        """
        return path in self.above_named

    def is_map_one_secret(self, path: FieldPath) -> bool:
        """Whether a map at a path is one secret as a whole (`credentials`).

        Otherwise a map is searched for secrets.
        """
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
    secret_paths_by_value: Mapping[str, frozenset[FieldPath]]
    described_paths_by_value: Mapping[str, frozenset[FieldPath]] = field(default_factory=dict)
    _marks_by_value: dict[str, SpecMarks] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def select_spec_marks(self, spec: Spec) -> SpecMarks:
        """The marks of an object, by its value of the selector; cached for each value."""
        value = spec.get(self.selector)
        # Without known paths every field in the container counts as secret.
        if not isinstance(value, str) or value not in self.secret_paths_by_value:
            return SpecMarks(self.container)
        if value not in self._marks_by_value:
            secret_paths = self.secret_paths_by_value[value]
            described_paths = self.described_paths_by_value.get(value)
            open_paths = frozenset(
                path for path in described_paths or () if not is_at_or_below(path, secret_paths)
            )
            self._marks_by_value[value] = SpecMarks(
                self.container, secret_paths, described_paths, open_paths
            )
        return self._marks_by_value[value]


def _is_at_or_below(path: FieldPath, roots: frozenset[FieldPath]) -> bool:
    """As `is_at_or_below`, with a short cut for a path that is one of the roots."""
    return path in roots or (bool(roots) and is_at_or_below(path, roots))


@frozen
class NamedSecrets:
    """Secret fields of single objects, by how an object is identified.

    `by_id` is keyed by (kind, API version, remote id), `by_key` by (kind, natural key). `anywhere`
    has those of declared objects whose natural key is not known before they are read, by kind. With
    `address`, only the fields of that address and those of the object's id count, so that no other
    object with the same natural key adds any. `of_kind` are fields of every object of a kind.
    """

    by_address: Mapping[Address, frozenset[FieldPath]] = field(default_factory=dict)
    by_id: Mapping[tuple[str, str, str], frozenset[FieldPath]] = field(default_factory=dict)
    by_key: Mapping[tuple[str, str], frozenset[FieldPath]] = field(default_factory=dict)
    anywhere: Mapping[str, frozenset[FieldPath]] = field(default_factory=dict)
    of_kind: Mapping[str, frozenset[FieldPath]] = field(default_factory=dict)
    address: Address | None = None

    def named_secret_paths(
        self, kind: str, api: str, remote_id: str, keys: Iterable[str]
    ) -> frozenset[FieldPath]:
        """The secret paths of a live object; `keys` are its natural keys."""
        own = self.by_id.get((kind, api, remote_id), frozenset())
        own |= self.of_kind.get(kind, frozenset())
        if self.address is not None:
            return own | self.by_address.get(self.address, frozenset())
        by_key = (self.by_key[kind, key] for key in keys if (kind, key) in self.by_key)
        return own | next(by_key, frozenset()) | self.anywhere.get(kind, frozenset())


# What we know is redacted by path, from the marks in the provider schemas; searching texts for
# values is only for a server's words (model/redaction.py), since a server may quote a request
# anywhere.
@frozen
class SecretMarks:
    """Marks of all kinds, by the kind's prefix; a kind without marks has no secret field.

    `named` are fields of single objects beside those; None where there are none.
    """

    kinds: Mapping[str, KindMarks] = field(default_factory=dict)
    named: NamedSecrets | None = None

    def is_secret(self, kind: str, spec: Spec, path: FieldPath) -> bool:
        """Whether a field may hold a secret, so that it must not be shown."""
        marks = self.select_for_object(kind, spec)
        return marks is not None and marks.is_secret(path)

    def with_address(self, address: Address) -> SecretMarks:
        """A copy for reading the object of one address."""
        if self.named is None:
            return self
        return replace(self, named=replace(self.named, address=address))

    def select_for_object(
        self, kind: str, spec: Spec, api: str = "", remote_id: str = "", keys: Iterable[str] = ()
    ) -> SpecMarks | None:
        """The marks of an object; None where it has no secret field."""
        of_kind = self.kinds.get(kind)
        marks = UNMARKED if of_kind is None else of_kind.select_spec_marks(spec)
        if self.named and (named := self.named.named_secret_paths(kind, api, remote_id, keys)):
            return marks.with_named_secret_paths(named)
        return None if of_kind is None else marks
