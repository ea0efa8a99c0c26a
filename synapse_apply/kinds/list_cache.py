"""When an item of a list may be used in place of a read of the object by its id.

A list is read once, which proves presence and never absence: an object that is not in it is read
by its id. An item is used only if a read of a similar object has shown the same field values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import field, replace
from threading import Lock
from typing import Any

from synapse_apply.kinds.descriptor import Api, ApiBinding
from synapse_apply.kinds.wire import require_remote_id_of_answer
from synapse_apply.model.coding.json_types import ServerObject
from synapse_apply.model.diagnostic import FieldPath
from synapse_apply.model.errors import RemoteError
from synapse_apply.model.frozen import frozen, mutable
from synapse_apply.model.observed import Observed
from synapse_apply.model.secrets.secret_marks import SecretMarks
from synapse_apply.model.state import Record
from synapse_apply.model.values import WithheldSecret, is_map

# Fewer recorded objects are each read by id: a list would cost more, whatever it contains.
MIN_RECORDED = 20
# About how many reads by id cost a server as much as one page of a list.
_READS_PER_PAGE = 4


@mutable
class _ListedKind:
    """The list of one kind: `items` by id, and what was learnt of items of each variety.

    `first_page` has the items of the first page, also if the list was then found to be useless.
    """

    first_page: Sequence[ServerObject] = ()
    items: dict[str, ServerObject] = field(default_factory=dict)
    coverage_by_variety: dict[Any, _ItemCoverage] = field(default_factory=dict)


@frozen
class _ItemCoverage:
    """The field names of an item, and which of its `fields` equal those of a read of the object."""

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

    def try_reading_list(
        self,
        kind: str,
        binding: ApiBinding,
        recorded_count: int,
        list_needed_paths: Callable[[], Iterable[Iterable[FieldPath]]],
    ) -> None:
        """Read the list of a kind once, if that saves reads of `recorded_count` objects.

        `list_needed_paths` gives the paths to be compared of each recorded object. A failure is
        not reported: the reads by id, which then follow, report it.
        """
        if binding.list_once_or_none is None or kind in self._listed_kinds:
            return
        listed_kind = self._listed_kinds.setdefault(kind, _ListedKind())

        def judge_first_page(items: Sequence[ServerObject]) -> bool:
            listed_kind.first_page = items
            if not items:
                return False
            reliable_names = self._reliable_fields(listed_kind, binding, items[0])
            return any(
                reliable_names.issuperset(path[0] for path in paths)
                for paths in list_needed_paths()
            )

        # A list must not take more time than the reads it saves, hence the limit on its pages.
        with suppress(RemoteError):
            self._store_items_with_id(
                listed_kind,
                binding.list_once_or_none(
                    self._api, recorded_count // _READS_PER_PAGE, judge_first_page
                )
                or (),
            )

    def get_listed_until_now(self, kind: str) -> Sequence[ServerObject]:
        """The objects of a kind that were listed until now; there may be more of them."""
        listed_kind = self._listed_kinds.get(kind)
        return tuple(listed_kind.items.values()) or listed_kind.first_page if listed_kind else ()

    def add_items(self, kind: str, items: Iterable[ServerObject]) -> None:
        """Add the items of a list that was read for another purpose."""
        self._store_items_with_id(self._listed_kinds.setdefault(kind, _ListedKind()), items)

    def find_recorded_in_list(
        self,
        kind: str,
        binding: ApiBinding,
        record: Record,
        paths: Iterable[FieldPath],
        marks: SecretMarks | None = None,
    ) -> Observed | None:
        """A recorded object as listed; None if it must be read by its id.

        RemoteError if the object that is read to judge the list cannot be read.
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
        item: ServerObject,
        paths: Iterable[FieldPath],
        marks: SecretMarks | None = None,
    ) -> Observed | None:
        """A listed object's reliable fields; None if values at these paths need a read by its id.

        `marks` tell which of its fields are secret, if it is known which object it is. RemoteError
        as `find_recorded_in_list`.
        """
        listed_kind = self._listed_kinds.get(kind)
        if listed_kind is None:
            return None
        with self._lock:
            reliable_names = self._reliable_fields(listed_kind, binding, item)
        if not reliable_names:
            return None
        observed = binding.decode(item, marks or self._marks)
        # Fields whose listed value differs from a read are not the live values.
        if not observed.spec.keys() <= reliable_names:
            spec = {name: value for name, value in observed.spec.items() if name in reliable_names}
            observed = replace(observed, spec=spec)
        # A list may leave out or mask what a read of one object shows.
        return observed if _has_values(observed, paths) else None

    def _reliable_fields(
        self, listed_kind: _ListedKind, binding: ApiBinding, item: ServerObject
    ) -> frozenset[str]:
        """The fields whose values are reliable in items like this one.

        The first object of each variety is read by its id and compared with its item.
        """
        variety = item.get(binding.variety_field) if binding.variety_field else None
        if variety is not None and not isinstance(variety, str):
            return frozenset()
        coverage = listed_kind.coverage_by_variety.get(variety)
        if coverage is None:
            read_spec = binding.decode(
                binding.read_object(self._api, require_remote_id_of_answer(item)), self._marks
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
        # An item with other names than the compared one is of an unknown form.
        return coverage.fields if coverage.names == item.keys() else frozenset()

    @staticmethod
    def _store_items_with_id(listed_kind: _ListedKind, items: Iterable[ServerObject]) -> None:
        listed_kind.items.update(
            (str(item["id"]), item) for item in items if item.get("id") is not None
        )


def _has_values(observed: Observed, paths: Iterable[FieldPath]) -> bool:
    """Whether the spec has a value at each path that the server does not withhold."""
    fields = observed.flatten_spec()
    if WithheldSecret not in map(type, fields.values()):
        paths = set(paths).difference(fields)  # what remains are maps, or is not there
    for path in paths:
        value: Any = observed.spec
        for step in path:
            if not is_map(value) or step not in value:
                return False
            value = value[step]
        if isinstance(value, WithheldSecret):
            return False
    return True
