"""What the overview shows: who needs a person, then every target, by filters in the address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

from synapse_apply.controller.page.addresses import build_overview_path
from synapse_apply.controller.page.causes import TargetTrouble, list_target_troubles
from synapse_apply.controller.page.charts import draw_condition_bar
from synapse_apply.controller.page.entry.readable_store import RestrictedStore
from synapse_apply.controller.page.phrases import NEEDS_PERSON, NEEDS_REPAIR
from synapse_apply.controller.page.rollouts.rollout_views import (
    RolloutSummary,
    list_rollout_summaries,
)
from synapse_apply.controller.page.sources import SourceTrouble, list_source_troubles
from synapse_apply.controller.rows import (
    RevisionRow,
    RunOutcome,
    SourceRow,
    TargetCondition,
    TargetName,
    TargetRow,
)
from synapse_apply.controller.settings import Controller
from synapse_apply.controller.store_ports import ReadableStore, TargetFilter
from synapse_apply.model.frozen import frozen
from synapse_apply.model.phrases import format_count_and_noun

TARGETS_PER_PAGE = 100
_MAX_FILTER_LENGTH = 200
_LAST_PAGE = 1_000_000
_RUNS_IN_SPARK_LINE = 16


@frozen
class OverviewQuery:
    """What of the overview an address asks for; `page` counts from 1."""

    source: str = ""
    state: TargetCondition | None = None
    text: str = ""
    page: int = 1

    @classmethod
    def from_parameters_leniently(cls, parameters: Mapping[str, str]) -> OverviewQuery:
        """The query of an address; what makes no sense there is as if it were left out."""
        page = parameters.get("page", "1")
        state = parameters.get("state", "")
        is_number = page.isascii() and page.isdigit() and len(page) <= len(str(_LAST_PAGE))
        return cls(
            parameters.get("source", "")[:_MAX_FILTER_LENGTH],
            next((c for c in TargetCondition if c.value == state), None),
            parameters.get("q", "").strip()[:_MAX_FILTER_LENGTH],
            max(1, int(page)) if is_number else 1,
        )

    @property
    def has_filter(self) -> bool:
        return bool(self.source or self.state or self.text)

    def build_path(self, *, page: int = 1, state: TargetCondition | None = None) -> str:
        """The address of another page of it, or of it with another state (page 1)."""
        shown_state = state or self.state
        return build_overview_path(
            {
                "source": self.source,
                "state": shown_state.value if shown_state else "",
                "q": self.text,
                "page": str(page) if page > 1 else "",
            }
        )


class Undelivered(NamedTuple):
    """What a receiver will never take: of which source or channel, and why."""

    what: str
    name: str
    refusal: str


@frozen
class Overview:
    """The contents of the overview. `counts` are those of the chosen source, or of all."""

    query: OverviewQuery
    source_names: Sequence[str]
    counts: Mapping[TargetCondition, int]
    targets: Sequence[TargetRow]
    matching_count: int
    outcomes: Mapping[TargetName, Sequence[RunOutcome]]
    heads: Mapping[str, str]
    head_revisions: Mapping[str, RevisionRow]
    troubles: Sequence[TargetTrouble]
    source_troubles: Sequence[SourceTrouble]
    undelivered: Sequence[Undelivered]
    sources: Sequence[SourceRow]
    rollouts: Sequence[RolloutSummary] = ()
    """Those that are not over."""

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def needs_person_count(self) -> int:
        return sum(self.counts.get(condition, 0) for condition in NEEDS_PERSON)

    @property
    def hidden_needing_person(self) -> int:
        return self.needs_person_count - sum(trouble.count for trouble in self.troubles)

    @property
    def headline(self) -> str:
        """The one sentence at the top."""
        if not self.total:
            return "No targets yet"
        in_sync = self.counts.get(TargetCondition.IN_SYNC, 0)
        targets = "1 target" if self.total == 1 else f"{self.total:,} targets"
        if self.needs_person_count:
            verb = "needs" if self.needs_person_count == 1 else "need"
            return f"{self.needs_person_count:,} of {targets} {verb} a person"
        if self.source_troubles:
            verb = "needs" if len(self.source_troubles) == 1 else "need"
            return f"{format_count_and_noun(len(self.source_troubles), 'source')} {verb} a person"
        if rollout_count := sum(rollout.needs_person for rollout in self.rollouts):
            verb = "needs" if rollout_count == 1 else "need"
            return f"{format_count_and_noun(rollout_count, 'rollout')} {verb} a person"
        if in_sync == self.total:
            return "The one target is in sync" if in_sync == 1 else f"All {targets} are in sync"
        return f"{in_sync:,} of {targets} in sync"

    @property
    def tone(self) -> str:
        """The class of controller.css for the whole."""
        tones = {"bad" if self.source_troubles else choose_tone(self.counts)}
        tones |= {rollout.style.tone for rollout in self.rollouts if rollout.needs_person}
        return next(tone for tone in ("bad", "moved", "good", "plain") if tone in tones)

    @property
    def bar(self) -> Markup:
        return draw_condition_bar(self.counts)

    @property
    def page_count(self) -> int:
        return max(1, -(-self.matching_count // TARGETS_PER_PAGE))

    @property
    def range_text(self) -> str:
        """Which of the matching targets are shown ("101 to 200 of 10,000")."""
        first = (self.query.page - 1) * TARGETS_PER_PAGE
        if not self.targets:
            return f"0 of {self.matching_count:,}"
        if self.page_count == 1:
            return format_count_and_noun(self.matching_count, "target")
        return f"{first + 1:,} to {first + len(self.targets):,} of {self.matching_count:,}"


def choose_tone(counts: Mapping[TargetCondition, int]) -> str:
    """Bad where something is wrong, moved where a person decides, good where all are in sync."""
    if any(counts.get(condition, 0) for condition in NEEDS_REPAIR):
        return "bad"
    if any(counts.get(condition, 0) for condition in NEEDS_PERSON):
        return "moved"
    in_sync = counts.get(TargetCondition.IN_SYNC, 0)
    return "good" if in_sync and in_sync == sum(counts.values()) else "plain"


def read_overview(store: RestrictedStore, query: OverviewQuery, settings: Controller) -> Overview:
    """Read what the overview shows; a page behind the last one is empty."""
    sources = store.list_configured_sources()
    target_filter = TargetFilter(query.source, query.state, query.text)
    page = store.read_page_of_present_targets(
        target_filter, (query.page - 1) * TARGETS_PER_PAGE, TARGETS_PER_PAGE
    )
    is_first_view = query.page == 1 and not query.has_filter
    # The head of each source that has one.
    revisions = (
        store.find_newest_revision_of_commit(row.name, row.head) for row in sources if row.head
    )
    return Overview(
        query,
        [source.name for source in sources],
        store.count_present_targets_in_each_state(query.source),
        page.targets,
        page.matching_count,
        store.list_newest_outcomes_oldest_first(
            [target.name for target in page.targets], _RUNS_IN_SPARK_LINE
        ),
        {source.name: source.head for source in sources},
        {revision.source: revision for revision in revisions if revision is not None},
        list_target_troubles(store) if is_first_view else [],
        list_source_troubles(store, sources) if is_first_view else [],
        _newest_refused(store) if is_first_view else [],
        sources,
        [row for row in list_rollout_summaries(store, settings) if row.is_under_way]
        if is_first_view
        else [],
    )


def _newest_refused(store: ReadableStore) -> Sequence[Undelivered]:
    """The newest status of each source, and message of each channel, that was refused."""
    statuses, messages = store.list_unsent_and_refused_statuses_and_messages()
    refused = {
        **{("commit status", row.source): row.refusal for row in statuses if row.refusal},
        **{("message", row.channel): row.refusal for row in messages if row.refusal},
    }
    return [Undelivered(what, name, refusal) for (what, name), refusal in refused.items()]
