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

from synapse_apply.kinds.descriptor import Binding, Raw
from synapse_apply.kinds.wire import remote_id
from synapse_apply.model.diagnostic import Path
from synapse_apply.model.errors import RemoteError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.marks import SecretMarks
from synapse_apply.model.observed import Observed
from synapse_apply.model.ports import Api
from synapse_apply.model.state import Record
from synapse_apply.model.values import Withheld, is_map

# Of fewer recorded objects each is read: a list would cost more, whatever is in it.
FEW = 20
# A page of a list costs a server about as much as so many reads.
_READS_A_PAGE = 4


@dataclass(slots=True)
class _Glance:
    """Listed objects by id; and by what items vary in, what one that was compared tells.

    `first` are the items of the first page, also where they are of no use for comparing.
    """

    first: Sequence[Raw] = ()
    items: dict[str, Raw] = field(default_factory=dict)
    tells: dict[Any, _Telling] = field(default_factory=dict)


@frozen
class _Telling:
    """The names in an item, and those of its fields that are as a read of the object has them."""

    names: AbstractSet[str]
    fields: frozenset[str]


class Glances:
    """The lists of one run, by kind."""

    def __init__(self, api: Api, marks: SecretMarks) -> None:
        self._api = api
        self._marks = marks
        self._glances: dict[str, _Glance] = {}
        self._lock = Lock()

    def look(
        self,
        kind: str,
        binding: Binding,
        recorded: int,
        needs: Callable[[], Iterable[Iterable[Path]]],
    ) -> None:
        """Read the list once where it saves reads of so many recorded objects.

        `needs` gives, of each of them, the places that are compared.
        """
        if binding.glance is None or kind in self._glances:
            return
        glance = self._glances.setdefault(kind, _Glance())

        def is_of_use(items: Sequence[Raw]) -> bool:
            glance.first = items
            if not items:
                return False
            told = self._told(glance, binding, items[0])
            return any(told.issuperset(path[0] for path in paths) for paths in needs())

        # Where it cannot be had, each object is asked for by its id, and tells what is wrong.
        with suppress(RemoteError):
            self._take(
                glance, binding.glance(self._api, recorded // _READS_A_PAGE, is_of_use) or ()
            )

    def listed(self, kind: str) -> Sequence[Raw]:
        """The objects of a kind that a list has shown, of which there may be more."""
        glance = self._glances.get(kind)
        return tuple(glance.items.values()) or glance.first if glance else ()

    def use(self, kind: str, items: Iterable[Raw]) -> None:
        """Take the items of a list that was read anyway."""
        self._take(self._glances.setdefault(kind, _Glance()), items)

    def of_record(
        self,
        kind: str,
        binding: Binding,
        record: Record,
        paths: Iterable[Path],
        marks: SecretMarks | None = None,
    ) -> Observed | None:
        """The recorded object as listed; None where only a read by its id can tell.

        RemoteError when an object that is read to judge the list cannot be had.
        """
        glance = self._glances.get(kind)
        # Ids of two API versions are not one space.
        ours = glance is not None and record.api == binding.api
        item = glance.items.get(record.remote_id) if glance and ours else None
        return None if item is None else self.of_item(kind, binding, item, paths, marks)

    def of_item(
        self,
        kind: str,
        binding: Binding,
        item: Raw,
        paths: Iterable[Path],
        marks: SecretMarks | None = None,
    ) -> Observed | None:
        """A listed object; None where only a read by its id can tell what is at these paths.

        `marks` are those of the object, where it is known which one it is. RemoteError as above.
        """
        glance = self._glances.get(kind)
        if glance is None:
            return None
        with self._lock:
            told = self._told(glance, binding, item)
        if not told:
            return None
        found = binding.decode(item, marks or self._marks)
        # What a list has otherwise than a read is not what is live.
        if not found.spec.keys() <= told:
            spec = {name: value for name, value in found.spec.items() if name in told}
            found = replace(found, spec=spec)
        # A list may leave out or mask what a read of one object shows.
        return found if _are_told(found.spec, paths) else None

    def _told(self, glance: _Glance, binding: Binding, item: Raw) -> frozenset[str]:
        """The fields that items like this one tell: the first of them is read to know."""
        variety = item.get(binding.varies_by) if binding.varies_by else None
        if not isinstance(variety, str | None):
            return frozenset()
        found = glance.tells.get(variety)
        if found is None:
            raw = binding.decode(binding.read(self._api, remote_id(item)), self._marks).spec
            listed = binding.decode(item, self._marks).spec
            same = (name for name in listed if name in raw and listed[name] == raw[name])
            found = glance.tells[variety] = _Telling(frozenset(item), frozenset(same))
        return found.fields if found.names == item.keys() else frozenset()

    @staticmethod
    def _take(glance: _Glance, items: Iterable[Raw]) -> None:
        glance.items.update((str(item["id"]), item) for item in items if item.get("id") is not None)


def _are_told(spec: Mapping[str, Any], paths: Iterable[Path]) -> bool:
    """Whether there is a value at each path, and none that the server keeps to itself."""
    for path in paths:
        here: Any = spec
        for step in path:
            if not is_map(here) or step not in here:
                return False
            here = here[step]
        if isinstance(here, Withheld):
            return False
    return True
