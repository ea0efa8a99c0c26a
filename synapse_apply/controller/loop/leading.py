"""What the process does that leads: its rounds, whom it has work on what is due, what it sends.

A round reads what is due, asks `rules/` what of it begins now, and starts it in the background; it
never waits for a fetch, a look or a server. All that it remembers is in memory, and is lost with
the lead: the store has what has to stay.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any, cast

from synapse_apply.controller.loop import following, hourly
from synapse_apply.controller.loop.claiming import RunCounts, claim_if_due
from synapse_apply.controller.loop.clock import BackgroundTasks
from synapse_apply.controller.loop.hourly import HourlyWork
from synapse_apply.controller.loop.parts import LoopParts
from synapse_apply.controller.loop.working import look_and_apply
from synapse_apply.controller.ports import SendResult, StatusUnreadable
from synapse_apply.controller.rows import (
    MessageRow,
    RunCause,
    SourceRow,
    StatusRow,
    TargetName,
    TargetRow,
)
from synapse_apply.controller.rules.due import (
    MIN_POLL_SECONDS,
    after_failed_read,
    build_message_after_send,
    build_status_after_read,
    build_status_after_send,
    choose_due_targets,
    is_message_due,
    is_status_due,
    must_read_back,
)
from synapse_apply.controller.settings import HOUR, Controller
from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.frozen import replace

_MAX_FETCHES = 4
# To each channel and each forge: one that does not answer delays nothing to another one.
_MAX_SENDS = 2
_FETCH, _SEND = "fetch", "send"
_READ_SECONDS = 5.0
# For each channel and each source; some may be under way, or be statuses that wait for a moment.
_LISTED_SENDS = 50
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
        self._due_times = hourly.DueTimes(parts)
        self._hourly_work = HourlyWork(parts)
        self._fetched: dict[str, float] = {}
        self._unsure: set[tuple[str, str, str]] = set()
        self._reads_checked_at = float("-inf")
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
                writer.release_claims()
            # The clock was set back while nobody watched it, by this much or a little more. The
            # lead was taken after that.
            if fetched_at > now:
                writer.shift_times(now - fetched_at)
        hourly.pull_in_due_times(parts)
        # A variable can be mended by a restart alone. Runs of --once have a timer of their own.
        retry_within = 0.0 if self._is_once else parts.settings.defaults.retry_first
        hourly.hasten_failing(parts, retry_within)
        hourly.hasten_redecided(parts)
        statuses, _ = parts.store.unsent()
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
        hourly.pull_in_due_times(parts)
        hourly.hasten_failing(parts, parts.settings.defaults.retry_first)
        hourly.hasten_redecided(parts, settings_before)
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
                row = parts.store.find_source(name) or SourceRow(name)
                if row.is_removed or name not in rows:
                    row = replace(row, due_at=now, is_removed=False)
                    writer.put(row)
            for name in rows.keys() - names.keys():
                targets = parts.store.source_targets(name)
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

    @property
    def trouble(self) -> str:
        """See Dispatcher."""
        return self._dispatcher.trouble

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
            following.fetch_source(self._parts, name, spreads_new_targets=not self._is_once)
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
        # Those of other sources stay unsent, and would be started in each round.
        parts, sources = self._parts, self._parts.configured.status_senders.keys()
        statuses, messages = parts.store.due_sends(now, sources, _LISTED_SENDS)
        for status in statuses:
            if is_status_due(status, now, parts.settings.defaults.status_spacing):
                self._start_status_send(status)
        for message in messages:
            if is_message_due(message, now):
                send = partial(send_message, parts, message)
                self._start_send(("channel", message.channel), (message.id,), send)

    def _start_status_send(self, row: StatusRow) -> None:
        key = row.source, row.commit, row.context

        def send() -> None:
            if send_or_read_status(self._parts, row, is_unsure=key in self._unsure):
                self._unsure.discard(key)
            else:
                self._unsure.add(key)

        self._start_send(("forge", self._parts.configured.forge_of(row.source)), key, send)

    def _start_send(
        self, receiver: tuple[str, str], key: tuple[str, ...], send: Callable[[], object]
    ) -> None:
        """Start it, unless as many as may at a time are under way to its receiver."""
        if self._tasks.list_subjects_of_running(_SEND).count(receiver) < _MAX_SENDS:
            self._tasks.start_task((_SEND, *key), send, receiver)

    def _start_status_reads(self, sources: Collection[SourceRow], now: float) -> None:
        """Read back the statuses of heads; looked for every few seconds, as none is urgent."""
        counter = self._parts.clock.read_counter()
        if self._is_once or counter - self._reads_checked_at < _READ_SECONDS:
            return
        self._reads_checked_at = counter
        interval = self._parts.settings.defaults.status_check
        for source in sources:
            forge = "forge", self._parts.configured.forge_of(source.name)
            for row in self._parts.store.list_statuses_of_commit(source.name, source.head):
                if must_read_back(row, now, interval):
                    key = row.source, row.commit, row.context
                    self._start_send(forge, key, partial(read_back_status, self._parts, row))


LOOK = "look"
ROUND_SECONDS = 1.0
# More than there are workers: which of these are looked at first, the workers choose by which of
# their processes are warm.
MAX_LOOKS = 16
_LISTED_PER_LOOK = 8
# Every end of a look wakes a round; what became due a moment ago can wait for the next list.
_LIST_SECONDS = 1.0


class Dispatcher:
    """Has due targets worked on in threads of this process; for the thread of the rounds."""

    seconds_to_next_round = ROUND_SECONDS
    """Seconds after which there may be more to do, though nothing wakes the rounds."""
    trouble = ""
    """Why the leader works on what is due by itself, though others could; "" where it does not."""

    def __init__(
        self,
        parts: LoopParts,
        tasks: BackgroundTasks,
        counts: RunCounts,
        max_looks: int,
        *,
        is_once: bool,
    ) -> None:
        """`is_once`: each target is worked on once, and once more after an apply."""
        self._parts = parts
        self._tasks = tasks
        self._counts = counts
        self._max_looks = max_looks
        self._is_once = is_once
        self._begun: set[tuple[TargetName, str, bool]] = set()
        self._candidates: list[TargetRow] = []
        self._listed_at: float | None = None

    def dispatch_due(self, now: float) -> None:
        """Have targets worked on that are due, as many as there is room for; waits for none.

        `now` is the wall clock.
        """
        running = cast("list[TargetRow]", self._tasks.list_subjects_of_running(LOOK))
        if len(running) >= self._max_looks or self._parts.is_stopping:
            return
        # What was due a second ago at most and is not begun; what is due now where that is little.
        counter = self._parts.clock.read_counter()
        is_old = self._listed_at is None or counter - self._listed_at >= _LIST_SECONDS
        if is_old or len(self._candidates) < self._max_looks:
            limit = _LISTED_PER_LOOK * self._max_looks
            with self._parts.write() as writer:
                self._candidates = [*writer.list_due(now, limit)]
            self._listed_at = counter
        due = [row for row in self._candidates if _work_key(row) not in self._begun]
        has_many = len(self._parts.settings.sources) > 1
        for row in choose_due_targets(due, running, self._max_looks, has_many_sources=has_many):
            self._candidates.remove(row)
            claimed = claim_if_due(self._parts, row.name)
            if claimed is not None:
                if self._is_once:
                    self._begun.add(_work_key(claimed.row))
                work = partial(look_and_apply, self._parts, claimed, self._counts)
                self._tasks.start_task((LOOK, row.name), work, claimed.row)


def _work_key(row: TargetRow) -> tuple[TargetName, str, bool]:
    """What a run with `--once` does once: a look with these inputs, and one after their apply."""
    return row.name, row.wanted_digest, row.due_cause is RunCause.APPLIED


class Engine:
    """How a process takes part: this one has its store alone, and works in threads of its own."""

    def __init__(self, parts: LoopParts, max_looks: int = MAX_LOOKS) -> None:
        """`max_looks` are begun at most at a time. `parts` write whether this process leads or not.

        Nothing is started yet.
        """
        self._parts = parts
        self._max_looks = max_looks

    def take_lead(self) -> int | None:
        """Lead if no other process does: the epoch of the lead, None while another one leads.

        0 where no other process can lead.
        """
        return 0

    def release_lead(self) -> None:
        """Let another process lead at once; without effect where this one does not."""

    def build_dispatcher(
        self, parts: LoopParts, tasks: BackgroundTasks, counts: RunCounts, *, is_once: bool
    ) -> Dispatcher:
        """How this process, while it leads, has due targets worked on; `parts` are the leader's."""
        return Dispatcher(parts, tasks, counts, self._max_looks, is_once=is_once)

    def start_taking_part(
        self, tasks: BackgroundTasks, counts: RunCounts, *, is_once: bool
    ) -> None:
        """Take part from now on: work that any process of the controller can do begins in tasks."""

    def stop_taking_work(self) -> None:
        """Begin no work any more that another process can do."""

    def close(self) -> None:
        """Take part no more; what was claimed is let go, here by the next start."""


