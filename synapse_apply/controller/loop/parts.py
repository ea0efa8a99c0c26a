"""What the loop is made of: the settings in use, what stands behind its ports, and who leads."""

from __future__ import annotations

import json
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Literal, TextIO, TypeVar, cast
from urllib.parse import urlsplit
from uuid import UUID

from synapse_apply.controller.configuration.secrets import AccessSecrets
from synapse_apply.controller.loop.clock import Clock, CorrectedClock
from synapse_apply.controller.outbox.messages import build_message_fields
from synapse_apply.controller.page.addresses import (
    build_revision_path,
    build_source_path,
    build_target_path,
)
from synapse_apply.controller.ports import MessageSender, NewCommits, StatusSender, TargetFilter
from synapse_apply.controller.rows import (
    LEADER_LEASE,
    ChangeCounts,
    HoldRow,
    LeaseRow,
    MessageRow,
    PauseRow,
    RevisionRow,
    RolloutRow,
    RunRow,
    StatusRow,
    StatusText,
    TargetName,
    TargetProgress,
    TargetRow,
)
from synapse_apply.controller.rules.access import HIDDEN_TARGET, hide_targets, name_to_readers
from synapse_apply.controller.rules.due import with_new_wish
from synapse_apply.controller.rules.revisions import (
    MAX_TARGET_CONTEXTS,
    build_status_context,
    build_status_text,
    build_target_status_text,
    overtaken_status,
    target_context,
)
from synapse_apply.controller.settings import MINUTE, Controller, Event
from synapse_apply.controller.source.mirror import GitMirror
from synapse_apply.controller.store.controller_store import ControllerStore
from synapse_apply.controller.store.store_database import StoreUnavailable
from synapse_apply.controller.store.store_writer import StoreWriter
from synapse_apply.controller.worker.pool import WorkerPool
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.frozen import frozen

T = TypeVar("T")

_STORE_RETRY_SECONDS = 0.5

# Of a target that fails: looks in between may be good.
_RUNS_READ = 10


@frozen
class ConfiguredParts:
    """What a configuration is made into; another one replaces all of it.

    Mirrors and status senders are by source (one without `commit_status` has no sender), message
    senders by channel.
    """

    settings: Controller
    mirrors: Mapping[str, GitMirror]
    status_senders: Mapping[str, StatusSender]
    message_senders: Mapping[str, MessageSender]
    access_secrets: AccessSecrets = AccessSecrets()

    def forge_of(self, source: str) -> str:
        """The host of the API that the statuses of a source go to, "" for none."""
        status = self.settings.sources[source].status if source in self.settings.sources else None
        return urlsplit(status.api_url).netloc if status else ""


# A source's plans and reports that count, and how many letters of them the store keeps: else one
# that is pushed to without a pause fills the disk of all.
LARGE_CHARACTERS, MOST_LARGE_CHARACTERS = 64 * 1024, 1024**3


class LargeDocuments:
    """The sizes of large plans and reports of a source, by run: those of the store and newer ones.

    People decide by the newest of each target: others go first.
    """

    def __init__(self, stored: Iterable[tuple[str, TargetName, int]]) -> None:
        """`stored` are run, target and size, oldest first."""
        self._former: dict[str, int] = {}
        self._newest: dict[TargetName, tuple[str, int]] = {}
        self._total = 0
        for run_id, target, size in stored:
            self._count(run_id, target, size)

    def add_and_take_superfluous(self, run: RunRow) -> Iterator[str]:
        """Count those of a new run; gives the oldest runs whose documents are to go."""
        self._count(run.id, run.target, len(run.plan_json) + len(run.report_json))
        while self._total > MOST_LARGE_CHARACTERS and len(self._former) + len(self._newest) > 1:
            if self._former:
                oldest = next(iter(self._former))
                size = self._former.pop(oldest)
            else:
                oldest, size = self._newest.pop(next(iter(self._newest)))
            self._total -= size
            yield oldest

    def _count(self, run_id: str, target: TargetName, size: int) -> None:
        before, size_before = self._newest.pop(target, ("", 0))
        if before == run_id:  # the store did not keep what was written
            self._total -= size_before
        elif before:
            self._former[before] = size_before
        if size >= LARGE_CHARACTERS:
            self._newest[target] = run_id, size
            self._total += size


