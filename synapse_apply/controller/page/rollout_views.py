"""What the pages of rollouts show: waves, their targets by revision, what each waits for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

from synapse_apply.controller import verbs
from synapse_apply.controller.page.addresses import build_rollout_path, read_number
from synapse_apply.controller.page.phrases import Style, format_duration, styles_of
from synapse_apply.controller.page.visitor import Visitor, not_found
from synapse_apply.controller.ports import TargetFilter
from synapse_apply.controller.rows import (
    RevisionRow,
    RolloutRow,
    RolloutState,
    RolloutTargetRow,
    TargetName,
    WaveEnd,
    WaveRow,
)
from synapse_apply.controller.rules.rollouts import (
    MemberState,
    RolloutMember,
    choose_member_state,
    declared_members,
    describe_aborted_rollout,
    describe_done_rollout,
    describe_wave,
    describe_wave_to_approve,
    find_soak_end,
    has_failed,
    is_moved_to_revision,
)
from synapse_apply.controller.settings import Rollout, Wave
from synapse_apply.controller.verbs import Subject, Verb
from synapse_apply.model.frozen import frozen
from synapse_apply.model.phrases import format_count_and_noun

SHOWN_HISTORY = 10
_MOST_TARGETS = 1_000_000
TARGETS_PER_PAGE = 100
_MOST_DIGITS = 7
_MAX_NAMED_CELLS = 60  # more than these have no room for their names
_MAX_CELLS = 400  # more than these are counts
NOT_BEGUN = Style("not started", "quiet", "·", "The rollout starts with the next head.")
ROLLOUT_STYLES: Mapping[RolloutState, Style] = {
    RolloutState.RUNNING: Style(
        "in progress",
        "git",
        "→",
        "The controller brings the revision to the targets, wave by wave.",
    ),
    RolloutState.WAITING: Style(
        "awaiting approval", "moved", "=", "The next wave opens when a person approves it."
    ),
    RolloutState.STOPPED: Style(
        "stopped", "bad", "✗", "Too many targets of a wave failed. Resume or abort the rollout."
    ),
    RolloutState.DONE: Style("done", "good", "✓", "Every wave is closed."),
    RolloutState.ABORTED: Style(
        "aborted", "moved", "■", "A person ended the rollout of this revision."
    ),
}


class WavePhase(Enum):
    """How far a wave is."""

    CLOSED = "closed"
    SKIPPED = "skipped"
    OPEN = "open"
    STOPPED = "stopped"
    WAITING = "waits for approval"
    ABORTED = "aborted"
    NOT_YET = "not yet"
    NOT_REACHED = "not reached"


PHASE_STYLES = styles_of(
    {
        WavePhase.CLOSED: ("good", "✓", "All targets of the wave are healthy."),
        WavePhase.SKIPPED: ("moved", "»", "A person closed the wave without evidence."),
        WavePhase.OPEN: (
            "git",
            "→",
            "The controller brings the revision to the targets of the wave.",
        ),
        WavePhase.STOPPED: (
            "bad",
            "✗",
            "Too many targets of the wave failed. Resume the rollout, skip the wave, or abort.",
        ),
        WavePhase.WAITING: ("moved", "=", "The wave opens when a person approves it."),
        WavePhase.ABORTED: ("quiet", "■", "A person ended the rollout of this revision."),
        WavePhase.NOT_YET: ("quiet", "·", "The wave opens when the previous wave is closed."),
        WavePhase.NOT_REACHED: ("quiet", "·", "The rollout was aborted before this wave."),
    }
)
_PHASES_OF_THE_WAVE_AT_HAND = {
    RolloutState.RUNNING: WavePhase.OPEN,
    RolloutState.WAITING: WavePhase.WAITING,
    RolloutState.STOPPED: WavePhase.STOPPED,
    RolloutState.ABORTED: WavePhase.ABORTED,
    RolloutState.DONE: WavePhase.CLOSED,
}
MEMBER_STATE_STYLES = styles_of(
    {
        MemberState.FAILING: ("bad", "✗", "The target failed with the rollout's revision."),
        MemberState.REFUSED: (
            "bad",
            "!",
            "Rows cannot be applied, or the outcome of a call is unknown.",
        ),
        MemberState.HELD: ("moved", "=", "Rows of the target's plan need approval."),
        MemberState.PAUSED: ("moved", "‖", "The target has pending changes, and is paused."),
        MemberState.ROLLED_BACK: ("moved", "↶", "A person has rolled the target back."),
        MemberState.WAITING: (
            "git",
            "…",
            "The target waits for a window, or for a verification on another target.",
        ),
        MemberState.DRIFTED: (
            "moved",
            "≠",
            "Live objects differ from what was last applied. The target's soak starts again.",
        ),
        MemberState.CHANGING: (
            "git",
            "→",
            "It has the revision. A check or an apply is due or in progress.",
        ),
        MemberState.SOAKING: ("git", "◔", "The target is healthy, but not yet for long enough."),
        MemberState.NOT_YET: (
            "quiet",
            "·",
            "The target keeps its revision until the rollout reaches it.",
        ),
        MemberState.SHOWN: ("good", "✓", "The target meets all conditions of its wave."),
    }
)
_MEMBER_STATES = list(MemberState)


@frozen
class RolloutSummary:
    """A rollout in a list. `row` is None where it has not begun with any revision.

    `settings` is None where the configuration has it no more.
    """

    name: str
    source: str
    row: RolloutRow | None
    settings: Rollout | None
    revision: RevisionRow | None

    @property
    def style(self) -> Style:
        return ROLLOUT_STYLES[self.row.state] if self.row else NOT_BEGUN

    @property
    def needs_person(self) -> bool:
        needing = {RolloutState.WAITING, RolloutState.STOPPED}
        return self.row is not None and self.row.state in needing

    @property
    def is_under_way(self) -> bool:
        return self.row is not None and not self.row.state.is_over

    @property
    def words(self) -> str:
        """How far it is ("wave 2 of 3: 4 of 10 healthy, 5 not yet"); "" before its start."""
        row = self.row
        return row.description or f"wave {row.wave} of {row.wave_count}" if row else ""


class PastRollout(NamedTuple):
    """What became of a rollout with an earlier revision: its waves as far as it came."""

    revision: RevisionRow
    waves: Sequence[WaveRow]

    @property
    def words(self) -> str:
        """How far it came ("aborted in wave 3, 1 wave closed, 1 skipped")."""
        closed = sum(wave.end is WaveEnd.EVIDENCE for wave in self.waves)
        skipped = sum(wave.end is WaveEnd.SKIPPED for wave in self.waves)
        parts = [
            *(f"aborted in wave {wave.wave}" for wave in self.waves if wave.is_aborted),
            f"{format_count_and_noun(closed, 'wave')} closed",
            *([f"{skipped:,} skipped"] if skipped else []),
        ]
        return ", ".join(parts)


@frozen
class TargetCell:
    """A target in its wave. `commit` is the revision that it is to have now, "" for none yet.

    Without `has_revision` that is not the one of the rollout, and what its row has was shown of an
    older one.
    `soak_end` is when it has soaked if it goes on so, 0 where it does not soak.
    """

    row: RolloutTargetRow
    state: MemberState
    commit: str
    has_revision: bool = False
    has_failed: bool = False
    soak_end: float = 0.0
    waiting_reason: str = ""

    @property
    def name(self) -> TargetName:
        return self.row.target

    @property
    def order(self) -> tuple[int, int, TargetName]:
        """By who needs a person."""
        return _MEMBER_STATES.index(self.state), self.row.wave, self.name


class CellGroup(NamedTuple):
    """The targets of a wave that have one revision, in the order of who needs a person.

    `cells` is empty where there are too many to show: `counts` has all.
    """

    commit: str
    counts: Mapping[MemberState, int]
    cells: Sequence[TargetCell]
    has_names: bool


@frozen
class WaveView:
    """A wave of a rollout with one revision.

    `settings` is None where the reader sees a part of the source only, or the configuration has no
    such wave any more; `row` where nothing is recorded of it yet, or may be read.
    """

    number: int
    phase: WavePhase
    settings: Wave | None
    row: WaveRow | None
    cells: Sequence[TargetCell]

    @property
    def counts(self) -> Mapping[MemberState, int]:
        """How many targets are in each state that one is in, in the order of the states."""
        return _count_states(self.cells)

    @property
    def failed_count(self) -> int:
        """How many count against `max_failures`."""
        return sum(cell.has_failed for cell in self.cells)

    @property
    def shown_state_count(self) -> int:
        return self.counts.get(MemberState.SHOWN, 0)

    @property
    def groups(self) -> Sequence[CellGroup]:
        """Its targets by revision, the one that most of them have first."""
        by_commit: dict[str, list[TargetCell]] = {}
        for cell in self.cells:
            by_commit.setdefault(cell.commit, []).append(cell)
        has_cells = len(self.cells) <= _MAX_CELLS
        return [
            CellGroup(
                commit,
                _count_states(cells),
                sorted(cells, key=lambda cell: cell.order) if has_cells else (),
                len(cells) <= _MAX_NAMED_CELLS,
            )
            for commit, cells in sorted(by_commit.items(), key=lambda item: -len(item[1]))
        ]


def _count_states(cells: Sequence[TargetCell]) -> Mapping[MemberState, int]:
    counts = Counter(cell.state for cell in cells)
    return {state: counts[state] for state in MemberState if counts[state]}


@frozen
class RolloutView:
    """The contents of a rollout's page.

    `waiting_head` is the newer head that waits until it is over, "" for none. `is_whole` says that
    its reader may read all targets of the source, and so what speaks of all of them. `description`
    is how far it is, "" where it has not begun. `revisions` are how many targets are to have each
    commit now, with its row, None for no head: the one of the rollout, then by how many have them.
    """

    summary: RolloutSummary
    is_whole: bool
    waves: Sequence[WaveView] = ()
    revisions: Sequence[Mapping[str, Any]] = ()
    history: Sequence[PastRollout] = ()
    waiting_head: str = ""
    description: str = ""

    @property
    def cells(self) -> Sequence[TargetCell]:
        return [cell for wave in self.waves for cell in wave.cells]

    def filter_and_sort_cells(self, wave: int, state: str) -> Sequence[TargetCell]:
        """The targets of a wave (0: of all) in a state ("": in any), who needs a person first."""
        cells = [
            cell
            for cell in self.cells
            if state in {"", cell.state.value} and wave in {0, cell.row.wave}
        ]
        return sorted(cells, key=lambda cell: cell.order)


def list_rollout_summaries(visitor: Visitor) -> Sequence[RolloutSummary]:
    """The rollouts that are configured or have begun, those that need a person first."""
    sources = {source.name for source in visitor.store.list_configured_sources()}
    rows = {row.name: row for row in visitor.store.list_rollouts()}
    configured = {n: r for n, r in visitor.settings.rollouts.items() if r.source in sources}
    summaries = [
        _build_summary(visitor, name, rows.get(name), configured.get(name))
        for name in sorted(rows.keys() | configured.keys())
    ]
    return sorted(
        summaries, key=lambda rollout: (not rollout.needs_person, not rollout.is_under_way)
    )


def _build_summary(
    visitor: Visitor, name: str, row: RolloutRow | None, settings: Rollout | None
) -> RolloutSummary:
    source = row.source if row else settings.source if settings else ""
    revision = visitor.store.find_revision(source, row.commit) if row else None
    return RolloutSummary(name, source, row, settings, revision)


def read_rollouts(visitor: Visitor) -> Mapping[str, Any]:
    return {"summaries": list_rollout_summaries(visitor)}


def read_rollout(visitor: Visitor) -> Mapping[str, Any]:
    """What a rollout's page shows: also the page of its targets that the address asks for.

    `query` is what the address asks for, where that makes sense; `wave` 0 is every wave. `forms` is
    None for a rollout that has not begun. RequestRefused for an unknown one.
    """
    view, parameters = require_rollout_view(visitor), visitor.parameters
    state, wave = parameters.get("state", ""), read_number(parameters, "wave", _MOST_DIGITS) or 0
    state = state if state in {member_state.value for member_state in MemberState} else ""
    page = max(1, read_number(parameters, "page", _MOST_DIGITS) or 0)
    cells = view.filter_and_sort_cells(wave, state)

    def build_path(*, page: int = 1, wave: int = wave, state: str = state) -> str:
        """The address of another page of the list, or of it with another wave or state."""
        shown = {"wave": wave, "state": state, "page": page if page > 1 else ""}
        return build_rollout_path(view.summary.name, shown)

    target_list = {
        "query": {"wave": wave, "state": state, "page": page},
        "cells": cells[(page - 1) * TARGETS_PER_PAGE :][:TARGETS_PER_PAGE],
        "matching_count": len(cells),
        "page_count": max(1, -(-len(cells) // TARGETS_PER_PAGE)),
        "build_path": build_path,
    }
    forms = None
    if row := view.summary.row:
        notice = visitor.read_own_notice(verbs.OF_ROLLOUTS)
        forms = {"verbs": _allowed_verbs(visitor, view, row), "notice": notice}
    return {"view": view, "target_list": target_list, "forms": forms}


def _allowed_verbs(visitor: Visitor, view: RolloutView, row: RolloutRow) -> Sequence[Verb]:
    """What can be done now, and its reader may: that is of all targets, seen by them or not."""
    possible = [verb for verb in verbs.OF_ROLLOUTS if visitor.person and row.state in verb.states]
    if not possible:
        return ()
    members: Sequence[RolloutTargetRow] = [cell.row for cell in view.cells]
    if not view.is_whole:  # else thousands were read a moment ago
        members = visitor.whole_store.list_rollout_targets(row.name)
    of_wave = [member for member in members if member.wave == row.wave]
    is_of_all = visitor.can_approve_each(members)
    is_of_wave = bool(of_wave) and (is_of_all or visitor.can_approve_each(of_wave))
    return [
        verb for verb in possible if (is_of_wave if verb.subject is Subject.WAVE else is_of_all)
    ]


def require_rollout_view(visitor: Visitor) -> RolloutView:
    """The rollout that the path names; RequestRefused for an unknown one."""
    name = visitor.request.path_params["rollout"]
    view = read_rollout_view(visitor, name)
    if view is None:
        raise not_found(f"There is no rollout {name} that you may read.")
    return view


def read_rollout_view(visitor: Visitor, name: str) -> RolloutView | None:
    """What is shown of a rollout; None for an unknown one, and for one of others' targets."""
    store, configured = visitor.store, visitor.settings.rollouts.get(name)
    row = store.find_rollout(name)
    summary = _build_summary(visitor, name, row, configured)
    sources = {source.name: source for source in store.list_configured_sources()}
    source = sources.get(summary.source)
    if source is None:
        return None
    is_whole = store.can_read_all(source.name)
    if row is None:
        return RolloutView(summary, is_whole)
    # The targets of each wave.
    page = store.target_page(TargetFilter(row.source), 0, _MOST_TARGETS)
    targets = {target.name: target for target in page.targets}
    members: dict[int, list[RolloutMember]] = {}
    for member in store.list_rollout_targets(row.name):
        of_wave = members.setdefault(member.wave, [])
        of_wave.append(RolloutMember(member, targets.get(member.target)))
    wave_rows = {wave.wave: wave for wave in store.list_waves(row.name, row.number)}
    waves = []
    for number in range(1, row.wave_count + 1):
        settings, wave_row = _wave_settings(configured, number), wave_rows.get(number)
        of_wave = declared_members(members.get(number, ()))
        cells = [_build_target_cell(member, settings) for member in of_wave]
        phase = _choose_wave_phase(row, number, wave_row)
        known = (settings, wave_row) if is_whole else (None, None)
        waves.append(WaveView(number, phase, *known, cells))
    counts = Counter(cell.commit for wave in waves for cell in wave.cells)
    commits = [row.commit, *(c for c, _ in counts.most_common() if c and c != row.commit)]
    revisions = [
        {
            "commit": commit,
            "revision": store.find_revision(row.source, commit),
            "target_count": counts[commit],
        }
        for commit in commits
    ]
    earlier = [
        PastRollout(revision, store.list_waves(row.name, revision.number))
        for revision in store.newest_revisions(row.source, SHOWN_HISTORY + 1)
        if revision.number < row.number
    ]
    is_queued = configured is not None and configured.new_head == "queue"
    is_waited_for = is_queued and source.head_number > row.number
    return RolloutView(
        summary,
        is_whole,
        waves,
        revisions,
        [past for past in earlier if past.waves],
        source.head if is_waited_for and not row.state.is_over else "",
        _describe_progress(
            row, _wave_settings(configured, row.wave), declared_members(members.get(row.wave, ()))
        ),
    )


