"""What the pages of rollouts show: waves, their targets by revision, what each waits for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from synapse_apply.controller.page.addresses import build_rollout_path
from synapse_apply.controller.page.phrases import ConditionStyle, format_duration
from synapse_apply.controller.page.readable_store import RestrictedStore
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
from synapse_apply.controller.settings import Controller, Rollout, Wave
from synapse_apply.model.frozen import frozen
from synapse_apply.model.phrases import format_count_and_noun

SHOWN_HISTORY = 10
_MOST_TARGETS = 1_000_000
NOT_BEGUN = ConditionStyle("not begun", "quiet", "·", "It begins with the next head.")
ROLLOUT_STYLES: Mapping[RolloutState, ConditionStyle] = {
    RolloutState.RUNNING: ConditionStyle(
        "under way", "git", "→", "Targets are brought to the revision, wave by wave."
    ),
    RolloutState.WAITING: ConditionStyle(
        "waits for approval", "moved", "=", "The next wave begins once a person lets it."
    ),
    RolloutState.STOPPED: ConditionStyle(
        "stopped", "bad", "✗", "Too many targets of a wave failed: a person resumes or aborts it."
    ),
    RolloutState.DONE: ConditionStyle("done", "good", "✓", "Every wave is closed."),
    RolloutState.ABORTED: ConditionStyle(
        "aborted", "moved", "■", "A person said that this revision goes no further."
    ),
}
_NEED_PERSON = frozenset({RolloutState.WAITING, RolloutState.STOPPED})


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
    def style(self) -> ConditionStyle:
        return ROLLOUT_STYLES[self.row.state] if self.row else NOT_BEGUN

    @property
    def needs_person(self) -> bool:
        return self.row is not None and self.row.state in _NEED_PERSON

    @property
    def is_under_way(self) -> bool:
        return self.row is not None and not self.row.state.is_over

    @property
    def words(self) -> str:
        """How far it is ("wave 2 of 3: 4 of 10 shown, 1 held: prod-eu"); "" if it has not begun."""
        row = self.row
        return row.description or f"wave {row.wave} of {row.wave_count}" if row else ""


class RevisionShare(NamedTuple):
    """How many targets of a rollout are to have a revision now; its row, None for no head."""

    commit: str
    revision: RevisionRow | None
    target_count: int


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
class RolloutView:
    """The contents of a rollout's page.

    `waiting_head` is the newer head that waits until it is over, "" for none. `is_whole` says that
    its reader may read all targets of the source, and so what speaks of all of them. `description`
    is how far it is, "" where it has not begun.
    """

    summary: RolloutSummary
    waves: Sequence[WaveView]
    revisions: Sequence[RevisionShare]
    history: Sequence[PastRollout]
    waiting_head: str
    is_whole: bool
    description: str = ""

    @property
    def cells(self) -> Sequence[TargetCell]:
        return [cell for wave in self.waves for cell in wave.cells]


def list_rollout_summaries(
    store: RestrictedStore, settings: Controller
) -> Sequence[RolloutSummary]:
    """The rollouts that are configured or have begun, those that need a person first."""
    sources = {source.name for source in store.list_configured_sources()}
    rows = {row.name: row for row in store.list_begun_rollouts_even_ended()}
    configured = {n: r for n, r in settings.rollouts.items() if r.source in sources}
    summaries = [
        _build_summary(store, name, rows.get(name), configured.get(name))
        for name in sorted(rows.keys() | configured.keys())
    ]
    return sorted(
        summaries, key=lambda rollout: (not rollout.needs_person, not rollout.is_under_way)
    )


def _build_summary(
    store: RestrictedStore, name: str, row: RolloutRow | None, settings: Rollout | None
) -> RolloutSummary:
    source = row.source if row else settings.source if settings else ""
    if row is None:
        return RolloutSummary(name, source, None, settings, None)
    return RolloutSummary(
        name, source, row, settings, store.find_newest_revision_of_commit(source, row.commit)
    )


def read_rollout_view(
    store: RestrictedStore, name: str, settings: Controller
) -> RolloutView | None:
    """Read what a rollout's page shows; None for an unknown one, and for one of others' targets."""
    row = store.find_begun_rollout_even_if_ended(name)
    configured = settings.rollouts.get(name)
    source_name = row.source if row else configured.source if configured else ""
    source = next((row for row in store.list_configured_sources() if row.name == source_name), None)
    if source is None:
        return None
    summary = _build_summary(store, name, row, configured)
    is_whole = store.can_read_all(source_name)
    if row is None:
        return RolloutView(summary, (), (), (), "", is_whole)
    # The targets of each wave.
    page = store.read_page_of_present_targets(TargetFilter(row.source), 0, _MOST_TARGETS)
    targets = {target.name: target for target in page.targets}
    members: dict[int, list[RolloutMember]] = {}
    for member in store.list_rollout_targets(row.name):
        of_wave = members.setdefault(member.wave, [])
        of_wave.append(RolloutMember(member, targets.get(member.target)))
    waves = _read_wave_views(store, row, configured, members, is_whole=is_whole)
    is_queued = configured is not None and configured.new_head == "queue"
    is_newer = source.head_number > row.number
    return RolloutView(
        summary,
        waves,
        _revision_shares(store, row, [cell for wave in waves for cell in wave.cells]),
        _past_rollouts(store, row),
        (source.head if is_queued and is_newer and not row.state.is_over else ""),
        is_whole,
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


def _read_wave_views(
    store: RestrictedStore,
    row: RolloutRow,
    settings: Rollout | None,
    members: Mapping[int, Sequence[RolloutMember]],
    *,
    is_whole: bool,
) -> Sequence[WaveView]:
    wave_rows = {
        wave.wave: wave for wave in store.list_recorded_waves_of_revision(row.name, row.number)
    }
    views = [
        build_wave_view(
            row, number, wave_rows.get(number), _wave_settings(settings, number),
            members.get(number, ()),
        )
        for number in range(1, row.wave_count + 1)
    ]  # fmt: skip
    return (
        views
        if is_whole
        else [WaveView(view.number, view.phase, None, None, view.cells) for view in views]
    )


def _revision_shares(
    store: RestrictedStore, row: RolloutRow, cells: Sequence[TargetCell]
) -> Sequence[RevisionShare]:
    """The revisions of the targets, the one of the rollout first, then by how many have them."""
    counts = Counter(cell.commit for cell in cells)
    commits = [row.commit, *(c for c, _ in counts.most_common() if c and c != row.commit)]
    return [
        RevisionShare(
            commit, store.find_newest_revision_of_commit(row.source, commit), counts[commit]
        )
        for commit in commits
    ]


def _past_rollouts(store: RestrictedStore, row: RolloutRow) -> Sequence[PastRollout]:
    earlier = [
        revision
        for revision in store.list_newest_revisions(row.source, SHOWN_HISTORY + 1)
        if revision.number < row.number
    ]
    pairs = [
        (revision, store.list_recorded_waves_of_revision(row.name, revision.number))
        for revision in earlier
    ]
    return [PastRollout(revision, waves) for revision, waves in pairs if waves]


def _wave_settings(settings: Rollout | None, number: int) -> Wave | None:
    waves = settings.waves if settings else ()
    return waves[number - 1] if 0 < number <= len(waves) else None


class RolloutMembership(NamedTuple):
    """Which rollout and wave a target is in, and how far it is there."""

    row: RolloutTargetRow
    state: MemberState
    wave_count: int


def find_membership_or_none(
    store: RestrictedStore, name: TargetName, settings: Controller
) -> RolloutMembership | None:
    """Where a target is in its rollout; None for one that is in none."""
    row = store.find_rollout_target(name)
    rollout = store.find_begun_rollout_even_if_ended(row.rollout) if row is not None else None
    if row is None or rollout is None:
        return None
    wave = _wave_settings(settings.rollouts.get(row.rollout), row.wave)
    state = choose_member_state(RolloutMember(row, store.find_target_even_if_gone(name)), wave)
    return RolloutMembership(row, state, rollout.wave_count)


class RolloutOfRevision(NamedTuple):
    """What became of a revision in a rollout: its row where that is its newest, and its waves."""

    name: str
    row: RolloutRow | None
    past: PastRollout


def rollouts_of_revision(
    store: RestrictedStore, revision: RevisionRow
) -> Sequence[RolloutOfRevision]:
    """The rollouts that brought a revision, or bring it now."""
    rows = [row for row in store.list_begun_rollouts_even_ended() if row.source == revision.source]
    rollouts = []
    for row in rows:
        waves = store.list_recorded_waves_of_revision(row.name, revision.number)
        own_row = row if row.number == revision.number else None
        if waves or own_row is not None:
            rollouts.append(RolloutOfRevision(row.name, own_row, PastRollout(revision, waves)))
    return rollouts


_MAX_NAMED_CELLS = 60  # more than these have no room for their names
_MAX_CELLS = 400  # more than these are counts


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


PHASE_STYLES: Mapping[WavePhase, ConditionStyle] = {
    WavePhase.CLOSED: ConditionStyle(
        "closed", "good", "✓", "Each of its targets has shown what it has to."
    ),
    WavePhase.SKIPPED: ConditionStyle(
        "skipped", "moved", "»", "A person closed it without evidence."
    ),
    WavePhase.OPEN: ConditionStyle("open", "git", "→", "Its targets are brought to the revision."),
    WavePhase.STOPPED: ConditionStyle(
        "stopped", "bad", "✗", "Too many of its targets failed: a person resumes, skips or aborts."
    ),
    WavePhase.WAITING: ConditionStyle(
        "waits for approval", "moved", "=", "It begins once a person lets it."
    ),
    WavePhase.ABORTED: ConditionStyle(
        "aborted", "quiet", "■", "A person said that this revision goes no further."
    ),
    WavePhase.NOT_YET: ConditionStyle(
        "not yet", "quiet", "·", "It begins once the wave before it is closed."
    ),
    WavePhase.NOT_REACHED: ConditionStyle(
        "not reached", "quiet", "·", "The rollout was aborted before it."
    ),
}
_PHASES_OF_THE_WAVE_AT_HAND = {
    RolloutState.RUNNING: WavePhase.OPEN,
    RolloutState.WAITING: WavePhase.WAITING,
    RolloutState.STOPPED: WavePhase.STOPPED,
    RolloutState.ABORTED: WavePhase.ABORTED,
    RolloutState.DONE: WavePhase.CLOSED,
}


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


class CellGroup(NamedTuple):
    """The targets of a wave that have one revision, in the order of who needs a person.

    `cells` is empty where there are too many to show: `counts` has all.
    """

    commit: str
    counts: Mapping[MemberState, int]
    cells: Sequence[TargetCell]
    has_names: bool

    @property
    def total(self) -> int:
        return sum(self.counts.values())


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
        counts = Counter(cell.state for cell in self.cells)
        return {state: counts[state] for state in MemberState if counts[state]}

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
            _build_cell_group(commit, cells, has_cells=has_cells)
            for commit, cells in sorted(by_commit.items(), key=lambda item: -len(item[1]))
        ]


def build_wave_view(
    row: RolloutRow,
    number: int,
    wave_row: WaveRow | None,
    settings: Wave | None,
    members: Sequence[RolloutMember],
) -> WaveView:
    """What is shown of the wave with this number; `members` are its targets."""
    return WaveView(
        number,
        choose_wave_phase(row, number, wave_row),
        settings,
        wave_row,
        [_build_target_cell(member, settings) for member in declared_members(members)],
    )


def choose_wave_phase(row: RolloutRow, number: int, wave_row: WaveRow | None) -> WavePhase:
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


def _build_cell_group(commit: str, cells: Sequence[TargetCell], *, has_cells: bool) -> CellGroup:
    counts = Counter(cell.state for cell in cells)
    order = list(MemberState)
    ordered = sorted(cells, key=lambda cell: (order.index(cell.state), cell.name))
    return CellGroup(
        commit,
        {state: counts[state] for state in MemberState if counts[state]},
        ordered if has_cells else (),
        len(cells) <= _MAX_NAMED_CELLS,
    )


def describe_wave_limits(wave: Wave) -> str:
    """What a wave asks for and how far it may go, as a phrase."""
    parts = []
    if wave.approve:
        parts.append("begins once a person lets it")
    if wave.soak:
        parts.append(f"soak {format_duration(wave.soak)}")
    if wave.max_parallel is not None:
        parts.append(f"at most {wave.max_parallel:,} at once")
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


TARGETS_PER_PAGE = 100
_MOST_DIGITS = 7


@frozen
class TargetListQuery:
    """What an address asks for; `wave` 0 is every wave, and `page` counts from 1."""

    wave: int = 0
    state: str = ""
    page: int = 1

    @classmethod
    def from_parameters_leniently(cls, parameters: Mapping[str, str]) -> TargetListQuery:
        """The query of an address; what makes no sense there is as if it were left out."""
        state = parameters.get("state", "")
        states = {member_state.value for member_state in MemberState}
        return cls(
            _parse_number_or_zero(parameters.get("wave", "")),
            state if state in states else "",
            max(1, _parse_number_or_zero(parameters.get("page", ""))),
        )


@frozen
class TargetList:
    """A page of the list: some of the `matching_count` targets."""

    rollout: str
    query: TargetListQuery
    cells: Sequence[TargetCell]
    matching_count: int

    @property
    def page_count(self) -> int:
        return max(1, -(-self.matching_count // TARGETS_PER_PAGE))

    def build_path(
        self, *, page: int = 1, wave: int | None = None, state: str | None = None
    ) -> str:
        """The address of another page of the list, or of it with another wave or state."""
        shown_wave = self.query.wave if wave is None else wave
        return build_rollout_path(
            self.rollout,
            {
                "wave": str(shown_wave) if shown_wave else "",
                "state": self.query.state if state is None else state,
                "page": str(page) if page > 1 else "",
            },
        )


def build_target_list_page(view: RolloutView, query: TargetListQuery) -> TargetList:
    """The page that a query asks for; one behind the last is empty."""
    cells = filter_and_sort_cells(view, query.wave, query.state)
    first = (query.page - 1) * TARGETS_PER_PAGE
    page_cells = cells[first : first + TARGETS_PER_PAGE]
    return TargetList(view.summary.name, query, page_cells, len(cells))


def filter_and_sort_cells(view: RolloutView, wave: int, state: str) -> Sequence[TargetCell]:
    """The targets of a wave (0: of all) in a state ("": in any), who needs a person first."""
    order = list(MemberState)
    cells = [
        cell
        for cell in view.cells
        if state in {"", cell.state.value} and wave in {0, cell.row.wave}
    ]
    return sorted(cells, key=lambda cell: (order.index(cell.state), cell.row.wave, cell.name))


def _parse_number_or_zero(text: str) -> int:
    is_number = text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
    return int(text) if is_number else 0


MEMBER_STATE_STYLES: Mapping[MemberState, ConditionStyle] = {
    MemberState.FAILING: ConditionStyle(
        "failing", "bad", "✗", "It failed with the revision of the rollout."
    ),
    MemberState.REFUSED: ConditionStyle(
        "refused",
        "bad",
        "!",
        "Rows cannot be done, or nobody knows how a call ended: see its page.",
    ),
    MemberState.HELD: ConditionStyle(
        "held", "moved", "=", "Rows of its plan wait for a person's approval."
    ),
    MemberState.PAUSED: ConditionStyle(
        "paused", "moved", "‖", "There is something to do, and it is paused."
    ),
    MemberState.WAITING: ConditionStyle(
        "waiting", "git", "…", "It waits for a window, or for a verification elsewhere."
    ),
    MemberState.DRIFTED: ConditionStyle(
        "drifted",
        "moved",
        "≠",
        "Live objects are not as they were last applied: its soak begins anew.",
    ),
    MemberState.CHANGING: ConditionStyle(
        "changing", "git", "→", "It has the revision, and is to be looked at or is being applied."
    ),
    MemberState.SOAKING: ConditionStyle(
        "soaking", "git", "◔", "It looks good, and has to look good for longer."
    ),
    MemberState.NOT_YET: ConditionStyle(
        "not yet", "quiet", "·", "It keeps what it has until its turn comes."
    ),
    MemberState.SHOWN: ConditionStyle(
        "shown", "good", "✓", "It has shown all that its wave asks of it."
    ),
}