class LoopParts:
    """What all parts of the loop share; `configured` is replaced when the configuration is."""

    def __init__(
        self,
        configured: ConfiguredParts,
        store: ControllerStore,
        workers: WorkerPool,
        clock: Clock,
        log: EventLog,
        holder: str = "loop",
    ) -> None:
        """`holder` names this process in the claims of its targets; unique among the store's."""
        self.configured = configured
        self.store = store
        self.workers = workers
        self.clock = CorrectedClock(clock)
        self._log = log
        self.holder = holder
        self.own_claims = OwnClaims()
        self.ids = RunIdSource()
        # Begin nothing new; and then: what still runs was ended with the controller.
        self.is_stopping = False
        self.is_closing = False
        self.postponed_count = 0
        self.outages = RepeatedLines()
        self.large_documents: dict[str, LargeDocuments] = {}
        # Not bound: another configuration has other mirrors.
        self.commits = CommitCache(lambda source: self.configured.mirrors.get(source))  # noqa: PLW0108
        self._changed_sources: set[str] = set()
        self._sources_to_compare: set[str] = set()
        # By source, the pin whose credentials are remembered; a start reads them again.
        self.read_pins: dict[str, str] = {}
        # By source, pin and commit of a target: what a worker may read.
        self.chosen_pins: set[tuple[str, str, str]] = set()
        self._lock = Lock()

    @property
    def settings(self) -> Controller:
        return self.configured.settings

    @property
    def who(self) -> str:
        """Who does what the loop does, in the audit."""
        return f"controller:{self.settings.name}"

    @contextmanager
    def write(self) -> Iterator[StoreWriter]:
        """A transaction of the store, as ControllerStore has it."""
        with self.store.write() as writer:
            yield writer

    def log(self, level: Level, event: str, **values: object) -> None:
        self._log.write_line(level, event, self.clock.read_wall(), **values)

    def make_id(self) -> str:
        """A new id of a run or a message, greater than those before."""
        return self.ids.make_id(self.clock.read_wall(), self.clock.draw_random_bytes(RANDOM_BYTES))

    def ask_until_store_answers(self, ask: Callable[[], T]) -> T:
        """What `ask` gives, which may be called again: a store that is away is waited for.

        So what has ended is kept until it can be recorded; whether it still counts, the claim
        decides. StoreUnavailable where it is away as the controller ends.
        """
        while True:
            try:
                return ask()
            except StoreUnavailable:
                if self.is_closing:
                    raise
            time.sleep(_STORE_RETRY_SECONDS)

    def fetch_wanted_commit(self, row: TargetRow) -> None:
        """Have the mirror of this machine have what a target is to be at; SourceUnavailable.

        The process that leads has it: it was the head there. On another machine it may be new.
        """
        mirror = self.configured.mirrors.get(row.name.source)
        if not self.store.is_shared or mirror is None:
            return
        source = self.store.find_source(row.name.source)
        followed = source.followed if source else ()
        if mirror.fetch_commit(row.wanted_commit, followed):
            mirror.protect_commits(self.store.list_commits_in_use(row.name.source))

    def count_postponed_run(self) -> None:
        """Count a run that found its target's state locked by another run."""
        with self._lock:
            self.postponed_count += 1

    def add_changed_source(self, source: str) -> None:
        """Remember that the ends of a source's revisions may be others now."""
        with self._lock:
            self._changed_sources.add(source)

    def take_changed_sources(self) -> set[str]:
        """The sources that were marked since the last call."""
        with self._lock:
            changed, self._changed_sources = self._changed_sources, set()
            return changed

    def request_comparison(self, source: str) -> None:
        """Have the targets of a source compared at its next fetch, also without a new head."""
        with self._lock:
            self._sources_to_compare.add(source)

    def take_comparison_request(self, source: str) -> bool:
        """Whether a comparison of a source was requested since the last call."""
        with self._lock:
            is_asked = source in self._sources_to_compare
            self._sources_to_compare.discard(source)
            return is_asked

    def public_url_of(self, path: str) -> str:
        """The public address of a page; "" where the configuration names none."""
        public_url = self.settings.public_url
        return public_url + path if public_url else ""

    def write_revision_statuses(
        self, writer: StoreWriter, revisions: Iterable[RevisionRow]
    ) -> None:
        """Write what the statuses of revisions are to show; none where the source has no forge."""
        for revision in revisions:
            if revision.source not in self.configured.status_senders:
                continue
            path = build_revision_path(revision.source, revision.commit)
            wished = build_status_text(revision, self.public_url_of(path))
            context = build_status_context(self.settings.name, revision.source)
            self._write_status(writer, revision, context, wished)
            if revision.overtaken_by:
                self._write_overtaken(writer, revision)

    def write_target_statuses(self, writer: StoreWriter, head: RevisionRow) -> None:
        """Write what the status of each target is to show on the head, where its source asks so.

        The targets of the head have to be known. None for a source of too many targets. What a
        head has ended with stays, whatever becomes of its targets later.
        """
        source = self.settings.sources.get(head.source)
        if source is None or source.status is None or not source.status.has_context_per_target:
            return
        page = self.store.target_page(TargetFilter(head.source), 0, MAX_TARGET_CONTEXTS)
        if page.matching_count > MAX_TARGET_CONTEXTS:
            return
        for target in page.targets:
            context = target_context(self.settings.name, target.name)
            if head.is_final and self.store.find_status(head.source, head.commit, context):
                continue
            url = self.public_url_of(build_target_path(target.name))
            is_failing = target.progress is TargetProgress.FAILING
            reason = self.newest_failure(target.name) if is_failing else ""
            wished = build_target_status_text(target, head, url, failing_reason=reason)
            self._write_status(writer, head, context, wished)

    def newest_failure(self, name: TargetName) -> str:
        """The first error of a target's newest run that failed, "" where that has none."""
        runs = self.store.newest_runs(name, _RUNS_READ)
        run = next((run for run in runs if run.outcome.is_failure), None)
        findings = run.findings if run is not None else ()
        return next((finding.summary for finding in findings if finding.is_error), "")

    def _write_overtaken(self, writer: StoreWriter, revision: RevisionRow) -> None:
        """Have what targets show on a commit that was overtaken follow the commit's own end."""
        own_context = build_status_context(self.settings.name, revision.source)
        for row in self.store.list_statuses_of_commit(revision.source, revision.commit):
            if row.context != own_context:
                wished = overtaken_status(row.wished, revision)
                self._write_status(writer, revision, row.context, wished)

    def _write_status(
        self, writer: StoreWriter, revision: RevisionRow, context: str, wished: StatusText
    ) -> None:
        row = self.store.find_status(revision.source, revision.commit, context)
        new = with_new_wish(row, StatusRow(revision.source, revision.commit, context, wished))
        if new != row:
            writer.put(new)

    def queue_messages(
        self,
        writer: StoreWriter,
        event: Event,
        fact: str,
        *,
        source: str,
        target: TargetName | None = None,
        commit: str = "",
        finding: Diagnostic | None = None,
        counts: ChangeCounts | None = None,
        holds: Sequence[HoldRow] = (),
        pause: PauseRow | None = None,
        rollout: RolloutRow | None = None,
        failure_count: int = 0,
        is_reminder: bool = False,
        page: str = "",
    ) -> None:
        """Write a message of an event to each channel that is told of it; one a fact.

        `page` is the path of the page that tells more, "" for that of the source. One of a target
        names others only where all of its readers may read them.
        """
        hidden = set[str]()
        if target and (finding or holds):
            hidden = {
                name
                for name in self.store.list_target_names(source)
                if name_to_readers(self.settings.access, target, TargetName(source, name))
                == HIDDEN_TARGET
            }
        finding, holds = hide_targets((finding, (*holds,)), source, hidden)
        fields = build_message_fields(
            controller=self.settings.name,
            source=source,
            target=target,
            commit=commit,
            finding=finding,
            counts=counts,
            url=self.public_url_of(page or build_source_path(source)),
            holds=holds,
            pause=pause,
            rollout=rollout,
            failure_count=failure_count,
            is_reminder=is_reminder,
        )
        now = self.clock.read_wall()
        for channel in (one for one in self.settings.channels if event in one.events):
            row = MessageRow(self.make_id(), channel.name, event.value, fact, fields, now)
            writer.put_message_if_new(row)