def send_or_read_status(parts: LoopParts, row: StatusRow, *, is_unsure: bool) -> bool:
    """Send a status that is due, or read it back first where `is_unsure` what the forge shows.

    Whether it is certain afterwards what that is: after a failure the status may have arrived.
    """
    # As it is now: it may have been sent, or have failed, since the row was listed.
    newest = parts.store.find_status(row.source, row.commit, row.context)
    now, spacing = parts.clock.read_wall(), parts.settings.defaults.status_spacing
    if newest is None or not is_status_due(newest, now, spacing):
        return not is_unsure
    if is_unsure:
        return read_back_status(parts, newest)
    sender = parts.configured.status_senders.get(row.source)
    if sender is None:
        return True
    result = _send(sender, newest)
    _log_if_failed(parts, result, "status", source=row.source, commit=row.commit)
    with parts.write() as writer:
        now, defaults = parts.clock.read_wall(), parts.settings.defaults
        fresh = parts.store.find_status(row.source, row.commit, row.context) or newest
        chance = parts.clock.draw_fraction()
        writer.put(build_status_after_send(fresh, newest.wished, result, now, defaults, chance))
    return result.finding is None or result.is_final


def read_back_status(parts: LoopParts, row: StatusRow) -> bool:
    """Read back what a status shows, and write it; whether it could be read."""
    sender = parts.configured.status_senders.get(row.source)
    if sender is None:
        return False
    result = text = None
    try:
        text = sender.read_shown_text(row)
    except StatusUnreadable as problem:
        result = problem.result
    except Exception as problem:  # noqa: BLE001 - a sender must not end the controller
        result = _internal_error(problem)
    if result is not None:
        _log_if_failed(parts, result, "status not read", source=row.source, commit=row.commit)
    with parts.write() as writer:
        now, defaults = parts.clock.read_wall(), parts.settings.defaults
        fresh = parts.store.find_status(row.source, row.commit, row.context) or row
        if result is None:
            updated = build_status_after_read(fresh, text, now)
        else:
            updated = after_failed_read(fresh, result, now, defaults, parts.clock.draw_fraction())
        writer.put(updated)
    return result is None


