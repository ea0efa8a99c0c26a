"""What the pages of rollouts show, and what other pages show of one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from synapse_apply.controller.page.entry.readable_store import RestrictedStore
from synapse_apply.controller.page.phrases import ConditionStyle
from synapse_apply.controller.page.rollouts.wave_views import TargetCell, WaveView, build_wave_view
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
)
from synapse_apply.controller.settings import Controller, Rollout, Wave
from synapse_apply.controller.store_ports import TargetFilter
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