class LeaderParts(LoopParts):
    """The same parts for the rounds: each transaction first asks whether this process leads."""

    # Kept beside the attributes, all of which are those of the parts themselves.
    __slots__ = ("_leader_epoch",)

    def __init__(self, parts: LoopParts, epoch: int) -> None:
        """`epoch` is that of the lead; 0 where no other process can lead."""
        self.__dict__ = parts.__dict__
        self._leader_epoch = epoch

    @contextmanager
    def write(self) -> Iterator[StoreWriter]:
        """As LoopParts; LeadershipLost where another process leads, or has led since."""
        with super().write() as writer:
            epoch = self._leader_epoch
            if epoch and not writer.is_lease_own(LEADER_LEASE, self.holder, epoch):
                raise LeadershipLost.from_summary(
                    "Another process now leads this controller",
                    "This process did not write its last changes.",
                )
            yield writer


# A lease is renewed every two seconds (`fleet/fleet_engine.py`) and asked for every second: who
# takes the place of a process that was killed has it in less than ten.
LEASE_SECONDS = 8.0
# A round takes seconds at most. One that hangs must not keep the lead because the heartbeat, which
# is a thread of its own, goes on.
_HUNG_ROUND_SECONDS = 60.0


class LeadershipLost(SynapseApplyError):
    """Another process leads by now: what this one was about to write is not written."""