def send_message(parts: LoopParts, row: MessageRow) -> None:
    """Send a message, and write what became of it; nothing where it is not due."""
    # As it is now: it may have been sent since the row was listed.
    newest = parts.store.find_message(row.id)
    if newest is None or not is_message_due(newest, parts.clock.read_wall()):
        return
    sender = parts.configured.message_senders.get(newest.channel)
    finding = error_finding("The configuration no longer has this channel")
    result = _send(sender, newest) if sender else SendResult(finding, is_final=True)
    _log_if_failed(parts, result, "message", channel=newest.channel, message=newest.id)
    with parts.write() as writer:
        now, chance = parts.clock.read_wall(), parts.clock.draw_fraction()
        writer.put(build_message_after_send(newest, result, now, parts.settings.defaults, chance))


def _send(sender: Any, row: StatusRow | MessageRow) -> SendResult:
    """What a StatusSender or a MessageSender says of a row of its own."""
    try:
        result: SendResult = sender.send(row)
    except Exception as problem:  # noqa: BLE001 - a sender must not end the controller
        return _internal_error(problem)
    return result


def _internal_error(problem: Exception) -> SendResult:
    # The text of an unknown exception may hold anything.
    return SendResult(
        error_finding(
            "The delivery ended with an internal error", f"{type(problem).__name__} was raised."
        )
    )


def _log_if_failed(parts: LoopParts, result: SendResult, event: str, **values: object) -> None:
    if result.finding is not None:
        outcome, summary = "refused" if result.is_final else "failed", result.finding.summary
        receiver = next(iter(values.values()))
        now = parts.clock.read_counter()
        if (more := parts.outages.count_line((event, outcome, receiver, summary), now)) is not None:
            parts.log("warn", f"{event} {outcome}", **values, summary=summary, more=more or None)
