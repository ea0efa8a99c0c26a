"""Listed objects in place of one read each, where a list has them whole.

A list is looked at once. What it lacks may be there all the same, so who is not in it is asked for
by its id: an item in it proves presence, nothing in it proves absence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from synapse_apply.kinds.descriptor import Binding, Raw
from synapse_apply.kinds.wire import pick, remote_id
from synapse_apply.model.diagnostic import Path
from synapse_apply.model.errors import RemoteError
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
    """Listed objects by id; and by what items vary in, the fields of an item that was whole.

    None stands for items that were found short.
    """

    items: dict[str, Raw] = field(default_factory=dict)
    whole: dict[Any, frozenset[str] | None] = field(default_factory=dict)


class Glances:
    """The lists of one run, by kind."""

    def __init__(self, api: Api, marks: SecretMarks) -> None:
        self._api = api
        self._marks = marks
        self._glances: dict[str, _Glance] = {}
        self._lock = Lock()

    def look(self, kind: str, binding: Binding, recorded: int) -> None:
        """Read the list once where it saves reads of so many recorded objects."""
        if binding.glance is None or kind in self._glances:
            return
        glance = self._glances[kind] = _Glance()

        def is_of_use(items: Sequence[Raw]) -> bool:
            return bool(items) and self._is_whole(glance, binding, items[0])

        # Where it cannot be had, each object is asked for by its id, and tells what is wrong.
        with suppress(RemoteError):
            self._take(
                glance, binding.glance(self._api, recorded // _READS_A_PAGE, is_of_use) or ()
            )

    def use(self, kind: str, items: Iterable[Raw]) -> None:
        """Take the items of a list that was read anyway."""
        self._take(self._glances.setdefault(kind, _Glance()), items)

    def of_record(self, kind: str, binding: Binding, record: Record) -> Observed | None:
        """The recorded object as listed; None where only a read by its id can tell.

        RemoteError when an object that is read to judge the list cannot be had.
        """
        glance = self._glances.get(kind)
        # Ids of two API versions are not one space.
        ours = glance is not None and record.api == binding.api
        item = glance.items.get(record.remote_id) if glance and ours else None
        if item is None:
            return None
        return self.of_item(kind, binding, item, {*record.seen, *record.applied})

    def of_item(
        self, kind: str, binding: Binding, item: Raw, paths: Iterable[Path]
    ) -> Observed | None:
        """A listed object; None where only a read by its id can tell what is at these paths.

        RemoteError as above.
        """
        glance = self._glances.get(kind)
        if glance is None:
            return None
        with self._lock:
            if not self._is_whole(glance, binding, item):
                return None
        found = binding.decode(item, self._marks)
        # A list may leave out or mask what a read of one object shows.
        return found if all(_is_told(found.spec, path) for path in paths) else None

    def _is_whole(self, glance: _Glance, binding: Binding, item: Raw) -> bool:
        """Whether items like this one are as their objects: the first of them is read to know."""
        variety = item.get(binding.varies_by) if binding.varies_by else None
        if not isinstance(variety, str | None):
            return False
        if variety not in glance.whole:
            raw = binding.read(self._api, remote_id(item))
            same = pick(raw, binding.fields) == pick(item, binding.fields)
            glance.whole[variety] = frozenset(item) if same else None
        found = glance.whole[variety]
        return found is not None and found == item.keys()

    @staticmethod
    def _take(glance: _Glance, items: Iterable[Raw]) -> None:
        glance.items.update((str(item["id"]), item) for item in items if item.get("id") is not None)


def _is_told(spec: Mapping[str, Any], path: Path) -> bool:
    """Whether there is a value at a path, and none that the server keeps to itself."""
    here: Any = spec
    for step in path:
        if not is_map(here) or step not in here:
            return False
        here = here[step]
    return not isinstance(here, Withheld)