class LeasedLeader:
    """The Leader of a store that many processes share: who has a lease there. For one thread.

    `epoch` may be read by any thread: that of the lead of this process, 0 while it does not lead.
    """

    def __init__(self, store: ControllerStore, holder: str, clock: CorrectedClock) -> None:
        self._store = store
        self._holder = holder
        self._clock = clock
        self._asked_at = 0.0
        self._seen: LeaseRow | None = None
        self._seen_at = 0.0
        self.epoch = 0

    def epoch_to_renew(self) -> int:
        """The epoch of the lead that is to be kept; 0 without one, or where the rounds hang.

        May be called by any thread.
        """
        is_hung = self._clock.read_counter() - self._asked_at >= _HUNG_ROUND_SECONDS
        return 0 if is_hung else self.epoch

    def take(self) -> int | None:
        self._asked_at = self._clock.read_counter()
        now = self._clock.read_wall()
        lease = self._store.find_lease(LEADER_LEASE)
        if lease != self._seen:
            self._seen, self._seen_at = lease, self._asked_at
        # Where the database's clock was set back, the end of a killed leader's lease is far away.
        is_abandoned = self._asked_at - self._seen_at > LEASE_SECONDS
        if lease is not None and lease.holder and lease.until > now:
            is_own = (lease.holder, lease.epoch) == (self._holder, self.epoch)
            self.epoch = self.epoch if is_own else 0
            if is_own or not is_abandoned:
                return self.epoch or None
        with self._store.write() as writer:
            # Now, and not before other writers were waited for. A lease that ran out and that
            # nobody took is this one's still, with its epoch.
            now = self._clock.read_wall()
            is_abandoned = is_abandoned and self._store.find_lease(LEADER_LEASE) == lease
            over_at = max(now, lease.until) if lease and is_abandoned else now
            until = now + LEASE_SECONDS
            self.epoch = writer.take_lease(LEADER_LEASE, self._holder, until, over_at)
        return self.epoch or None

    def release_lease(self) -> None:
        if self.epoch:
            with self._store.write() as writer:
                writer.release_lease(LEADER_LEASE, self._holder, self.epoch)
        self.epoch = 0


_MOST_PAIRS = 256
_LONG_FAILURE_SECONDS = 1.0


class CommitCache:
    """Asks mirrors about the commits between two, once for each pair; used by any thread.

    What took a second to fail is asked again after ten times as long, whoever asks meanwhile: a
    transaction that others wait for may ask what was asked before it.
    """

    def __init__(self, find_mirror: Callable[[str], GitMirror | None]) -> None:
        """`find_mirror` gives the mirror of a source."""
        self._find_mirror = find_mirror
        # An answer, and until when it holds.
        self._known: OrderedDict[tuple[str, ...], tuple[Any, float]] = OrderedDict()
        self._lock = Lock()

    def authors_to_apply(self, row: TargetRow) -> tuple[str, ...] | None:
        """Names and addresses of the authors of the commits between applied and wanted.

        None where the mirror cannot tell.
        """
        since = row.applied_commit
        if row.rollback is not None:
            # What was live there once was approved then; of what was not, all have written.
            since = row.wanted_commit if row.rollback.was_live else ""
        mirror = self._find_mirror(row.name.source)
        return self._ask(mirror.list_author_names_and_emails if mirror else None, row, since)

    def commits_to_apply(self, row: TargetRow) -> NewCommits | None:
        """The commits between applied and wanted; None where the mirror cannot tell."""
        mirror = self._find_mirror(row.name.source)
        return self._ask(mirror.list_new_commits if mirror else None, row, row.applied_commit)

    def _ask(self, ask: Callable[[str, str], T] | None, row: TargetRow, since: str) -> T | None:
        if ask is None:
            return None
        key = ask.__name__, row.name.source, since, row.wanted_commit
        begun = time.monotonic()
        with self._lock:
            known, until = self._known.get(key, (None, begun))
            if begun < until:
                self._known.move_to_end(key)
                return cast("T | None", known)
        answer, until = None, math.inf
        try:
            answer = ask(row.wanted_commit, since)
        except SynapseApplyError:
            seconds = time.monotonic() - begun
            until = begun + 11 * seconds if seconds >= _LONG_FAILURE_SECONDS else begun
        with self._lock:
            self._known[key] = answer, until
            while len(self._known) > _MOST_PAIRS:
                self._known.popitem(last=False)
        return answer