def _describe_progress(row: RolloutRow, wave: Wave | None, members: Sequence[RolloutMember]) -> str:
    """How far it is, by what its reader may see."""
    match row.state:
        case RolloutState.DONE:
            return describe_done_rollout(row)
        case RolloutState.ABORTED:
            return describe_aborted_rollout(row)
        case RolloutState.WAITING:
            return describe_wave_to_approve(row, len(members))
    return describe_wave(row, wave or Wave(), members)


def _wave_settings(settings: Rollout | None, number: int) -> Wave | None:
    waves = settings.waves if settings else ()
    return waves[number - 1] if 0 < number <= len(waves) else None


def _choose_wave_phase(row: RolloutRow, number: int, wave_row: WaveRow | None) -> WavePhase:
    """How far the wave with this number is."""
    if wave_row is not None and wave_row.end is not WaveEnd.NONE:
        return WavePhase.SKIPPED if wave_row.end is WaveEnd.SKIPPED else WavePhase.CLOSED
    if number < row.wave or row.state is RolloutState.DONE:
        return WavePhase.CLOSED
    if number == row.wave:
        return _PHASES_OF_THE_WAVE_AT_HAND[row.state]
    is_aborted = row.state is RolloutState.ABORTED
    return WavePhase.NOT_REACHED if is_aborted else WavePhase.NOT_YET


