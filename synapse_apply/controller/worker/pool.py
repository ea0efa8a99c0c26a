"""Which child looks at which target, and who waits: a few at a time, sources take turns.

A child serves one source for its whole life, and waits for the next look of it: to start one costs
ten times what a look costs. Where there are as many children as there may be, an idle one of
another source makes room. Of the looks that wait, one of the source with the fewest under way is
next; of several such sources, for a while, one that has an idle child.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from synapse_apply.controller.ports import LookRequest, RunResult
from synapse_apply.controller.rows import TargetName
from synapse_apply.controller.settings import Controller, Source
from synapse_apply.controller.source.places import SourceFolders, build_source_folders
from synapse_apply.controller.source.remote_refs import build_pin_revision_or_empty
from synapse_apply.controller.worker.access import (
    OwnSecrets,
    build_readable_files,
    build_worker_environment,
    collect_own_secrets,
    list_readable_variables,
)
from synapse_apply.controller.worker.child import Child, build_not_started_result
from synapse_apply.controller.worker.exchange import LookOrder
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.frozen import frozen

# How many looks in a row one source may have before a source without a child that waits longer.
_MOST_PREFERRED = 20


@frozen
class _Turn:
    """A look that has begun, and the settings that it is made by."""

    request: LookRequest
    source: Source
    own_secrets: OwnSecrets
    generation: int


class WorkerPool:
    """The children of a controller, as the Workers port; for many threads."""

    def __init__(
        self,
        controller: Controller,
        data: Path,
        environ: Mapping[str, str],
        most_looks: int = 4,
        most_children: int = 8,
    ) -> None:
        """`data` is the controller's folder, `environ` its own environment. Starts nothing yet.

        `most_looks` are under way at a time; there are `most_children`, idle ones included.
        """
        self._controller = controller
        self._data = data
        self._environ = dict(environ)
        self._most_looks = most_looks
        self._most_children = max(most_children, most_looks)
        self._own_secrets: OwnSecrets = collect_own_secrets(controller)
        self._generation = 0
        self._is_closed = False
        self._changed = threading.Condition()
        self._idle: list[tuple[str, Child]] = []
        self._busy: list[Child] = []
        self._looks_of_source: Counter[str] = Counter()
        self._targets: set[TargetName] = set()
        self._waiting: list[TargetName] = []
        self._preferred_count: Counter[str] = Counter()

    def use_settings(self, controller: Controller) -> None:
        """Serve by other settings from now on; looks that are under way end as they began."""
        with self._changed:
            self._controller, self._own_secrets = controller, collect_own_secrets(controller)
            self._generation += 1
            idle, self._idle = self._idle, []
        for _, child in idle:
            child.kill()

    def list_process_ids(self) -> tuple[int, ...]:
        """The process ids of the children that there are now."""
        with self._changed:
            children = [*self._busy, *(child for _, child in self._idle)]
            return tuple(child.process_id for child in children)

    def close(self) -> None:
        """End all children, also amid a look, and answer those who wait."""
        with self._changed:
            self._is_closed = True
            children = [*self._busy, *(child for _, child in self._idle)]
            self._idle = []
            self._changed.notify_all()
        for child in children:
            child.kill()

    def look(self, request: LookRequest) -> RunResult:
        """Look at a target, in a child of its source; waits for a place and for the result.

        Never raises for a look: what went wrong is its outcome and its findings. Two looks at one
        target are made one after the other, since they may share a data set.
        """
        name = request.target
        with self._changed:
            self._waiting.append(name)
            self._changed.wait_for(lambda: self._is_closed or self._is_next(name))
            self._count_preference(name)
            self._waiting.remove(name)
            if self._is_closed:
                return build_not_started_result("the controller ends")
            source = self._controller.sources.get(name.source)
            if source is None:
                return build_not_started_result(f"there is no source {name.source} any more")
            self._targets.add(name)
            self._looks_of_source[name.source] += 1
            turn = _Turn(request, source, self._own_secrets, self._generation)
            child, surplus = self._take_idle_child(source)
            # Who was not next before may be now.
            self._changed.notify_all()
        try:
            if surplus is not None:
                surplus.kill()
            return self._look_in_child(turn, child)
        finally:
            with self._changed:
                self._targets.discard(name)
                self._looks_of_source[name.source] -= 1
                self._changed.notify_all()

    def _is_next(self, name: TargetName) -> bool:
        """Whether a waiting look may begin: there is a place, and no other source goes before."""
        if sum(self._looks_of_source.values()) >= self._most_looks:
            return False
        able = [waiting for waiting in self._waiting if waiting not in self._targets]
        return name in able and min(able, key=self._rank) == name

    def _rank(self, name: TargetName) -> tuple[int, bool]:
        """Less for who is to begin sooner; of equals the one that has waited longest is next."""
        has_idle_child = any(owner == name.source for owner, _ in self._idle)
        is_preferred = has_idle_child and self._preferred_count[name.source] < _MOST_PREFERRED
        return self._looks_of_source[name.source], not is_preferred

    def _count_preference(self, name: TargetName) -> None:
        """Note whether a look begins before an older one of another source."""
        is_first = next(iter(self._waiting)).source == name.source
        self._preferred_count[name.source] = (
            0 if is_first else self._preferred_count[name.source] + 1
        )

    def _take_idle_child(self, source: Source) -> tuple[Child | None, Child | None]:
        """An idle child of the source, None without one; and one of another that makes room."""
        for position, (owner, child) in enumerate(self._idle):
            if owner == source.name:
                del self._idle[position]
                self._busy.append(child)
                return child, None
        # Each look that has begun has a child, or is about to start one.
        is_full = len(self._idle) + sum(self._looks_of_source.values()) > self._most_children
        return None, self._idle.pop(0)[1] if is_full and self._idle else None

    def _look_in_child(self, turn: _Turn, child: Child | None) -> RunResult:
        try:
            folders = build_source_folders(self._data, turn.source)
            folders.create()
            child = child or self._start_child(turn, folders)
            return child.look_or_kill(self._build_order(turn, folders), turn.request.timeout)
        except SynapseApplyError as problem:
            return build_not_started_result("; ".join(f.summary for f in problem.diagnostics))
        except OSError as problem:
            return build_not_started_result(str(problem.strerror))
        finally:
            if child is not None:
                self._give_back(turn, child)

    def _start_child(self, turn: _Turn, folders: SourceFolders) -> Child:
        child = Child(
            build_worker_environment(turn.source, turn.own_secrets, self._environ, folders.home)
        )
        with self._changed:
            self._busy.append(child)
            is_closed = self._is_closed
        if is_closed:
            child.kill()
        return child

    def _build_order(self, turn: _Turn, folders: SourceFolders) -> LookOrder:
        readable = build_readable_files(turn.source, turn.own_secrets, self._data)
        return LookOrder(
            turn.request.target.target,
            turn.request.commit,
            str(folders.project),
            build_pin_revision_or_empty(turn.source),
            list_readable_variables(turn.source, turn.own_secrets, self._environ),
            tuple(map(str, readable.folders)),
            tuple(map(str, readable.excluded)),
        )

    def _give_back(self, turn: _Turn, child: Child) -> None:
        """Keep a child for the next look, unless it has served its time."""
        is_usable = child.is_usable
        with self._changed:
            self._busy.remove(child)
            if is_usable and turn.generation == self._generation and not self._is_closed:
                self._idle.append((turn.source.name, child))
                return
        child.kill()