class OwnClaims:
    """The targets that tasks of this process work on; for any thread.

    A claim beside these, of a task that broke off or whose commit nobody answered, is renewed by
    nobody: it runs out, and another process takes the target.
    """

    def __init__(self) -> None:
        self._names: set[TargetName] = set()
        self._lock = Lock()

    @contextmanager
    def renewing_claim(self, name: TargetName) -> Iterator[None]:
        """Go on with the claim of a target in the block."""
        with self._lock:
            self._names.add(name)
        try:
            yield
        finally:
            with self._lock:
                self._names.discard(name)

    def claims_to_renew(self) -> list[TargetName]:
        with self._lock:
            return list(self._names)


# The lines that the controller writes to stderr: one an event, with named values, never a secret.
#
# What it may hold are names, commits, counts and summaries of findings: no value of a manifest and
# no word of a server.

Level = Literal["info", "warn", "error"]


class EventLog:
    """Writes lines of text, or JSON objects, each complete; used by any thread."""

    def __init__(self, stream: TextIO, *, as_json: bool = False) -> None:
        self._stream = stream
        self._as_json = as_json
        self._lock = Lock()

    def write_line(self, level: Level, event: str, now: float, **values: object) -> None:
        """One line; a value that is "" or None is left out. A stream that is gone is no error."""
        moment = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
        named = {name: value for name, value in values.items() if value not in {"", None}}
        if self._as_json:
            header = {"@timestamp": moment, "@level": level, "@message": event}
            line = json.dumps({**header, **named}, default=str)
        else:
            parts = [f"{name}={_format_value(value)}" for name, value in named.items()]
            line = " ".join([moment.replace("+00:00", "Z"), level, event, *parts])
        with self._lock:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                return


class RepeatedLines:
    """Lets a line of an outage be written once a minute, with how many were left out meanwhile."""

    def __init__(self) -> None:
        self._written: dict[tuple[object, ...], tuple[float, int]] = {}
        self._lock = Lock()

    def count_line(self, key: tuple[object, ...], now: float) -> int | None:
        """How many lines of this key were left out since the last; None to leave out this one.

        `now` is in seconds, of a clock that only counts.
        """
        with self._lock:
            written_at, left_out = self._written.get(key, (now - MINUTE, 0))
            if now - written_at < MINUTE:
                self._written[key] = written_at, left_out + 1
                return None
            self._written[key] = now, 0
            return left_out


def _format_value(value: object) -> str:
    """A value as one word, or quoted as JSON: no text can begin a line or another value."""
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    is_word = text.isascii() and text.isprintable() and not set(text) & set(' "=\\')
    return text if is_word else json.dumps(text)


RANDOM_BYTES = 10


class RunIdSource:
    """Gives out ids that only grow: in one millisecond, and after the clock was set back."""

    def __init__(self) -> None:
        self._milliseconds = 0
        self._lock = Lock()

    def begin_after(self, newest: str) -> None:
        """Give out only ids that are greater than this one; "" is smaller than all."""
        with self._lock:
            if newest:
                self._milliseconds = max(self._milliseconds, UUID(newest).int >> 80)

    def make_id(self, now: float, randomness: bytes) -> str:
        """The next id, at a wall-clock time in seconds."""
        with self._lock:
            self._milliseconds = max(int(now * 1000), self._milliseconds + 1)
            random_number = int.from_bytes(randomness[:RANDOM_BYTES])
            high, low = random_number >> 62 & 0xFFF, random_number & (1 << 62) - 1
            number = (
                (self._milliseconds & (1 << 48) - 1) << 80 | 7 << 76 | high << 64 | 2 << 62 | low
            )
            return str(UUID(int=number))
