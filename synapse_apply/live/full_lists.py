"""The full list of a kind is read once a run; a failure to read it concerns all its resources."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from threading import Lock

from synapse_apply.kinds.descriptor import Api, ApiBinding
from synapse_apply.kinds.search import list_raw_objects
from synapse_apply.live.unseen_resources import read_failure_finding
from synapse_apply.model.coding.json_types import ServerObject
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import FINAL_READ_ERRORS, RemoteError, RemoteTimeout
from synapse_apply.model.observed import Capabilities


class ListUnavailableError(RemoteError):
    """The list of a kind could not be read; `finding` is the problem of all its resources."""

    def __init__(self, finding: Diagnostic) -> None:
        super().__init__(finding.detail)
        self.finding = finding


class FullLists:
    """The full lists of one run, by kind; may be used by several threads."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._lists: dict[str, Sequence[ServerObject] | None] = {}
        self._objects_by_key: dict[str, dict[str, list[ServerObject]]] = {}
        self._failures: dict[str, ListUnavailableError] = {}
        self._known_capabilities: dict[str, bool] = {}
        self._lock = Lock()

    @property
    def known_capabilities(self) -> Capabilities:
        """Whether the backend has the lists that were asked for until now."""
        return Capabilities(dict(self._known_capabilities))

    def get_if_read(self, kind: str) -> Sequence[ServerObject] | None:
        """The list of a kind; None where it was not read, or there is none."""
        return self._lists.get(kind)

    def read_once_or_none(self, kind: str, binding: ApiBinding) -> Sequence[ServerObject] | None:
        """All objects of a kind; None where this backend has no list of it.

        Raises ListUnavailableError for a list that could not be read, now or before, and other
        RemoteErrors that say nothing about the list.
        """
        with self._lock:
            if kind in self._failures:
                raise self._failures[kind]
            if kind not in self._lists:
                raws = self._read_list(kind, binding)
                if binding.list_capability:
                    self._known_capabilities[binding.list_capability] = raws is not None
                self._lists[kind] = raws
            return self._lists[kind]

    def index_by_key(self, kind: str, binding: ApiBinding) -> dict[str, list[ServerObject]] | None:
        """The objects of a kind by natural key, without those that have none.

        None and errors as `read_once_or_none`.
        """
        raws = self.read_once_or_none(kind, binding)
        if raws is None:
            return None
        with self._lock:
            if kind not in self._objects_by_key:
                index: dict[str, list[ServerObject]] = defaultdict(list)
                for raw in raws:
                    for key in binding.list_natural_keys(raw):
                        index[key].append(raw)
                self._objects_by_key[kind] = dict(index)
            return self._objects_by_key[kind]

    def _read_list(self, kind: str, binding: ApiBinding) -> Sequence[ServerObject] | None:
        try:
            return list_raw_objects(self._api, binding)
        except (*FINAL_READ_ERRORS, RemoteTimeout):
            raise
        except RemoteError as failure:
            finding = read_failure_finding(None, failure)
            self._failures[kind] = ListUnavailableError(finding)
            raise self._failures[kind] from None
