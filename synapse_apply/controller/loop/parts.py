"""What the loop is made of: the settings in use, and what stands behind its ports."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import TypeVar

from synapse_apply.controller.configuration.secrets import AccessSecrets
from synapse_apply.controller.loop.authors import AuthorCache
from synapse_apply.controller.loop.clock import CorrectedClock, LoopClock
from synapse_apply.controller.loop.event_log import EventLog, Level
from synapse_apply.controller.loop.leading.leader import LeadershipLost
from synapse_apply.controller.loop.own_claims import OwnClaims
from synapse_apply.controller.outbox.messages import build_message_fields
from synapse_apply.controller.page.addresses import (
    build_revision_path,
    build_source_path,
    build_target_path,
)
from synapse_apply.controller.ports import MessageSender, Mirror, StatusSender, Workers
from synapse_apply.controller.rows import (
    LEADER_LEASE,
    ChangeCounts,
    HoldRow,
    MessageRow,
    PauseRow,
    RevisionRow,
    RolloutRow,
    StatusRow,
    StatusText,
    TargetName,
    TargetProgress,
    TargetRow,
)
from synapse_apply.controller.rules.access import HIDDEN_TARGET, hide_targets, name_to_readers
from synapse_apply.controller.rules.revision_end import build_status_context, build_status_text
from synapse_apply.controller.rules.run_ids import RANDOM_BYTES, RunIdSource
from synapse_apply.controller.rules.sending import with_new_wish
from synapse_apply.controller.rules.target_statuses import (
    MAX_TARGET_CONTEXTS,
    build_target_status_text,
    overtaken_status,
    target_context,
)
from synapse_apply.controller.settings import Controller, Event
from synapse_apply.controller.store.store_database import StoreUnavailable
from synapse_apply.controller.store_ports import StoreWriter, TargetFilter, WritableStore
from synapse_apply.model.diagnostic import Diagnostic
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
    mirrors: Mapping[str, Mirror]
    status_senders: Mapping[str, StatusSender]
    message_senders: Mapping[str, MessageSender]
    access_secrets: AccessSecrets = AccessSecrets()


class LoopParts:
    """What all parts of the loop share; `configured` is replaced when the configuration is."""

    def __init__(
        self,
        configured: ConfiguredParts,
        store: WritableStore,
        workers: Workers,
        clock: LoopClock,
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
        self._authors = AuthorCache()
        self._changed_sources: set[str] = set()
        self._sources_to_compare: set[str] = set()
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
        """A transaction of the store, as WritableStore has it."""
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
        source = self.store.find_source_even_if_removed(row.name.source)
        followed = source.followed if source else ()
        if mirror.fetch_commit_if_missing_or_pin_is_old(row.wanted_commit, followed):
            mirror.protect_only_these_commits_from_pruning(
                self.store.list_commits_in_use(row.name.source)
            )

    def authors_to_apply(self, row: TargetRow) -> tuple[str, ...] | None:
        """Who wrote the commits between a target's applied and wanted one; None if unknown."""
        return self._authors.authors_to_apply(self.configured.mirrors.get(row.name.source), row)

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
        page = self.store.read_page_of_present_targets(
            TargetFilter(head.source), 0, MAX_TARGET_CONTEXTS
        )
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
        runs = self.store.list_newest_runs_without_documents(name, _RUNS_READ)
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
            writer.put_status(new)

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
        hidden = {
            name
            for name in self.store.list_target_names(source if target else "")
            if target
            and name_to_readers(self.settings.access, target, TargetName(source, name))
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
            if epoch and not writer.is_lease_still_own_even_if_over(
                LEADER_LEASE, self.holder, epoch
            ):
                raise LeadershipLost.from_summary(
                    "Another process leads this controller by now",
                    "What this one was about to write was not written.",
                )
            yield writer
