"""The loop itself: rounds that start what is due, until it is told to stop.

A round reads what is due, asks `rules/` what of it begins now, and starts it in the background; it
never waits for a fetch, a look or a server.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from threading import Lock
from typing import cast

from synapse_apply.controller.loop import following, looking, telling
from synapse_apply.controller.loop.parts import ConfiguredParts, LoopParts
from synapse_apply.controller.loop.tasks import BackgroundTasks, WakeUpCall
from synapse_apply.controller.ports import LoopHealth
from synapse_apply.controller.rows import MessageRow, SourceRow, StatusRow, TargetName, TargetRow
from synapse_apply.controller.rules.due import (
    MIN_POLL_SECONDS,
    compute_first_delay,
    compute_longest_delay,
    get_interval,
    is_clock_jump,
)
from synapse_apply.controller.rules.sending import is_message_due, is_read_due, is_status_due
from synapse_apply.controller.rules.targets import find_rule
from synapse_apply.controller.rules.turns import choose_looks
from synapse_apply.controller.settings import HOUR, Controller

ROUND_SECONDS = 1.0
DRAIN_SECONDS = 6.0
# More than there are workers: which of these are looked at first, the workers choose by which of
# their processes are warm.
MAX_LOOKS = 16
_MAX_FETCHES, _MAX_SENDS = 4, 4
_LOOK, _FETCH, _SEND = "look", "fetch", "send"
_READ_SECONDS = 5.0
# A round may wait for a transaction that moves thousands of targets to a new head.
_LONGEST_ROUND_SECONDS = 15.0
_SENDS_A_ROUND = 50
# For so long after a jump of the clock there are tasks that have read it before.
_UNSETTLED_SECONDS = 60.0


class ControllerLoop:
    """Follows the sources, looks at their targets, and tells people; a RunningLoop for the page.

    One thread calls `run` or `run_once`; the other methods are for any thread.
    """

    def __init__(self, parts: LoopParts, *, max_looks: int = MAX_LOOKS) -> None:
        self._parts = parts
        self._max_looks = max_looks
        self._wake_up = WakeUpCall()
        self._is_stopping = False
        self._is_closing = False
        self._tasks = BackgroundTasks(self._wake_up.wake)
        self._counts = looking.LookCounts()
        self._asked_polls: set[str] = set()
        self._lock = Lock()
        self._fetched: dict[str, float] = {}
        self._unsure: set[tuple[str, str, str]] = set()
        self._is_once = False
        self._looked_once: set[TargetName] = set()
        self._reload: Callable[[], ConfiguredParts | None] = lambda: None
        self._is_reload_asked = False
        self._jumped_at: float | None = None
        self._kept_at: float | None = None
        self._reads_checked_at: float | None = None
        self._round_ended_at: float | None = None

    @property
    def _who(self) -> str:
        """Who does what the loop does, in the audit."""
        return f"controller:{self._parts.settings.name}"

    # What the page asks

    def poll_soon(self, source: str) -> None:
        """See LookTrigger; an unknown name has no effect."""
        with self._lock:
            if source in self._parts.settings.sources:
                self._asked_polls.add(source)
        self._wake_up.wake()

    def get_settings(self) -> Controller:
        return self._parts.settings

    def read_health(self) -> LoopHealth:
        counts, seconds = self._counts.read()
        ended_at = self._round_ended_at
        age = None if ended_at is None else self._parts.clock.read_counter() - ended_at
        interval = _LONGEST_ROUND_SECONDS
        return LoopHealth(age, interval, look_counts=counts, look_seconds=seconds)

    # What the process asks

    def stop(self) -> None:
        """Begin nothing new, let what runs end within DRAIN_SECONDS, and return from `run`.

        As `ask_reload`, this may be called by a signal handler.
        """
        self._is_stopping = True
        self._wake_up.wake()

    def ask_reload(self) -> None:
        """Read the configuration again in the next round."""
        self._is_reload_asked = True
        self._wake_up.wake()

    def run(self, reload: Callable[[], ConfiguredParts | None]) -> None:
        """Go round until `stop`; `reload` gives what a new configuration is made into, or None."""
        self._reload = reload
        self._start()
        while not self._is_stopping:
            self._go_round()
            self._wake_up.wait(ROUND_SECONDS)
        self._drain()

    def run_once(self) -> None:
        """Fetch every source, look at every target that is due by then, and tell of it."""
        self._is_once = True
        self._start()
        for name in self._parts.settings.sources:
            self._start_fetch_unless_running(name)
        while not self._is_stopping:
            # A round that begins when nothing runs has seen all that was written.
            was_idle, started_count = self._tasks.is_idle(), self._tasks.started_count
            self._go_round()
            if was_idle and self._tasks.started_count == started_count:
                break
            self._wake_up.wait(ROUND_SECONDS)
        self._drain()

    def _start(self) -> None:
        """Bring the store in line with the configuration, and end what a killed process began."""
        parts = self._parts
        now = parts.clock.read_wall()
        parts.ids.begin_after(parts.store.find_newest_run_id_or_empty())
        self._adopt_sources()
        fetched_at = max((row.fetched_at for row in parts.store.list_sources()), default=now)
        with parts.store.write() as writer:
            writer.append_audit(now, self._who, "start", self._who, "")
            writer.release_all_targets()
            # The clock was set back while nobody watched it, by this much or a little more.
            if fetched_at > now:
                writer.shift_due_times(now - fetched_at)
        self._pull_in_due_times()
        # A variable can be mended by a restart alone. Runs of --once have a timer of their own.
        self._retry_failing_targets(0 if self._is_once else parts.settings.defaults.retry_first)
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
        with parts.store.write() as writer:
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
        self._correct_due_times()
        now = self._parts.clock.read_wall()
        if not self._is_once:
            self._start_due_fetches(now)
        for source in self._parts.take_changed_sources():
            following.update_ends(self._parts, source)
        self._start_due_looks(now)
        self._start_due_sends(now)
        self._start_due_reads(now)
        self._delete_old_rows(now)
        self._round_ended_at = self._parts.clock.read_counter()

    def _take_configuration(self) -> None:
        configured = self._reload()
        if configured is None:
            return
        parts = self._parts
        parts.configured = configured
        with parts.store.write() as writer:
            writer.append_audit(
                parts.clock.read_wall(), self._who, "take configuration", self._who, ""
            )
        self._adopt_sources()
        self._retry_failing_targets(configured.settings.defaults.retry_first)
        for name in configured.settings.sources:
            parts.mark_changed(name)
        with self._lock:
            self._asked_polls.update(configured.settings.sources)

    def _retry_failing_targets(self, longest: float) -> None:
        """Have each failing target due within `longest` seconds: what was wrong may be mended."""
        parts = self._parts
        now = parts.clock.read_wall()
        with parts.store.write() as writer:
            failing = [row for row in writer.list_targets_due_after(now) if row.failures]
            for row in failing:
                delay = compute_first_delay(longest, len(failing), parts.clock.draw())
                writer.put_target(replace(row, due_at=min(row.due_at, now + delay)))

    def _correct_due_times(self) -> None:
        """Move due times by as much as the wall clock jumped since the last round."""
        clock = self._parts.clock
        counter, error = clock.read_counter(), clock.measure_error()
        if is_clock_jump(error):
            with self._parts.store.write() as writer:
                writer.shift_due_times(error)
                # Within the transaction: no other one may be between the two.
                clock.correct(error)
            self._parts.log("warn", "clock jumped", seconds=error)
            self._jumped_at = counter
        else:
            clock.correct(error)
        # A task may have read the clock before its transaction, and written after the shift.
        if self._jumped_at is not None and counter - self._jumped_at < _UNSETTLED_SECONDS:
            self._pull_in_due_times()

    def _pull_in_due_times(self) -> None:
        """Have nothing due later than it could have been put off from now on."""
        parts = self._parts
        now, defaults = parts.clock.read_wall(), parts.settings.defaults
        sources = parts.settings.sources
        rules = [rule for source in sources.values() for rule in source.rules]
        intervals = {get_interval(rule, defaults) for rule in rules} or {defaults.interval}
        with parts.store.write() as writer:
            shortest = compute_longest_delay(min(intervals), defaults)
            for row in writer.list_targets_due_after(now + shortest):
                source = sources.get(row.name.source)
                rule = find_rule(source, row.name.target) if source else None
                if rule is None:
                    continue
                longest = compute_longest_delay(get_interval(rule, defaults), defaults)
                if row.due_at > now + longest:
                    delay = compute_first_delay(longest, int(longest), parts.clock.draw())
                    writer.put_target(replace(row, due_at=now + delay))
            for polled in parts.store.list_sources():
                source = sources.get(polled.name)
                if source and polled.due_at > now + compute_longest_delay(source.poll, defaults):
                    writer.put_source(replace(polled, due_at=now))
            # No receiver can ask for a longer wait (`delivery.py`).
            writer.pull_in_sends(now, max(HOUR, defaults.retry_most))

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
        if len(running) >= self._max_looks or self._is_stopping:
            return
        # Where each target gets one look, it is one at the head.
        if self._is_once and self._tasks.count_running(_FETCH):
            return
        with self._parts.store.write() as writer:
            due = writer.list_due_targets(now, 8 * self._max_looks)
        due = [row for row in due if row.name not in self._looked_once]
        for row in choose_looks(due, running, self._max_looks):
            claimed = looking.claim_look_if_due(self._parts, row.name)
            if claimed is not None:
                self._start_look(claimed)

    def _start_look(self, claimed: looking.ClaimedLook) -> None:
        def look() -> None:
            result, began_at, ended_at = looking.run_look(self._parts, claimed)
            # A worker that was ended with the controller found nothing out.
            if not self._is_closing:
                self._counts.add(result.outcome, ended_at - began_at)
                looking.record_look(self._parts, claimed, result, began_at, ended_at)

        if self._is_once:
            self._looked_once.add(claimed.row.name)
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
            context = self._parts.build_context(source.name)
            row = self._parts.store.find_status(source.name, source.head, context)
            if row is not None and is_read_due(row, now, interval):
                self._start_read(row)

    def _start_read(self, row: StatusRow) -> None:
        def read() -> None:
            telling.read_back_status_if_readable(self._parts, row)

        if self._tasks.count_running(_SEND) < _MAX_SENDS:
            self._tasks.start_unless_running_or_failed(
                (_SEND, row.source, row.commit, row.context), read
            )

    def _delete_old_rows(self, now: float) -> None:
        counter = self._parts.clock.read_counter()
        if self._kept_at is not None and counter - self._kept_at < HOUR:
            return
        self._kept_at = counter
        oldest = now - self._parts.settings.defaults.keep
        with self._parts.store.write() as writer:
            count = writer.delete_runs_before(oldest)
            writer.delete_records_before(oldest)
        if count:
            self._parts.log("info", "old runs deleted", runs=count)

    def _drain(self) -> None:
        """Let what runs end, for a while; then end the workers, whose results count no more."""
        self._is_stopping = True
        is_idle = self._tasks.wait_and_tell_if_idle(DRAIN_SECONDS)
        self._is_closing = True
        self._parts.workers.close()
        if self._tasks.failure is not None:
            raise self._tasks.failure
        if not is_idle:
            self._parts.log("warn", "looks cut short", looks=len(self._tasks.list_subjects(_LOOK)))
