"""What the rounds of a controller start: fetches, ends of revisions, looks, sends, hourly work.

A round reads what is due, asks `rules/` what of it begins now, and starts it in the background; it
never waits for a fetch, a look or a server. All that it remembers is in memory, and is lost with
the lead: the store has what has to stay.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from synapse_apply.controller.loop import due_times, following, telling
from synapse_apply.controller.loop.hourly import HourlyWork
from synapse_apply.controller.loop.leading.dispatching import LOOK, Dispatcher
from synapse_apply.controller.loop.parts import LoopParts
from synapse_apply.controller.loop.tasks import BackgroundTasks
from synapse_apply.controller.rows import MessageRow, SourceRow, StatusRow
from synapse_apply.controller.rules.due import MIN_POLL_SECONDS
from synapse_apply.controller.rules.sending import is_message_due, is_status_due, must_read_back
from synapse_apply.controller.settings import HOUR, Controller

_MAX_FETCHES, _MAX_SENDS = 4, 4
_FETCH, _SEND = "fetch", "send"
_READ_SECONDS = 5.0
_SENDS_A_ROUND = 50
# To sum up a source of many targets costs more than a look does; a status is not sent that often.
# While looks end, it is done once a second at most, and takes a twentieth of the time.
_ENDS_SECONDS, _ENDS_SHARE, _MOST_ENDS_SECONDS = 1.0, 20.0, 10.0


class LeaderRounds:
    """The rounds of a process while it leads; for one thread."""

    def __init__(
        self, parts: LoopParts, tasks: BackgroundTasks, dispatcher: Dispatcher, *, is_once: bool
    ) -> None:
        """`parts` write only while this process leads."""
        self._parts = parts
        self._tasks = tasks
        self._dispatcher = dispatcher
        self._is_once = is_once
        self._due_times = due_times.DueTimes(parts)
        self._hourly_work = HourlyWork(parts)
        self._fetched: dict[str, float] = {}
        self._unsure: set[tuple[str, str, str]] = set()
        self._reads_checked_at: float | None = None
        self._change_numbers: dict[str, int] = {}
        self._ends_due_at = 0.0
        self._sources_to_update: set[str] = set()

    def prepare_store(self) -> None:
        """Bring the store in line with the configuration, and end what a killed process began."""
        parts = self._parts
        now = parts.clock.read_wall()
        parts.ids.begin_after(parts.store.newest_id())
        self._put_sources()
        fetched_at = max(
            (row.fetched_at for row in parts.store.list_configured_sources()), default=now
        )
        with parts.write() as writer:
            writer.append_audit(now, parts.who, "start", parts.who, "")
            if not parts.store.is_shared:
                writer.release_all_claims()
            # The clock was set back while nobody watched it, by this much or a little more.
            if fetched_at > now:
                writer.shift_due_times_claims_and_leases(now - fetched_at)
        due_times.pull_in_due_times(parts)
        # A variable can be mended by a restart alone. Runs of --once have a timer of their own.
        retry_within = 0.0 if self._is_once else parts.settings.defaults.retry_first
        due_times.hasten_failing(parts, retry_within)
        due_times.hasten_redecided(parts)
        statuses, _ = parts.store.list_unsent_and_refused_statuses_and_messages()
        # Whether these were sent is not known: they are read first.
        self._unsure = {(row.source, row.commit, row.context) for row in statuses}
        for name in parts.settings.sources:
            parts.add_changed_source(name)
        if self._is_once:
            for name in parts.settings.sources:
                self._start_fetch(name)

    def adopt_configuration(self, settings_before: Controller) -> None:
        """Bring the store in line with a configuration that has taken the place of another one."""
        parts = self._parts
        with parts.write() as writer:
            writer.append_audit(
                parts.clock.read_wall(), parts.who, "take configuration", parts.who, ""
            )
        self._put_sources()
        due_times.hasten_failing(parts, parts.settings.defaults.retry_first)
        due_times.hasten_redecided(parts, settings_before)
        with parts.write() as writer:
            for name in parts.settings.sources:
                parts.add_changed_source(name)
                writer.request_fetch_at_once(name)

    def _put_sources(self) -> None:
        """Have a row for each source of the configuration, and none in use for others."""
        parts = self._parts
        now, names = parts.clock.read_wall(), parts.settings.sources
        rows = {row.name: row for row in parts.store.list_configured_sources()}
        with parts.write() as writer:
            for name in names:
                row = parts.store.find_source_even_if_removed(name) or SourceRow(name)
                if row.is_removed or name not in rows:
                    row = replace(row, due_at=now, is_removed=False)
                    writer.put_source_except_head_and_counters(row)
            for name in rows.keys() - names.keys():
                targets = parts.store.list_present_and_gone_targets_of_source(name)
                present = (target for target in targets if not target.is_gone)
                following.queue_ends_of_failures(parts, writer, present)
                writer.mark_source_removed(name)
        for name in names:
            # Rules may differ from those of the last run.
            parts.request_comparison(name)

    @property
    def seconds_to_next_round(self) -> float:
        """Seconds until the next round is to begin at the latest."""
        return self._dispatcher.seconds_to_next_round

    def go_round(self) -> None:
        """Start what is due, and write what is known by now."""
        self._due_times.correct_due_times()
        now = self._parts.clock.read_wall()
        sources = self._parts.store.list_configured_sources()
        if not self._is_once:
            self._start_due_fetches(sources, now)
        self._write_rollouts(sources)
        # Where each target gets one look, it is one at the head.
        if not (self._is_once and self._tasks.count_running(_FETCH)):
            self._dispatcher.dispatch_due(now)
        self._start_due_sends(now)
        self._start_status_reads(sources, now)
        self._hourly_work.do_if_an_hour_has_passed()

    def _start_due_fetches(self, sources: Collection[SourceRow], now: float) -> None:
        counter = self._parts.clock.read_counter()
        for row in sources:
            if row.name not in self._parts.settings.sources:
                continue
            is_recent = counter - self._fetched.get(row.name, -HOUR) < MIN_POLL_SECONDS
            is_asked = row.asked_number > row.answered_number
            if not (is_asked or row.due_at <= now) or (is_asked and is_recent):
                continue
            if self._tasks.count_running(_FETCH) < _MAX_FETCHES:
                self._start_fetch(row.name)

    def _start_fetch(self, name: str) -> None:
        def fetch() -> None:
            following.fetch_source_or_record_failure_and_move_targets(
                self._parts, name, spreads_new_targets=not self._is_once
            )
            self._fetched[name] = self._parts.clock.read_counter()

        self._tasks.start_task((_FETCH, name), fetch)

    def _write_rollouts(self, sources: Collection[SourceRow]) -> None:
        """Write the ends of the revisions of sources that changed; seldom while looks end."""
        self._sources_to_update |= self._parts.take_changed_sources()
        for row in sources:
            if self._change_numbers.get(row.name) != row.change_number:
                self._change_numbers[row.name] = row.change_number
                self._sources_to_update.add(row.name)
        began_at = self._parts.clock.read_counter()
        if began_at < self._ends_due_at and self._tasks.count_running(LOOK):
            return
        names = sorted(self._sources_to_update)
        for name in names:
            following.advance_rollouts(self._parts, name)
            # Not before: where the store is away meanwhile, it is done in a later round.
            self._sources_to_update.discard(name)
        if names:
            ended_at = self._parts.clock.read_counter()
            pause = max(_ENDS_SECONDS, _ENDS_SHARE * (ended_at - began_at))
            self._ends_due_at = ended_at + min(pause, _MOST_ENDS_SECONDS)

    def _start_due_sends(self, now: float) -> None:
        # Of others, which stay unsent, fifty would leave no room.
        sources = self._parts.configured.status_senders.keys()
        statuses, messages = self._parts.store.due_sends(now, sources, _SENDS_A_ROUND)
        spacing = self._parts.settings.defaults.status_spacing
        for status in statuses:
            if is_status_due(status, now, spacing):
                self._start_status_send(status)
        for message in messages:
            if is_message_due(message, now):
                self._start_message_send(message)

    def _start_status_send(self, row: StatusRow) -> None:
        key = row.source, row.commit, row.context

        def send() -> None:
            if telling.send_or_read_status(self._parts, row, is_unsure=key in self._unsure):
                self._unsure.discard(key)
            else:
                self._unsure.add(key)

        if self._tasks.count_running(_SEND) < _MAX_SENDS:
            self._tasks.start_task((_SEND, *key), send)

    def _start_message_send(self, row: MessageRow) -> None:
        def send() -> None:
            telling.send_message(self._parts, row)

        if self._tasks.count_running(_SEND) < _MAX_SENDS:
            self._tasks.start_task((_SEND, row.id), send)

    def _start_status_reads(self, sources: Collection[SourceRow], now: float) -> None:
        """Read back the statuses of heads; looked for every few seconds, as none is urgent."""
        counter = self._parts.clock.read_counter()
        checked_at = self._reads_checked_at
        if self._is_once or (checked_at is not None and counter - checked_at < _READ_SECONDS):
            return
        self._reads_checked_at = counter
        interval = self._parts.settings.defaults.status_check
        for source in sources:
            for row in self._parts.store.list_statuses_of_commit(source.name, source.head):
                if must_read_back(row, now, interval):
                    self._start_status_read(row)

    def _start_status_read(self, row: StatusRow) -> None:
        def read() -> None:
            telling.read_back_status(self._parts, row)

        if self._tasks.count_running(_SEND) < _MAX_SENDS:
            self._tasks.start_task((_SEND, row.source, row.commit, row.context), read)