def _build_target_cell(member: RolloutMember, wave: Wave | None) -> TargetCell:
    row, target = member
    has_revision = is_moved_to_revision(member)
    return TargetCell(
        row,
        choose_member_state(member, wave),
        target.wanted_commit if target is not None else "",
        has_revision,
        has_failed(member),
        find_soak_end(row, wave or Wave()) or 0.0 if has_revision else 0.0,
        target.waiting_reason if target is not None and has_revision else "",
    )


def find_membership(visitor: Visitor, name: TargetName) -> Mapping[str, Any] | None:
    """Which rollout and wave a target is in, and how far it is there; None for none."""
    store = visitor.store
    row = store.find_rollout_target(name)
    rollout = store.find_rollout(row.rollout) if row is not None else None
    if row is None or rollout is None:
        return None
    wave = _wave_settings(visitor.settings.rollouts.get(row.rollout), row.wave)
    state = choose_member_state(RolloutMember(row, store.find_target(name)), wave)
    return {"row": row, "state": state, "wave_count": rollout.wave_count}


def rollouts_of_revision(visitor: Visitor, revision: RevisionRow) -> Sequence[Mapping[str, Any]]:
    """The rollouts that brought a revision, or bring it now: the row where that is its newest."""
    rollouts = []
    for row in visitor.store.list_rollouts():
        if row.source == revision.source:
            waves = visitor.store.list_waves(row.name, revision.number)
            own_row = row if row.number == revision.number else None
            if waves or own_row is not None:
                rollouts.append({"name": row.name, "row": own_row, "waves": waves})
    return rollouts


def describe_wave_limits(wave: Wave) -> str:
    """What a wave asks for and how far it may go, as a phrase."""
    parts = []
    if wave.approve:
        parts.append("needs approval to open")
    if wave.soak:
        parts.append(f"soak {format_duration(wave.soak)}")
    if wave.max_parallel is not None:
        parts.append(f"at most {wave.max_parallel:,} at a time")
    parts.append(
        f"stops at more than {format_count_and_noun(wave.max_failures, 'failure')}"
        if wave.max_failures
        else "stops at the first failure"
    )
    return ", ".join(parts)


def describe_wave_selection(wave: Wave) -> str:
    """Which targets a wave is for, as it stands in the configuration; "all others" for all."""
    parts = [", ".join(wave.targets), *(f"{key}={value}" for key, value in wave.labels.items())]
    return " and ".join(part for part in parts if part) or "all others"
