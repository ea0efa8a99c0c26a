"""Who wrote the commits that a target would be moved over, remembered for each pair of commits."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from synapse_apply.controller.ports import Mirror
from synapse_apply.controller.rows import TargetRow
from synapse_apply.model.errors import SynapseApplyError

_MOST_PAIRS = 256


class AuthorCache:
    """Asks mirrors for authors once for each source and pair of commits; used by any thread."""

    def __init__(self) -> None:
        self._authors: OrderedDict[tuple[str, str, str], tuple[str, ...]] = OrderedDict()
        self._lock = Lock()

    def authors_to_apply(self, mirror: Mirror | None, row: TargetRow) -> tuple[str, ...] | None:
        """Names and addresses of the authors of the commits between applied and wanted.

        None where the mirror cannot tell.
        """
        key = row.name.source, row.applied_commit, row.wanted_commit
        with self._lock:
            if key in self._authors:
                self._authors.move_to_end(key)
                return self._authors[key]
        if mirror is None:
            return None
        try:
            authors = mirror.list_author_names_and_emails(row.wanted_commit, row.applied_commit)
        except SynapseApplyError:
            return None
        with self._lock:
            self._authors[key] = authors
            while len(self._authors) > _MOST_PAIRS:
                self._authors.popitem(last=False)
        return authors
