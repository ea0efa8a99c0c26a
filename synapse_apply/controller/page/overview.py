"""What the overview and a source's page show: who needs a person and why, then every target."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup

from synapse_apply.controller.page.addresses import build_overview_path
from synapse_apply.controller.page.phrases import NEEDS_PERSON, NEEDS_REPAIR, draw_condition_bar
from synapse_apply.controller.page.readable_store import ReadableStore, RestrictedStore
from synapse_apply.controller.page.rollout_views import RolloutSummary, list_rollout_summaries
from synapse_apply.controller.ports import TargetFilter, TargetFindings
from synapse_apply.controller.rows import (
    RevisionRow,
    RunOutcome,
    SourceRow,
    TargetCondition,
    TargetName,
    TargetRow,
)
from synapse_apply.controller.settings import Controller
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.frozen import frozen
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.views.sanitize import sanitize_url

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


_MAX_TROUBLES, _SHOWN_TARGETS = 8, 6
_OWN = "..."
# A target has a url and a lineage of its own.
_URLS_AND_LINEAGES = re.compile(
    r"https?://[^\s`'\"<>()]+|\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b"
)


@frozen
class TargetTrouble:
    """Targets that need a person for the same reason: the first of them, and how many there are.

    `finding` is what the newest run of the first one found first, None where it is the plan alone.
    `is_alike` says that the others have other words for it: their own name, url or lineage.
    """

    targets: Sequence[TargetRow]
    count: int
    finding: Diagnostic | None
    is_alike: bool


def list_target_troubles(store: RestrictedStore) -> list[TargetTrouble]:
    """Of all targets that need a person: of each condition the commonest cause, then the others."""
    groups: dict[tuple[TargetCondition, str], list[TargetFindings]] = {}
    for state in TargetCondition:
        if state in NEEDS_PERSON:
            for row in store.newest_findings(TargetFilter(state=state)):
                # What the run found first, without what is the target's own in it.
                name = row.name.target
                variable = name.replace("-", "_")
                text = _URLS_AND_LINEAGES.sub(_OWN, _read_cause(row))
                for word in filter(None, (name, variable, variable.upper(), row.backend_host)):
                    masked, *rest = text.split(word)
                    for piece in rest:
                        is_part = masked[-1:].isalnum() or piece[:1].isalnum()
                        masked += (word if is_part else _OWN) + piece
                    text = masked
                groups.setdefault((state, text), []).append(row)
    commonest_first = sorted(groups, key=lambda key: -len(groups[key]))
    first_of_state = {key[0]: key for key in reversed(commonest_first)}
    chosen = sorted(commonest_first, key=lambda key: key != first_of_state[key[0]])[:_MAX_TROUBLES]
    order = list(TargetCondition)
    chosen.sort(key=lambda key: order.index(key[0]))
    return [_build_trouble(store, groups[key]) for key in chosen]


def _build_trouble(store: RestrictedStore, rows: Sequence[TargetFindings]) -> TargetTrouble:
    names = [row.name for row in rows[:_SHOWN_TARGETS]]
    targets = [row for name in names if (row := store.find_target_even_if_gone(name)) is not None]
    is_alike = len({_read_cause(row) for row in rows}) > 1
    return TargetTrouble(targets, len(rows), _first_finding(rows[0]), is_alike)


def _first_finding(row: TargetFindings) -> Diagnostic | None:
    errors = [finding for finding in row.findings if finding.is_error]
    return next(iter(errors or row.findings), None)


def _read_cause(row: TargetFindings) -> str:
    finding = _first_finding(row)
    return f"{finding.summary}\n{finding.detail}\n{finding.hint}" if finding else ""


_SHOWN_REVISIONS = 50


@frozen
class SourceTrouble:
    """Why a source needs a person."""

    source: SourceRow
    finding: Diagnostic


@frozen
class SourceView:
    """The contents of a source's page; `url` and `ref` are "" where it is not configured."""

    source: SourceRow
    troubles: Sequence[SourceTrouble]
    revisions: Sequence[RevisionRow]
    url: str = ""
    ref: str = ""


def list_source_troubles(
    store: ReadableStore, sources: Sequence[SourceRow]
) -> Sequence[SourceTrouble]:
    """What is wrong with the sources themselves: fetches, refs that went back, broken heads."""
    return [trouble for source in sources for trouble in _iter_source_troubles(store, source)]


def _iter_source_troubles(store: ReadableStore, source: SourceRow) -> Iterator[SourceTrouble]:
    if source.finding is not None:
        yield SourceTrouble(source, source.finding)
    revision = (
        store.find_newest_revision_of_commit(source.name, source.head) if source.head else None
    )
    if revision is not None and revision.finding is not None:
        yield SourceTrouble(source, revision.finding)


def read_source_view_or_none(
    store: ReadableStore, name: str, settings: Controller
) -> SourceView | None:
    """Read what a source's page shows; None for an unknown source."""
    source = next((row for row in store.list_configured_sources() if row.name == name), None)
    if source is None:
        return None
    configured = settings.sources.get(name)
    return SourceView(
        source,
        list_source_troubles(store, [source]),
        store.list_newest_revisions(name, _SHOWN_REVISIONS),
        sanitize_url(configured.url) if configured else "",
        configured.ref if configured else "",
    )
