"""Listed objects in place of one read each, where a list tells of them what is compared.

A list is looked at once. What it lacks may be there all the same, so who is not in it is asked for
by its id: an item in it proves presence, nothing in it proves absence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

from synapse_apply.kinds.descriptor import ApiBinding, Raw
from synapse_apply.kinds.wire import extract_remote_id
from synapse_apply.model.diagnostic import Path
from synapse_apply.model.errors import RemoteError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.observed import Observed
from synapse_apply.model.ports import Api
from synapse_apply.model.secrets.secret_marks import SecretMarks
from synapse_apply.model.state import Record
from synapse_apply.model.values import WithheldSecret, is_map

# Of fewer recorded objects each is read: a list would cost more, whatever is in it.
MIN_RECORDED = 20
# A page of a list costs a server about as much as so many reads.
_READS_PER_PAGE = 4


@dataclass(slots=True)
class _ListedKind:
    """Listed objects by id; and by what items vary in, what one that was compared tells.

    `first_page` are the items of the first page, also where they are of no use for comparing.
    """

    first_page: Sequence[Raw] = ()
    items: dict[str, Raw] = field(default_factory=dict)
    coverage_by_variety: dict[Any, _ItemCoverage] = field(default_factory=dict)


@frozen
class _ItemCoverage:
    """The names in an item, and those of its fields that are as a read of the object has them."""

    names: AbstractSet[str]
    fields: frozenset[str]


# One reading of a list proves presence only; what it lacks is read by its id.
class ListCache:
    """The lists of one run, by kind."""

    def __init__(self, api: Api, marks: SecretMarks) -> None:
        self._api = api
        self._marks = marks
        self._listed_kinds: dict[str, _ListedKind] = {}
        self._lock = Lock()

    def read_list_once_if_worthwhile(
        self,
        kind: str,
        binding: ApiBinding,
        recorded_count: int,
        list_needed_paths: Callable[[], Iterable[Iterable[Path]]],
    ) -> None:
        """Read the list once where it saves reads of so many recorded objects.

        `list_needed_paths` gives, of each of them, the places that are compared.
        """
        if binding.list_partially is None or kind in self._listed_kinds:
            return
        listed_kind = self._listed_kinds.setdefault(kind, _ListedKind())

        def is_useful(items: Sequence[Raw]) -> bool:
            listed_kind.first_page = items
            if not items:
                return False
            reliable_names = self._determine_reliable_fields(listed_kind, binding, items[0])
            return any(
                reliable_names.issuperset(path[0] for path in paths)
                for paths in list_needed_paths()
            )

        # Where it cannot be had, each object is asked for by its id, and tells what is wrong.
        with suppress(RemoteError):
            self._store_items(
                listed_kind,
                binding.list_partially(self._api, recorded_count // _READS_PER_PAGE, is_useful)
                or (),
            )

    def known_listed_objects(self, kind: str) -> Sequence[Raw]:
        """The objects of a kind that a list has shown, of which there may be more."""
        listed_kind = self._listed_kinds.get(kind)
        return tuple(listed_kind.items.values()) or listed_kind.first_page if listed_kind else ()

    def add_items(self, kind: str, items: Iterable[Raw]) -> None:
        """Take the items of a list that was read anyway."""
        self._store_items(self._listed_kinds.setdefault(kind, _ListedKind()), items)

    def find_recorded_in_list(
        self,
        kind: str,
        binding: ApiBinding,
        record: Record,
        paths: Iterable[Path],
        marks: SecretMarks | None = None,
    ) -> Observed | None:
        """The recorded object as listed; None where only a read by its id can tell.

        RemoteError when an object that is read to judge the list cannot be had.
        """
        listed_kind = self._listed_kinds.get(kind)
        # Ids of two API versions are not one space.
        is_same_api = listed_kind is not None and record.api == binding.api
        item = listed_kind.items.get(record.remote_id) if listed_kind and is_same_api else None
        return (
            None
            if item is None
            else self.decode_item_if_reliable(kind, binding, item, paths, marks)
        )

    def decode_item_if_reliable(
        self,
        kind: str,
        binding: ApiBinding,
        item: Raw,
        paths: Iterable[Path],
        marks: SecretMarks | None = None,
    ) -> Observed | None:
        """A listed object; None where only a read by its id can tell what is at these paths.

        `marks` are those of the object, where it is known which one it is. RemoteError as above.
        """
        listed_kind = self._listed_kinds.get(kind)
        if listed_kind is None:
            return None
        with self._lock:
            reliable_names = self._determine_reliable_fields(listed_kind, binding, item)
        if not reliable_names:
            return None
        observed = binding.decode(item, marks or self._marks)
        # What a list has otherwise than a read is not what is live.
        if not observed.spec.keys() <= reliable_names:
            spec = {name: value for name, value in observed.spec.items() if name in reliable_names}
            observed = replace(observed, spec=spec)
        # A list may leave out or mask what a read of one object shows.
        return observed if _has_values_at(observed.spec, paths) else None

    def _determine_reliable_fields(
        self, listed_kind: _ListedKind, binding: ApiBinding, item: Raw
    ) -> frozenset[str]:
        """The fields that items like this one tell: the first of them is read to know."""
        variety = item.get(binding.variety_field) if binding.variety_field else None
        if not isinstance(variety, str | None):
            return frozenset()
        coverage = listed_kind.coverage_by_variety.get(variety)
        if coverage is None:
            read_spec = binding.decode(
                binding.read_object(self._api, extract_remote_id(item)), self._marks
            ).spec
            listed_spec = binding.decode(item, self._marks).spec
            equal_names = (
                name
                for name in listed_spec
                if name in read_spec and listed_spec[name] == read_spec[name]
            )
            coverage = listed_kind.coverage_by_variety[variety] = _ItemCoverage(
                frozenset(item), frozenset(equal_names)
            )
        return coverage.fields if coverage.names == item.keys() else frozenset()

    @staticmethod
    def _store_items(listed_kind: _ListedKind, items: Iterable[Raw]) -> None:
        listed_kind.items.update(
            (str(item["id"]), item) for item in items if item.get("id") is not None
        )


def _has_values_at(spec: Mapping[str, Any], paths: Iterable[Path]) -> bool:
    """Whether there is a value at each path, and none that the server keeps to itself."""
    for path in paths:
        value: Any = spec
        for step in path:
            if not is_map(value) or step not in value:
                return False
            value = value[step]
        if isinstance(value, WithheldSecret):
            return False
    return True
