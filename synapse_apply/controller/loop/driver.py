"""The loop of one process: it leads where no other does, and works, until it is told to stop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from threading import Lock, Thread

from synapse_apply.controller.loop.actions import PeopleActions
from synapse_apply.controller.loop.claiming import RunCounts
from synapse_apply.controller.loop.clock import BackgroundTasks, WakeUpCall
from synapse_apply.controller.loop.deciding import find_strictest_rule
from synapse_apply.controller.loop.leading import LOOK, ROUND_SECONDS, Engine, LeaderRounds
from synapse_apply.controller.loop.parts import (
    ConfiguredParts,
    LeaderParts,
    LeadershipLost,
    LoopParts,
)
from synapse_apply.controller.ports import LoopHealth, NewCommits
from synapse_apply.controller.rows import TargetName, TargetRow
from synapse_apply.controller.rules.due import is_clock_jump
from synapse_apply.controller.settings import Controller, TargetRule
from synapse_apply.controller.store.store_database import (
    ControllerStoreError,
    StoreTooNew,
    StoreUnavailable,
)
from synapse_apply.model.errors import LockHeld, SynapseApplyError

DRAIN_SECONDS = 6.0
_RECORDING_SECONDS = 1.0
# A fetch or a send that is under way has so long until another process may lead.
_LAST_DUTIES_SECONDS = 2.0
# A round may wait for a transaction that moves thousands of targets to a new head.
_LONGEST_ROUND_SECONDS = 15.0
_MOST_SECONDS_BETWEEN_TRIES = 5.0
_JUMP_SECONDS = 5.0
_WRITE_SECONDS = 5.0


class ControllerLoop:
    """Follows the sources, looks at their targets, and tells people.

    One thread runs it, until it is stopped or once; the other methods are for any thread.
    """

    def __init__(self, parts: LoopParts, engine: Engine | None = None) -> None:
        """`engine` is how this process takes part, None: it has the store alone."""
        self._parts = parts
        self._engine = engine or Engine(parts)
        self._wake_up = WakeUpCall()
        # What a lead or a store that is lost has interrupted is begun anew.
        self._tasks = BackgroundTasks(self._wake_up.wake, (LeadershipLost, StoreUnavailable))
        self._counts = RunCounts()
        self._actions = PeopleActions(parts, self.fetch_soon, self._wake_up.wake)
        self._is_once = False
        self._lead: tuple[int, LeaderRounds] | None = None
        self._reload: Callable[[], ConfiguredParts | None] = lambda: None
        self._is_reload_asked = False
        self._settings_before: Controller | None = None
        self._failed_tries = 0
        self._asked_sources: set[str] = set()
        # For who reads a page.
        self._fetching: set[str] = set()
        self._lock = Lock()
        self._round_ended_at: float | None = None
        self._jump_seen_at: float | None = None
        self._tried_to_write_at = float("-inf")

    # What the page asks

    def fetch_soon(self, source: str) -> None:
        """Fetch a source at the next round, as a webhook asks.

        Without effect if it just was, and for an unknown name.
        """
        # Not here: a webhook is not to wait for another writer, and a flood of them is one write.
        with self._lock:
            if source in self._parts.settings.sources:
                self._asked_sources.add(source)
        self._wake_up.wake()

    def get_settings(self) -> Controller:
        """What the configuration says that is used now."""
        return self._parts.settings

    def get_people_actions(self) -> PeopleActions:
        """What people can ask of this controller."""
        return self._actions

    def find_strictest_rule(self, name: TargetName) -> TargetRule | None:
        """The rule by which rows of a target are judged; None where it is left alone."""
        return find_strictest_rule(self._parts, name)

    def next_authors(self, name: TargetName) -> tuple[str, ...] | None:
        """The authors of the commits that an apply would bring to a target; None if unknown now."""
        row = self._find_with_commit(name)
        return self._parts.commits.authors_to_apply(row) if row is not None else ()

    def next_commits(self, name: TargetName) -> NewCommits | None:
        """The commits that an apply would bring to a target; None if unknown now."""
        row = self._find_with_commit(name)
        return self._parts.commits.commits_to_apply(row) if row is not None else None

    def _find_with_commit(self, name: TargetName) -> TargetRow | None:
        """A target, whose wanted commit is fetched meanwhile where this machine may lack it.

        Without waiting: else no page would answer while a repository does not.
        """
        row, source = self._parts.store.find_target(name), name.source
        if row is None or not self._parts.store.is_shared:
            return row

        def fetch() -> None:
            try:
                with suppress(SynapseApplyError):
                    self._parts.fetch_wanted_commit(row)
            finally:
                with self._lock:
                    self._fetching.discard(source)

        with self._lock:
            if source not in self._fetching:
                self._fetching.add(source)
                Thread(target=fetch, daemon=True).start()
        return row

    def read_health(self) -> LoopHealth:
        ended_at = self._round_ended_at
        age = None if ended_at is None else self._parts.clock.read_counter() - ended_at
        configured, offsets = self._parts.configured, dict[str, float]()
        for name, sender in configured.status_senders.items():
            if (offset := sender.get_clock_offset_or_none()) is not None:
                offsets[configured.forge_of(name)] = offset
        return LoopHealth(
            age,
            _LONGEST_ROUND_SECONDS,
            max(offsets.values(), key=abs, default=None),
            durations=self._counts.read_durations(),
            agreed_offset=min(offsets.values(), key=abs) if len(offsets) > 1 else None,
            trouble=lead[1].trouble if (lead := self._lead) else "",
        )

    # What the process asks

    def request_stop(self) -> None:
        """Begin nothing new, let what runs end within DRAIN_SECONDS, and end the run.

        As `request_reload`, this may be called by a signal handler.
        """
        self._parts.is_stopping = True
        self._wake_up.wake()

    def request_reload(self) -> None:
        """Read the configuration again in the next round."""
        self._is_reload_asked = True
        self._wake_up.wake()

    def run_until_stopped(self, reload: Callable[[], ConfiguredParts | None]) -> None:
        """Go round until `request_stop`; `reload` gives the parts of a new configuration, or None.

        StoreTooNew, after what ran has ended, where a newer version shut this one out.
        """
        self._reload = reload
        try:
            self._engine.start_taking_part(self._tasks, self._counts, is_once=False)
            while not self._parts.is_stopping:
                self._try_round()
                self._wake_up.wait(self._seconds_to_next())
        except StoreTooNew:
            self._drain()
            raise
        self._drain()

    def run_once(self) -> int:
        """Fetch every source, work on every target that is due by then, and tell of it.

        Returns how many targets another run had locked, so that nothing is known of them now.
        LockHeld where another process leads.
        """
        self._is_once = True
        self._take_part()
        if self._lead is None:
            raise LockHeld.from_summary(
                "Another process leads this controller",
                "That process already fetches the sources and works on the targets.",
                "Leave the work to that process, or stop it before you run with --once.",
            )
        while not self._parts.is_stopping:
            # A round that begins when nothing runs has seen all that was written.
            was_idle, started_count = self._tasks.is_idle(), self._tasks.started_count
            self._go_round()
            if was_idle and self._tasks.started_count == started_count:
                break
            self._wake_up.wait(ROUND_SECONDS)
        self._drain()
        return self._parts.postponed_count

    def _take_part(self) -> None:
        """Take part, and lead if no other process does."""
        self._engine.start_taking_part(self._tasks, self._counts, is_once=self._is_once)
        self._renew_lead()

    def _seconds_to_next(self) -> float:
        """Seconds until the next round, unless something wakes it."""
        if self._failed_tries:
            return min(ROUND_SECONDS * 2.0**self._failed_tries, _MOST_SECONDS_BETWEEN_TRIES)
        return self._lead[1].seconds_to_next_round if self._lead is not None else ROUND_SECONDS

    def _try_round(self) -> None:
        """A round; a store that is away, or a lead that was lost, ends it early."""
        try:
            self._go_round()
        except LeadershipLost:
            self._lead = None
            self._parts.log("warn", "lead lost")
        except StoreUnavailable as problem:
            self._failed_tries += 1
            if self._failed_tries == 1:
                finding = problem.diagnostics[0]
                self._parts.log(
                    "warn", "store unavailable", summary=finding.summary, detail=finding.detail
                )
        else:
            if self._failed_tries:
                self._parts.log("info", "store answers again", tries=self._failed_tries)
            self._failed_tries = 0

    def _go_round(self) -> None:
        if self._tasks.failure is not None:
            raise self._tasks.failure
        if self._is_reload_asked:
            self._is_reload_asked = False
            try:
                self._take_configuration()
            except StoreUnavailable:
                # All of it once more when the store answers.
                self._is_reload_asked = True
                raise
        self._write_asked_fetches()
        self._renew_lead()
        if self._lead is None:
            self._correct_clock()
            self._check_format()
        else:
            self._lead[1].go_round()
        self._round_ended_at = self._parts.clock.read_counter()

    def _correct_clock(self) -> None:
        """Let the wall clock move, and a jump of it count only when the leader has seen it, too.

        Who leads moves leases and due times with a jump; until then the lease seems to be over.
        """
        clock = self._parts.clock
        error, counter = clock.measure_ahead(), clock.read_counter()
        if not is_clock_jump(error):
            self._jump_seen_at = None
        elif self._jump_seen_at is None:
            self._jump_seen_at = counter
        if self._jump_seen_at is None or counter - self._jump_seen_at >= _JUMP_SECONDS:
            clock.move_wall_time_by(error)
            self._jump_seen_at = None

    def _check_format(self) -> None:
        """Raise StoreTooNew where a newer version has shut this process out.

        Each write says so; one that does not lead may have nothing to write for long. While the
        store is away it is asked in each round: a round that asks nothing is no sign of its return.
        """
        counter = self._parts.clock.read_counter()
        if self._failed_tries or counter - self._tried_to_write_at >= _WRITE_SECONDS:
            self._tried_to_write_at = counter
            with self._parts.write():
                pass

    def _write_asked_fetches(self) -> None:
        """Write which sources somebody has asked to fetch, for whichever process leads."""
        with self._lock:
            names, self._asked_sources = self._asked_sources, set()
        if not names:
            return
        try:
            with self._parts.write() as writer:
                for name in sorted(names):
                    writer.request_fetch_at_once(name)
        except StoreUnavailable:
            with self._lock:
                self._asked_sources |= names
            raise

    def _renew_lead(self) -> None:
        """Lead where this process can, with rounds that remember nothing of an earlier lead."""
        epoch = self._engine.take_lead()
        if self._lead is not None and self._lead[0] == epoch:
            return
        if self._lead is not None:
            self._lead = None
            self._parts.log("warn", "lead lost")
        if epoch is None:
            return
        parts = LeaderParts(self._parts, epoch)
        dispatcher = self._engine.build_dispatcher(
            parts, self._tasks, self._counts, is_once=self._is_once
        )
        rounds = LeaderRounds(parts, self._tasks, dispatcher, is_once=self._is_once)
        rounds.prepare_store()
        self._lead = epoch, rounds
        if epoch:
            self._parts.log("info", "lead taken", epoch=epoch)

    def _take_configuration(self) -> None:
        configured = self._reload()
        if configured is None:
            return
        self._settings_before = self._settings_before or self._parts.settings
        self._parts.configured = configured
        if self._lead is not None:
            self._lead[1].adopt_configuration(self._settings_before)
        self._settings_before = None

    def _drain(self) -> None:
        """Let what runs end, for a while; then end the workers.

        An apply begins no further call, and what it has begun is recorded; a look that is cut short
        found nothing out.
        """
        self._parts.is_stopping = True
        self._engine.stop_taking_work()
        self._parts.workers.stop_applies()
        self._tasks.wait_until_idle(_LAST_DUTIES_SECONDS, ignored_kind=LOOK)
        # Of a store that cannot be written the lease runs out by itself.
        with suppress(ControllerStoreError):
            self._engine.release_lead()
        is_idle = self._tasks.wait_until_idle(DRAIN_SECONDS)
        self._parts.is_closing = True
        self._parts.workers.close()
        # An apply that had its last seconds until then is recorded.
        self._tasks.wait_until_idle(_RECORDING_SECONDS)
        self._engine.close()
        if self._tasks.failure is not None:
            raise self._tasks.failure
        if not is_idle:
            self._parts.log(
                "warn", "runs cut short", runs=len(self._tasks.list_subjects_of_running(LOOK))
            )
