"""The store as one person may read it: what they may not see is as if it were not there.

Pages and API read through it alone, so that no page can forget to ask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from typing import TypeVar

from synapse_apply.controller.ports import (
    ALL_AUDIT_ROWS,
    AuditFilter,
    TargetFilter,
    TargetFindings,
    TargetPage,
)
from synapse_apply.controller.rows import (
    ApplyLog,
    ApprovalRow,
    AuditRow,
    CallProgress,
    HoldRow,
    LeaseRow,
    MessageRow,
    PauseRow,
    ProcessRow,
    RevisionRow,
    RolloutRow,
    RolloutTargetRow,
    RunOutcome,
    RunRow,
    SourceRow,
    StatusRow,
    TargetCondition,
    TargetName,
    TargetRow,
    WaveRow,
)
from synapse_apply.controller.rules.access import hide_targets
from synapse_apply.controller.store.controller_store import ControllerStore, lower_ascii
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.frozen import replace

T = TypeVar("T")

_SEARCHED_ROWS = 1000  # of the audit at a time
_SINGLE_WILDCARDS = frozenset("?[")


class RestrictedStore:
    """A store with the targets that match some patterns, and what belongs to them.

    A source is there where one of its targets is, or all that it could have would be. What speaks
    of all targets of a source is there where all could be read; what speaks of the controller, only
    for who may read everything.
    """

    def __init__(self, store: ControllerStore, patterns: tuple[str, ...]) -> None:
        """`patterns` (fnmatch) are of SOURCE/TARGET.

        `can_read_everything` is every target of every source, `can_read_anything` one at least.
        """
        self._store = store
        self._patterns = patterns
        self.can_read_anything = bool(patterns)
        self.can_read_everything = "*" in patterns
        self._filter_patterns = None if self.can_read_everything else patterns
        self._list_hidden = cache(self._read_hidden_names)

    def can_read_target(self, name: TargetName) -> bool:
        """Whether one of the patterns matches a target, known or not."""
        return any(fnmatchcase(str(name), pattern) for pattern in self._patterns)

    def can_read_all(self, source: str) -> bool:
        """Whether one of the patterns matches every target that a source could have."""
        scope = f"{source}/*"
        # Brackets and question marks match the `*` of a pattern, and not what it stands for.
        return any(
            pattern == scope
            or (not _SINGLE_WILDCARDS & set(pattern) and fnmatchcase(scope, pattern))
            for pattern in self._patterns
        )

    def tell(self, source: str, value: T) -> T:
        """What is told of a source, without the names of targets that cannot be read."""
        is_whole = not source or self.can_read_all(source)
        return value if is_whole else hide_targets(value, source, self._list_hidden(source))

    def _read_of_target(self, name: TargetName, read: Callable[[TargetName], T], nothing: T) -> T:
        return self.tell(name.source, read(name)) if self.can_read_target(name) else nothing

    def _read_hidden_names(self, source: str) -> set[str]:
        """Also of targets that no rule matches: what commits say of their credentials is known."""
        names = {*self._store.list_target_names(source)}
        for row in self._store.list_configured_sources():
            if row.name == source:
                names.update(name for _, *targets in row.credentials for name in targets)
        return {name for name in names if not self.can_read_target(TargetName(source, name))}

    def list_configured_sources(self) -> Sequence[SourceRow]:
        return [
            self.tell(row.name, row)
            for row in self._store.list_configured_sources()
            if self._can_see_source(row.name)
        ]

    def target_page(self, target_filter: TargetFilter, offset: int, limit: int) -> TargetPage:
        own_filter = replace(target_filter, patterns=self._filter_patterns)
        page = self._store.target_page(own_filter, offset, limit)
        return TargetPage(
            [self.tell(row.name.source, row) for row in page.targets], page.matching_count
        )

    def list_labels(self) -> Mapping[TargetName, Mapping[str, str]]:
        labels = self._store.list_labels()
        return {name: of_one for name, of_one in labels.items() if self.can_read_target(name)}

    def find_apply_log(self, name: TargetName) -> ApplyLog | None:
        return self._read_of_target(name, self._store.find_apply_log, None)

    def target_counts(self, source: str = "") -> Mapping[TargetCondition, int]:
        return self._store.target_counts(source, self._filter_patterns)

    def find_target(self, name: TargetName) -> TargetRow | None:
        return self._read_of_target(name, self._store.find_target, None)

    def find_run(self, run_id: str) -> RunRow | None:
        run = self._store.find_run(run_id)
        return self._read_of_target(run.target, lambda _: run, None) if run is not None else None

    def newest_runs(self, name: TargetName, limit: int) -> Sequence[RunRow]:
        list_runs = self._store.newest_runs
        return self._read_of_target(name, lambda target: list_runs(target, limit), ())

    def newest_outcomes(
        self, names: Sequence[TargetName], limit: int
    ) -> Mapping[TargetName, Sequence[RunOutcome]]:
        return self._store.newest_outcomes(
            [name for name in names if self.can_read_target(name)], limit
        )

    def newest_findings(self, target_filter: TargetFilter) -> Sequence[TargetFindings]:
        own_filter = replace(target_filter, patterns=self._filter_patterns)
        rows = self._store.newest_findings(own_filter)
        return [self.tell(row.name.source, row) for row in rows]

    def find_revision(self, source: str, commit: str) -> RevisionRow | None:
        if not self._can_see_source(source):
            return None
        revision = self._store.find_revision(source, commit)
        return self._blank_revision(revision) if revision is not None else None

    def newest_revisions(self, source: str, limit: int) -> Sequence[RevisionRow]:
        if not self._can_see_source(source):
            return ()
        return [*map(self._blank_revision, self._store.newest_revisions(source, limit))]

    def unsent(
        self,
    ) -> tuple[Sequence[StatusRow], Sequence[MessageRow]]:
        statuses, messages = self._store.unsent()
        return (
            [row for row in statuses if self.can_read_all(row.source)],
            messages if self.can_read_everything else (),
        )

    def find_status(self, source: str, commit: str, context: str) -> StatusRow | None:
        is_whole = self.can_read_all(source)
        return self._store.find_status(source, commit, context) if is_whole else None

    def audit_rows(
        self, limit: int, audit_filter: AuditFilter = ALL_AUDIT_ROWS
    ) -> Sequence[AuditRow]:
        """Those whose text is found as it is told: a search must not find what is left out.

        Nor must the time that it takes tell whether that matches: the store is asked for all that
        can be read, whatever is searched.
        """
        list_rows = self._store.audit_rows
        if self.can_read_everything:
            return list_rows(limit, audit_filter)
        who, wanted, found = audit_filter.who, lower_ascii(audit_filter.text), list[AuditRow]()
        audit_filter = replace(audit_filter, who="", text="", patterns=self._filter_patterns)
        count = max(limit, _SEARCHED_ROWS)
        while rows := list_rows(count, audit_filter):
            told = (self.tell(row.subject.partition("/")[0], row) for row in rows)
            found += [
                row
                for row in told
                if who in {"", row.who}
                # Its subject is SOURCE/ROLLOUT, which a target may be called, too.
                and not (row.is_of_rollout and not self.can_read_all(row.subject.split("/")[0]))
                and wanted in lower_ascii(f"{row.subject} {row.action} {row.detail}")
            ]
            if len(found) >= limit or len(rows) < count:
                break
            if audit_filter.after is None:
                audit_filter = replace(audit_filter, before=rows[-1].number)
            else:
                audit_filter = replace(audit_filter, after=rows[-1].number)
        return found[:limit]

    def iter_audit(self) -> Iterator[AuditRow]:
        return self._store.iter_audit() if self.can_read_everything else iter(())

    def list_holds(self, name: TargetName) -> Sequence[HoldRow]:
        return self._read_of_target(name, self._store.list_holds, ())

    def list_approvals(self, name: TargetName) -> Sequence[ApprovalRow]:
        return self._read_of_target(name, self._store.list_approvals, ())

    def list_pauses(self) -> Sequence[PauseRow]:
        """Those that may concern what can be read: their reasons are for the people of it."""
        rows = self._store.list_pauses()
        if self.can_read_everything:
            return rows
        rows = [row for row in rows if self.has_readable_target(row.scope)]
        # A scope with wildcards may be of several.
        for source in self._store.list_configured_sources():
            rows = [self.tell(source.name, row) for row in rows]
        return rows

    def list_rollouts(self) -> Sequence[RolloutRow]:
        """Those of sources that can be seen; why one stands still, where all can be read."""
        rows = map(self._blank_rollout, self._store.list_rollouts())
        return [row for row in rows if row is not None]

    def find_rollout(self, name: str) -> RolloutRow | None:
        row = self._store.find_rollout(name)
        return self._blank_rollout(row) if row is not None else None

    def list_waves(self, rollout: str, number: int) -> Sequence[WaveRow]:
        rows = self._store.list_waves(rollout, number)
        return rows if all(self.can_read_all(row.source) for row in rows) else ()

    def list_rollout_targets(
        self, rollout: str, wave: int | None = None
    ) -> Sequence[RolloutTargetRow]:
        rows = self._store.list_rollout_targets(rollout, wave)
        return [row for row in rows if self.can_read_target(row.target)]

    def find_rollout_target(self, name: TargetName) -> RolloutTargetRow | None:
        return self._read_of_target(name, self._store.find_rollout_target, None)

    def find_lease(self, name: str) -> LeaseRow | None:
        return self._store.find_lease(name) if self.can_read_everything else None

    def list_processes(self) -> Sequence[ProcessRow]:
        """All, which name machines, where all targets can be read; else none."""
        return self._store.list_processes() if self.can_read_everything else ()

    def list_configuration_findings(self) -> Sequence[Diagnostic]:
        return self._store.list_configuration_findings() if self.can_read_everything else ()

    def _can_see_source(self, source: str) -> bool:
        if self.can_read_all(source):
            return True
        return bool(self.target_page(TargetFilter(source), 0, 1).targets)

    def has_readable_target(self, scope: str) -> bool:
        """Whether a scope matches a target that can be read."""
        targets = iter_present_targets(self._store, TargetFilter(patterns=(scope,)))
        return any(self.can_read_target(row.name) for row in targets)

    def _blank_rollout(self, row: RolloutRow) -> RolloutRow | None:
        """A rollout without the words that may name targets, where not all can be read."""
        if self.can_read_all(row.source):
            return row
        is_seen = self._can_see_source(row.source)
        return replace(row, state_reason="", description="") if is_seen else None

    def _blank_revision(self, revision: RevisionRow) -> RevisionRow:
        """A revision without the words that name targets, where not all can be read."""
        if self.can_read_all(revision.source):
            return revision
        return replace(revision, description="", finding=None)


# Methods of one name mean the same, of all targets or of those that somebody may read.
ReadableStore = ControllerStore | RestrictedStore

_TARGETS_PER_PAGE = 1000


def list_running_calls(
    store: ReadableStore, target: TargetRow, now: float
) -> tuple[CallProgress, ...]:
    """What a target's apply has begun, () where none runs."""
    # Of a killed controller's apply nothing goes on until the target is claimed again.
    begun = target.begun_apply if target.is_claimed(now) else None
    log = store.find_apply_log(target.name) if begun else None
    return log.calls if log and begun and log.run == begun.run else ()


def iter_present_targets(store: ReadableStore, target_filter: TargetFilter) -> Iterator[TargetRow]:
    """Every target that matches, by state and name; none that is gone.

    One that changes its state between two pages may come twice, or not at all.
    """
    offset = 0
    while True:
        page = store.target_page(target_filter, offset, _TARGETS_PER_PAGE)
        yield from page.targets
        offset += len(page.targets)
        if len(page.targets) < _TARGETS_PER_PAGE:
            return
