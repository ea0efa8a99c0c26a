"""The loop itself: rounds that start what is due, until it is told to stop.

A round reads what is due, asks `rules/` what of it begins now, and starts it in the background; it
never waits for a fetch, a look or a server.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from threading import Lock
from typing import cast

from synapse_apply.controller.loop import due_times, following, telling
from synapse_apply.controller.loop.actions import LoopPeopleActions
from synapse_apply.controller.loop.claiming import ClaimedTarget, claim_target_if_due
from synapse_apply.controller.loop.hourly import HourlyWork
from synapse_apply.controller.loop.parts import ConfiguredParts, LoopParts
from synapse_apply.controller.loop.rollout_actions import LoopRolloutActions
from synapse_apply.controller.loop.running import RunCounts
from synapse_apply.controller.loop.tasks import BackgroundTasks, WakeUpCall
from synapse_apply.controller.loop.working import look_and_apply_if_permitted
from synapse_apply.controller.ports import LoopHealth, PeopleActions, RolloutActions
from synapse_apply.controller.rows import (
    MessageRow,
    RunCause,
    RunVerb,
    SourceRow,
    StatusRow,
    TargetName,
    TargetRow,
)
from synapse_apply.controller.rules.due import MIN_POLL_SECONDS
from synapse_apply.controller.rules.sending import is_message_due, is_read_due, is_status_due
from synapse_apply.controller.rules.turns import choose_looks
from synapse_apply.controller.settings import HOUR, Controller

ROUND_SECONDS = 1.0
DRAIN_SECONDS = 6.0
_RECORDING_SECONDS = 1.0
# More than there are workers: which of these are looked at first, the workers choose by which of
# their processes are warm.
MAX_LOOKS = 16
_MAX_FETCHES, _MAX_SENDS = 4, 4
_LOOK, _FETCH, _SEND = "look", "fetch", "send"
_READ_SECONDS = 5.0
# A round may wait for a transaction that moves thousands of targets to a new head.
_LONGEST_ROUND_SECONDS = 15.0
_SENDS_A_ROUND = 50


class ControllerLoop:
    """Follows the sources, looks at their targets, and tells people; a RunningLoop for the page.

    One thread calls `run` or `run_once`; the other methods are for any thread.
    """

    def __init__(self, parts: LoopParts, *, max_looks: int = MAX_LOOKS) -> None:
        self._parts = parts
        self._max_looks = max_looks
        self._wake_up = WakeUpCall()
        self._tasks = BackgroundTasks(self._wake_up.wake)
        self._counts = RunCounts()
        self._due_times = due_times.DueTimes(parts)
        self._hourly_work = HourlyWork(parts)
        self._actions = LoopPeopleActions(parts, self.poll_soon, self._wake_up.wake)
        self._rollout_actions = LoopRolloutActions()
        self._asked_polls: set[str] = set()
        self._lock = Lock()
        self._fetched: dict[str, float] = {}
        self._unsure: set[tuple[str, str, str]] = set()
        self._is_once = False
        # In a round of --once each target has one look, and one more after an apply.
        self._looked_once: set[tuple[TargetName, bool]] = set()
        self._reload: Callable[[], ConfiguredParts | None] = lambda: None
        self._is_reload_asked = False
        self._reads_checked_at: float | None = None
        self._round_ended_at: float | None = None

    # What the page asks

    def poll_soon(self, source: str) -> None:
        """See LookTrigger; an unknown name has no effect."""
        with self._lock:
            if source in self._parts.settings.sources:
                self._asked_polls.add(source)
        self._wake_up.wake()

    def get_settings(self) -> Controller:
        return self._parts.settings

    def get_people_actions(self) -> PeopleActions:
        return self._actions

    def get_rollout_actions(self) -> RolloutActions:
        return self._rollout_actions

    def list_authors(self, name: TargetName) -> tuple[str, ...] | None:
        """See RunningLoop."""
        row = self._parts.store.find_target(name)
        return self._parts.list_authors_or_none(row) if row is not None else ()

    def read_health(self) -> LoopHealth:
        look_counts, look_seconds = self._counts.read(RunVerb.LOOK)
        apply_counts, apply_seconds = self._counts.read(RunVerb.APPLY)
        ended_at = self._round_ended_at
        age = None if ended_at is None else self._parts.clock.read_counter() - ended_at
        return LoopHealth(
            age,
            _LONGEST_ROUND_SECONDS,
            self._find_largest_clock_offset_or_none(),
            look_counts=look_counts,
            look_seconds=look_seconds,
            apply_counts=apply_counts,
            apply_seconds=apply_seconds,
        )

    def _find_largest_clock_offset_or_none(self) -> float | None:
        senders = self._parts.configured.status_senders.values()
        offsets = [sender.get_clock_offset_or_none() for sender in senders]
        return max((offset for offset in offsets if offset is not None), key=abs, default=None)

    # What the process asks

    def stop(self) -> None:
        """Begin nothing new, let what runs end within DRAIN_SECONDS, and return from `run`.

        As `ask_reload`, this may be called by a signal handler.
        """
        self._parts.is_stopping = True
        self._wake_up.wake()

    def ask_reload(self) -> None:
        """Read the configuration again in the next round."""
        self._is_reload_asked = True
        self._wake_up.wake()

    def run(self, reload: Callable[[], ConfiguredParts | None]) -> None:
        """Go round until `stop`; `reload` gives what a new configuration is made into, or None."""
        self._reload = reload
        self._start()
        while not self._parts.is_stopping:
            self._go_round()
            self._wake_up.wait(ROUND_SECONDS)
        self._drain()

    def run_once(self) -> int:
        """Fetch every source, work on every target that is due by then, and tell of it.

        Returns how many targets another run had locked, so that nothing is known of them now.
        """
        self._is_once = True
        self._start()
        for name in self._parts.settings.sources:
            self._start_fetch_unless_running(name)
        while not self._parts.is_stopping:
            # A round that begins when nothing runs has seen all that was written.
            was_idle, started_count = self._tasks.is_idle(), self._tasks.started_count
            self._go_round()
            if was_idle and self._tasks.started_count == started_count:
                break
            self._wake_up.wait(ROUND_SECONDS)
        self._drain()
        return self._parts.postponed_count

    def _start(self) -> None:
        """Bring the store in line with the configuration, and end what a killed process began."""
        parts = self._parts
        now = parts.clock.read_wall()
        parts.ids.begin_after(parts.store.find_newest_run_id_or_empty())
        self._adopt_sources()
        fetched_at = max((row.fetched_at for row in parts.store.list_sources()), default=now)
        with parts.write() as writer:
            writer.append_audit(now, parts.who, "start", parts.who, "")
            writer.release_all_targets()
            # The clock was set back while nobody watched it, by this much or a little more.
            if fetched_at > now:
                writer.shift_due_times(now - fetched_at)
        due_times.pull_in_due_times(parts)
        # A variable can be mended by a restart alone. Runs of --once have a timer of their own.
        retry_within = 0.0 if self._is_once else parts.settings.defaults.retry_first
        due_times.retry_failing_targets(parts, retry_within)
        due_times.wake_targets_decided_otherwise(parts)
        statuses, _ = parts.store.list_unsent()
        # Whether these were sent is not known: they are read first.
        self._unsure = {(row.source, row.commit, row.context) for row in statuses}
        for name in parts.settings.sources:
            parts.mark_changed(name)

    def _adopt_sources(self) -> None:
        """Have a row for each source of the configuration, and none in use for others."""
        parts = self._parts
        now, names = parts.clock.read_wall(), parts.settings.sources
        rows = {row.name: row for row in parts.store.list_sources()}
        with parts.write() as writer:
            for name in names:
                row = parts.store.find_source(name) or SourceRow(name)
                if row.is_removed or name not in rows:
                    row = replace(row, due_at=now, is_removed=False)
                    writer.put_source(row)
            for name in rows.keys() - names.keys():
                writer.remove_source(name)
        for name in names:
            # Rules may differ from those of the last run.
            parts.compare_again(name)

    def _go_round(self) -> None:
        if self._tasks.failure is not None:
            raise self._tasks.failure
        if self._is_reload_asked:
            self._is_reload_asked = False
            self._take_configuration()
        self._due_times.follow_clock()
        now = self._parts.clock.read_wall()
        if not self._is_once:
            self._start_due_fetches(now)
        for source in self._parts.take_changed_sources():
            following.update_ends(self._parts, source)
        self._start_due_looks(now)
        self._start_due_sends(now)
        self._start_due_reads(now)
        self._hourly_work.do_if_due()
        self._round_ended_at = self._parts.clock.read_counter()

    def _take_configuration(self) -> None:
        configured = self._reload()
        if configured is None:
            return
        parts = self._parts
        settings_before = parts.settings
        parts.configured = configured
        with parts.write() as writer:
            writer.append_audit(
                parts.clock.read_wall(), parts.who, "take configuration", parts.who, ""
            )
        self._adopt_sources()
        due_times.retry_failing_targets(parts, configured.settings.defaults.retry_first)
        due_times.wake_targets_decided_otherwise(parts, settings_before)
        for name in configured.settings.sources:
            parts.mark_changed(name)
        with self._lock:
            self._asked_polls.update(configured.settings.sources)

    def _start_due_fetches(self, now: float) -> None:
        with self._lock:
            asked_sources, self._asked_polls = self._asked_polls, set()
        counter = self._parts.clock.read_counter()
        for row in self._parts.store.list_sources():
            if row.name not in self._parts.settings.sources:
                continue
            is_recent = counter - self._fetched.get(row.name, -HOUR) < MIN_POLL_SECONDS
            is_asked = row.name in asked_sources
            if not (is_asked or row.due_at <= now) or (is_asked and is_recent):
                continue
            is_full = self._tasks.count_running(_FETCH) >= _MAX_FETCHES
            if is_full or not self._start_fetch_unless_running(row.name):
                if is_asked:
                    with self._lock:
                        self._asked_polls.add(row.name)
                continue

    def _start_fetch_unless_running(self, name: str) -> bool:
        def fetch() -> None:
            following.follow_source(self._parts, name, is_spread=not self._is_once)
            self._fetched[name] = self._parts.clock.read_counter()

        return self._tasks.start_unless_running_or_failed((_FETCH, name), fetch)

    def _start_due_looks(self, now: float) -> None:
        running = cast("list[TargetRow]", self._tasks.list_subjects(_LOOK))
        if len(running) >= self._max_looks or self._parts.is_stopping:
            return
        # Where each target gets one look, it is one at the head.
        if self._is_once and self._tasks.count_running(_FETCH):
            return
        with self._parts.write() as writer:
            due = writer.list_due_targets(now, 8 * self._max_looks)
        due = [row for row in due if _get_look_key(row) not in self._looked_once]
        has_many = len(self._parts.settings.sources) > 1
        for row in choose_looks(due, running, self._max_looks, has_many_sources=has_many):
            claimed = claim_target_if_due(self._parts, row.name)
            if claimed is not None:
                self._start_look(claimed)

    def _start_look(self, claimed: ClaimedTarget) -> None:
        def look() -> None:
            look_and_apply_if_permitted(self._parts, claimed, self._counts)

        if self._is_once:
            self._looked_once.add(_get_look_key(claimed.row))
        self._tasks.start_unless_running_or_failed((_LOOK, claimed.row.name), look, claimed.row)

    def _start_due_sends(self, now: float) -> None:
        statuses, messages = self._parts.store.list_due_sends(now, _SENDS_A_ROUND)
        spacing = self._parts.settings.defaults.status_spacing
        for status in statuses:
            if status.source in self._parts.configured.status_senders and is_status_due(
                status, now, spacing
            ):
                self._start_status(status)
        for message in messages:
            if is_message_due(message, now):
                self._start_message(message)

    def _start_status(self, row: StatusRow) -> None:
        key = row.source, row.commit, row.context

        def send() -> None:
            if telling.deliver_status_and_tell_if_certain(
                self._parts, row, is_unsure=key in self._unsure
            ):
                self._unsure.discard(key)
            else:
                self._unsure.add(key)

        if self._tasks.count_running(_SEND) < _MAX_SENDS:
            self._tasks.start_unless_running_or_failed((_SEND, *key), send)

    def _start_message(self, row: MessageRow) -> None:
        def send() -> None:
            telling.send_message(self._parts, row)

        if self._tasks.count_running(_SEND) < _MAX_SENDS:
            self._tasks.start_unless_running_or_failed((_SEND, row.id), send)

    def _start_due_reads(self, now: float) -> None:
        """Read back the statuses of heads; looked for every few seconds, as none is urgent."""
        counter = self._parts.clock.read_counter()
        checked_at = self._reads_checked_at
        if self._is_once or (checked_at is not None and counter - checked_at < _READ_SECONDS):
            return
        self._reads_checked_at = counter
        interval = self._parts.settings.defaults.status_check
        for source in self._parts.store.list_sources():
            for row in self._parts.store.list_statuses_of_commit(source.name, source.head):
                if is_read_due(row, now, interval):
                    self._start_read(row)

    def _start_read(self, row: StatusRow) -> None:
        def read() -> None:
            telling.read_back_status_if_readable(self._parts, row)

        if self._tasks.count_running(_SEND) < _MAX_SENDS:
            self._tasks.start_unless_running_or_failed(
                (_SEND, row.source, row.commit, row.context), read
            )

    def _drain(self) -> None:
        """Let what runs end, for a while; then end the workers.

        An apply begins no further call, and what it has begun is recorded; a look that is cut short
        found nothing out.
        """
        self._parts.is_stopping = True
        self._parts.workers.stop_applies()
        is_idle = self._tasks.wait_and_tell_if_idle(DRAIN_SECONDS)
        self._parts.is_closing = True
        self._parts.workers.close()
        # An apply that had its last seconds until then is recorded.
        self._tasks.wait_and_tell_if_idle(_RECORDING_SECONDS)
        if self._tasks.failure is not None:
            raise self._tasks.failure
        if not is_idle:
            self._parts.log("warn", "runs cut short", runs=len(self._tasks.list_subjects(_LOOK)))


def _get_look_key(row: TargetRow) -> tuple[TargetName, bool]:
    """What a round of --once does once: a target's look, and the one after its apply."""
    return row.name, row.due_cause is RunCause.APPLIED
