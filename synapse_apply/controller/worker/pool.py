"""Which child works on which target, and who waits: a few at a time, sources take turns.

A child serves one source for its whole life, and waits for the next order of it: to start one costs
ten times what a look costs. Where there are as many children as there may be, an idle one of
another source makes room. Of those that wait, one of the source with the fewest under way is next,
an apply before a look; of several such sources, for a while, one that has an idle child.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from synapse_apply.controller.ports import Permit, RunResult
from synapse_apply.controller.rows import CallProgress, TargetName
from synapse_apply.controller.rules.targets import find_rule
from synapse_apply.controller.settings import Controller, Source
from synapse_apply.controller.source.access import (
    SourceFolders,
    build_pin_revision_or_empty,
    source_folders,
)
from synapse_apply.controller.worker.access import (
    OwnSecretLocations,
    build_readable_files,
    build_worker_environment,
    own_secret_locations,
    readable_variable_names,
)
from synapse_apply.controller.worker.child import (
    LAST_CALLS_SECONDS,
    Child,
    Conversation,
    apply_not_begun,
    lost_look,
)
from synapse_apply.controller.worker.exchange import Order
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.frozen import replace

# How long the calls of applies may take that are under way when the controller stops.
DRAIN_SECONDS = 6.0
# How many looks and applies are under way at a time, and how many children there may be.
MOST_LOOKS, MOST_CHILDREN = 4, 8
_STOPPING = "the controller is stopping"
# How many orders in a row one source may have before a source without a child that waits longer.
_MOST_PREFERRED = 20


class WorkerPool:
    """The child processes that look and apply; each serves one source at a time."""

    def __init__(
        self,
        controller: Controller,
        data: Path,
        environ: Mapping[str, str],
        most_looks: int = MOST_LOOKS,
        most_children: int = MOST_CHILDREN,
        *,
        drain_seconds: float = DRAIN_SECONDS,
        last_calls_seconds: float = LAST_CALLS_SECONDS,
    ) -> None:
        """`data` is the controller's folder, `environ` its own environment. Starts nothing yet.

        `most_looks` are under way at a time, applies included; there are `most_children`, idle ones
        included. An apply that may begin no further call has `last_calls_seconds` to end, or
        `drain_seconds` where the controller stops.
        """
        self._controller = controller
        self._data = data
        self._environ = dict(environ)
        self._most_looks = most_looks
        self._most_children = max(most_children, most_looks)
        self._own_secrets: OwnSecretLocations = own_secret_locations(controller)
        self._generation = 0
        self._is_closed = False
        self._drain_seconds, self._last_calls_seconds = drain_seconds, last_calls_seconds
        self._applies_end_at: float | None = None
        self._changed = threading.Condition()
        self._idle: list[tuple[str, Child]] = []
        self._busy: list[Child] = []
        self._applies: dict[Conversation, Child] = {}
        self._turns_of_source: Counter[str] = Counter()
        self._targets: set[TargetName] = set()
        self._waiting: list[Order] = []
        self._preferred_count: Counter[str] = Counter()

    def use_settings_for_new_work(self, controller: Controller) -> None:
        """Serve by other settings from now on; what is under way ends as it began."""
        with self._changed:
            self._controller, self._own_secrets = (controller, own_secret_locations(controller))
            self._generation += 1
            idle, self._idle = self._idle, []
        for _, child in idle:
            child.kill()

    def list_process_ids(self) -> tuple[int, ...]:
        """The process ids of the children that there are now."""
        with self._changed:
            children = [*self._busy, *(child for _, child in self._idle)]
            return tuple(child.process_id for child in children)

    def stop_applies(self) -> None:
        """Let no apply begin another call: what has begun has a few seconds to end.

        Returns at once; `apply` begins nothing any more (RunOutcome.APPLY_STOPPED).
        """
        with self._changed:
            if self._applies_end_at is None:
                self._applies_end_at = time.monotonic() + self._drain_seconds
            for conversation in self._applies:
                conversation.stop(_STOPPING, self._applies_end_at)
            self._changed.notify_all()

    def kill_applies(self) -> None:
        """End all applies at once; the next run looks up what became of calls that were open."""
        with self._changed:
            self._applies_end_at = time.monotonic()
            for conversation in self._applies:
                conversation.stop(_STOPPING, self._applies_end_at)
            children = list(self._applies.values())
        for child in children:
            child.kill()

    def close(self) -> None:
        """End all children, also amid a look, and answer those who wait.

        Applies have time to end their calls, from when they were first asked to stop.
        """
        self.stop_applies()
        with self._changed:
            self._is_closed = True
            children = [child for child in self._busy if child not in self._applies.values()]
            children += [child for _, child in self._idle]
            self._idle = []
            self._changed.notify_all()
        for child in children:
            child.kill()
        with self._changed:
            seconds = (self._applies_end_at or 0.0) - time.monotonic()
            self._changed.wait_for(lambda: not self._applies, max(seconds, 0.0))
            busy = list(self._busy)
        for child in busy:
            child.kill()

    def look(self, order: Order) -> RunResult:
        """Look at a target, in a child of its source; waits for a place and for the result.

        Never raises for a look: what went wrong is its outcome and its findings. A child that takes
        longer than the timeout is killed (RunOutcome.TIMEOUT). Two looks at one target
        are made one after the other, since they may share a data set.
        """
        return self._wait_and_work(order, None)

    def apply(
        self,
        order: Order,
        read_permit: Callable[[], Permit],
        tell: Callable[[Sequence[CallProgress]], None] | None = None,
    ) -> RunResult:
        """Apply a target, as `look` looks at it.

        `tell` is called on the calling thread, too, with the newest rows that the apply has begun,
        at most once a second.

        `read_permit` is called on the calling thread, every two seconds until the child ends or
        there is no permit. Without one no call begins; what has begun ends and is recorded. An
        apply that takes longer than the timeout begins no further call, and is killed a minute
        later (RunOutcome.TIMEOUT, with what was done where it could still tell).
        """
        return self._wait_and_work(order, read_permit, tell)

    def _wait_and_work(
        self,
        order: Order,
        read_permit: Callable[[], Permit] | None,
        tell: Callable[[Sequence[CallProgress]], None] | None = None,
    ) -> RunResult:
        name = order.target
        with self._changed:
            self._waiting.append(order)
            self._changed.wait_for(lambda: self._begins_no_more(order) or self._may_begin(order))
            is_first = self._waiting[0].target.source == name.source
            self._preferred_count[name.source] = (
                0 if is_first else self._preferred_count[name.source] + 1
            )
            self._waiting = [one for one in self._waiting if one is not order]
            source = self._controller.sources.get(name.source)
            if source is None or self._begins_no_more(order):
                self._changed.notify_all()
                reason = _STOPPING
                if not self._begins_no_more(order):
                    reason = f"source {name.source} no longer exists"
                return apply_not_begun(reason) if read_permit else _not_started(reason)
            self._targets.add(name)
            self._turns_of_source[name.source] += 1
            secrets, generation = self._own_secrets, self._generation
            child, surplus = self._take_idle_child(source)
            # Who was not next before may be now.
            self._changed.notify_all()
        try:
            if surplus is not None:
                surplus.kill()
            folders = source_folders(self._data, source)
            folders.create_folders()
            child = child or self._start_child(source, secrets, folders)
            readable = build_readable_files(source, secrets, self._data)
            rule, pin = find_rule(source, name.target), build_pin_revision_or_empty(source)
            order = replace(
                order,
                folder=str(folders.project),
                project_from=pin and (order.project_from or pin),
                variables=readable_variable_names(source, secrets, self._environ),
                readable=tuple(map(str, readable.folders)),
                unreadable=tuple(map(str, readable.excluded)),
                hosts=rule.hosts if rule is not None else (),
                opened=source.may_read.opened,
            )
            conversation = Conversation(order, read_permit, self._last_calls_seconds, tell)
            return self._converse(child, order, conversation)
        except SynapseApplyError as problem:
            return _not_started("; ".join(f.summary for f in problem.diagnostics))
        except OSError as problem:
            return _not_started(str(problem.strerror))
        finally:
            is_kept = child is not None and child.is_usable
            with self._changed:
                if child is not None:
                    self._busy.remove(child)
                    # It is kept for the next order, unless it has served its time.
                    is_kept = is_kept and generation == self._generation and not self._is_closed
                    if is_kept:
                        self._idle.append((source.name, child))
                self._targets.discard(name)
                self._turns_of_source[name.source] -= 1
                self._changed.notify_all()
            if child is not None and not is_kept:
                child.kill()

    def _begins_no_more(self, order: Order) -> bool:
        """Whether nothing of this sort begins any more."""
        return self._is_closed or (order.terms is not None and self._applies_end_at is not None)

    def _may_begin(self, order: Order) -> bool:
        """Whether one that waits may begin: there is a place, and no other goes before."""
        if sum(self._turns_of_source.values()) >= self._most_looks:
            return False
        # What has begun cannot be put off: a source whose backends do not answer would keep what
        # comes of another one meanwhile waiting until its timeout.
        has_many_sources = len(self._controller.sources) > 1
        share = max(self._most_looks - has_many_sources, 1)
        able = [
            one
            for one in self._waiting
            if one.target not in self._targets and self._turns_of_source[one.target.source] < share
        ]
        return bool(able) and min(able, key=self._rank_of) is order

    def _rank_of(self, order: Order) -> tuple[int, bool, bool]:
        """Less for who is to begin sooner; of equals the one that has waited longest is next."""
        source = order.target.source
        has_idle_child = any(owner == source for owner, _ in self._idle)
        is_preferred = has_idle_child and self._preferred_count[source] < _MOST_PREFERRED
        return self._turns_of_source[source], order.terms is None, not is_preferred

    def _take_idle_child(self, source: Source) -> tuple[Child | None, Child | None]:
        """An idle child of the source, None without one; and one of another that makes room."""
        for position, (owner, child) in enumerate(self._idle):
            if owner == source.name:
                del self._idle[position]
                self._busy.append(child)
                return child, None
        # Each turn that has begun has a child, or is about to start one.
        is_full = len(self._idle) + sum(self._turns_of_source.values()) > self._most_children
        return None, self._idle.pop(0)[1] if is_full and self._idle else None

    def _converse(self, child: Child, order: Order, conversation: Conversation) -> RunResult:
        """Have a child work; an apply does not begin where the controller stops already."""
        if order.terms is None:
            return child.work_or_kill(order, conversation)
        with self._changed:
            if self._applies_end_at is not None:
                return apply_not_begun(_STOPPING)
            self._applies[conversation] = child
        try:
            return child.work_or_kill(order, conversation)
        finally:
            with self._changed:
                del self._applies[conversation]
                self._changed.notify_all()

    def _start_child(
        self, source: Source, secrets: OwnSecretLocations, folders: SourceFolders
    ) -> Child:
        child = Child(build_worker_environment(source, secrets, self._environ, folders.home))
        with self._changed:
            self._busy.append(child)
            is_closed = self._is_closed
        if is_closed:
            child.kill()
        return child


def _not_started(reason: str) -> RunResult:
    """The result where no worker could be asked; `reason` is a phrase."""
    return lost_look(f"The controller could not start a worker: {reason}.")
