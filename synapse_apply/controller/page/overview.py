"""What the overview, a source's page and the audit show: who needs a person, then all there is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from synapse_apply.controller.page.addresses import read_number, with_query
from synapse_apply.controller.page.api import source_findings
from synapse_apply.controller.page.phrases import NEEDS_PERSON, NEEDS_REPAIR, draw_condition_bar
from synapse_apply.controller.page.readable_store import RestrictedStore
from synapse_apply.controller.page.rollout_views import list_rollout_summaries
from synapse_apply.controller.page.visitor import Visitor
from synapse_apply.controller.ports import AuditFilter, TargetFilter, TargetOrder
from synapse_apply.controller.rows import TargetCondition, TargetName, describe_first_checks
from synapse_apply.controller.rules.permits import compute_window_state, is_pause_active
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.frozen import frozen
from synapse_apply.model.phrases import format_count_and_noun
from synapse_apply.views.sanitize import sanitize_url

TARGETS_PER_PAGE, ROWS_PER_PAGE = 100, 100
_MAX_FILTER_LENGTH = 200
_LAST_PAGE = 1_000_000
_MOST_DIGITS_OF_ROW = 15
_RUNS_IN_SPARK_LINE = 16
_SHOWN_REVISIONS = 50
_SHOWN_STOPS = 50
# An address may have any other.
_SHOWN_LABELS = 200


@frozen
class OverviewQuery:
    """What of the overview an address asks for; `page` counts from 1.

    What makes no sense there is as if it were left out.
    """

    source: str
    state: TargetCondition | None
    text: str
    page: int
    label: str
    order: TargetOrder

    @property
    def has_filter(self) -> bool:
        return bool(self.source or self.state or self.text or self.label)

    def build_path(self, *, page: int = 1, state: TargetCondition | None = None) -> str:
        """The address of another page of it, or of it with another state (page 1)."""
        shown_state = state or self.state
        return with_query(
            "/",
            {
                "source": self.source,
                "state": shown_state.value if shown_state else "",
                "q": self.text,
                "label": self.label,
                "sort": self.order.value if self.order is not TargetOrder.CONDITION else "",
                "page": page if page > 1 else "",
            },
        )


def read_overview(visitor: Visitor) -> Mapping[str, Any]:
    """What the overview shows; a page behind the last one is empty.

    `counts` are those of the chosen source, or of all; `rollouts` those that are not over.
    """
    store, parameters = visitor.store, visitor.parameters
    query = OverviewQuery(
        parameters.get("source", "")[:_MAX_FILTER_LENGTH],
        next((c for c in TargetCondition if c.value == parameters.get("state")), None),
        parameters.get("q", "").strip()[:_MAX_FILTER_LENGTH],
        max(1, read_number(parameters, "page", len(f"{_LAST_PAGE}")) or 0),
        parameters.get("label", "").strip()[:_MAX_FILTER_LENGTH],
        next((o for o in TargetOrder if o.value == parameters.get("sort")), TargetOrder.CONDITION),
    )
    labels = {
        name: {f"{key}={value}" for key, value in of_target.items()}
        for name, of_target in store.list_labels().items()
    }
    chosen = tuple(str(name) for name, of_target in labels.items() if query.label in of_target)
    sources = store.list_configured_sources()
    counts = store.target_counts(query.source)
    first = (query.page - 1) * TARGETS_PER_PAGE
    target_filter = TargetFilter(
        query.source,
        query.state,
        query.text,
        names=chosen if query.label else None,
        order=query.order,
    )
    page = store.target_page(target_filter, first, TARGETS_PER_PAGE)
    names = [target.name for target in page.targets]
    # The head of each source that has one.
    heads = (store.find_revision(row.name, row.head) for row in sources if row.head)
    is_first_view = query.page == 1 and not query.has_filter
    troubles = list_target_troubles(store) if is_first_view else []
    source_troubles = source_findings(store, sources) if is_first_view else []
    summaries = list_rollout_summaries(visitor) if is_first_view else []
    rollouts = [rollout for rollout in summaries if rollout.is_under_way]
    needing = [rollout for rollout in rollouts if rollout.needs_person]
    needs_person_count = sum(counts.get(condition, 0) for condition in NEEDS_PERSON)
    tones = {"bad" if source_troubles else choose_tone(counts)}
    tones |= {rollout.style.tone for rollout in needing}
    page_count = max(1, -(-page.matching_count // TARGETS_PER_PAGE))
    # Which of the matching targets are shown.
    range_text = f"{first + 1:,} to {first + len(names):,} of {page.matching_count:,}"
    if not names:
        range_text = f"0 of {page.matching_count:,}"
    elif page_count == 1:
        range_text = format_count_and_noun(page.matching_count, "target")
    view = {
        "headline": _headline(counts, needs_person_count, len(source_troubles), len(needing)),
        "tone": next(tone for tone in ("bad", "moved", "good", "plain") if tone in tones),
        "first_checks": describe_first_checks(
            counts.get(TargetCondition.NOT_LOOKED_AT, 0), sum(counts.values())
        ),
        "bar": draw_condition_bar(counts),
        "source_names": [source.name for source in sources],
        "labels": sorted(frozenset().union(*labels.values()))[:_SHOWN_LABELS],
        "orders": TargetOrder,
        "counts": counts,
        "has_held_targets": bool(counts.get(TargetCondition.HELD)),
        "targets": page.targets,
        "matching_count": page.matching_count,
        "page_count": page_count,
        "range_text": range_text,
        "outcomes": store.newest_outcomes(names, _RUNS_IN_SPARK_LINE),
        "heads": {source.name: source.head for source in sources},
        "head_revisions": {revision.source: revision for revision in heads if revision},
        "troubles": troubles,
        "hidden_needing_person": needs_person_count - sum(t["count"] for t in troubles),
        "source_troubles": source_troubles,
        "undelivered": _newest_refused(store) if is_first_view else [],
        "sources": sources,
        "rollouts": rollouts,
        "stops": list_stops(visitor) if is_first_view else (),
    }
    return {"view": view, "query": query}


@frozen
class Stop:
    """A pause that holds now, or the windows of a rule: when some targets may not be changed.

    `until` is a wall-clock time, None for one that is not foreseen; `who` is an identity, "" for
    controller.yaml.
    """

    scope: str
    word: str
    until: float | None
    who: str = ""
    reason: str = ""

    @property
    def tone(self) -> str:
        return {"paused": "moved", "window open": "good"}.get(self.word, "git")


def list_stops(visitor: Visitor) -> Sequence[Stop]:
    """The first pauses and windows, by when they end or open next.

    The rules of a source are for those who may read all of it: a pattern may name a target.
    """
    now, stops = visitor.now, list[Stop]()
    for pause in visitor.store.list_pauses():
        if is_pause_active(pause, now):
            stops.append(Stop(pause.scope, "paused", pause.until, pause.who, pause.reason))
    for source in visitor.settings.sources.values():
        for rule in source.rules if visitor.store.can_read_all(source.name) else ():
            scope, fixed = f"{source.name}/{rule.pattern}", rule.pause
            if fixed is not None and (fixed.until is None or now < fixed.until):
                stops.append(Stop(scope, "paused", fixed.until, reason=fixed.reason))
            if rule.windows:
                window = compute_window_state(rule.windows, now)
                word = "window open" if window.is_open else "outside its windows"
                stops.append(Stop(scope, word, window.until))
    stops.sort(key=lambda stop: (stop.until is None, stop.until or 0.0, stop.scope))
    return stops[:_SHOWN_STOPS]


def _headline(
    counts: Mapping[TargetCondition, int], needing: int, sources: int, rollouts: int
) -> str:
    """The one sentence at the top; how many targets, sources and rollouts need a person."""
    total, in_sync = sum(counts.values()), counts.get(TargetCondition.IN_SYNC, 0)
    if not total:
        return "No targets yet"
    targets = "1 target" if total == 1 else f"{total:,} targets"
    subjects = (
        (needing, f"{needing:,} of {targets}"),
        (sources, format_count_and_noun(sources, "source")),
        (rollouts, format_count_and_noun(rollouts, "rollout")),
    )
    for count, words in subjects:
        if count:
            return f"{words} {'needs' if count == 1 else 'need'} attention"
    if in_sync == total:
        return "The target is in sync" if in_sync == 1 else f"All {targets} are in sync"
    return f"{in_sync:,} of {targets} in sync"


def choose_tone(counts: Mapping[TargetCondition, int]) -> str:
    """Bad where something is wrong, moved where a person decides, good where all are in sync."""
    if any(counts.get(condition, 0) for condition in NEEDS_REPAIR):
        return "bad"
    if any(counts.get(condition, 0) for condition in NEEDS_PERSON):
        return "moved"
    in_sync = counts.get(TargetCondition.IN_SYNC, 0)
    return "good" if in_sync and in_sync == sum(counts.values()) else "plain"


def _newest_refused(store: RestrictedStore) -> Sequence[tuple[str, str, str]]:
    """The newest status of each source, and message of each channel, that will never be taken.

    What it is, of which source or channel, and why.
    """
    statuses, messages = store.unsent()
    refused = {
        **{("commit status", row.source): row.refusal for row in statuses if row.refusal},
        **{("message", row.channel): row.refusal for row in messages if row.refusal},
    }
    return [(what, name, refusal) for (what, name), refusal in refused.items()]


_MAX_TROUBLES, _SHOWN_TARGETS = 8, 6
_OWN = "..."
# A target has a url and a lineage of its own.
_URLS_AND_LINEAGES = re.compile(
    r"https?://[^\s`'\"<>()]+|\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b"
)


def list_target_troubles(store: RestrictedStore) -> Sequence[Mapping[str, Any]]:
    """Of all targets that need a person: of each condition the commonest cause, then the others.

    Of each cause the first targets, and how many there are. `finding` is what the newest run of the
    first one found first, None where it is the plan alone. `is_alike` says that the others have
    other words for it: their own name, url or lineage.
    """
    groups: dict[tuple[TargetCondition, str], list[tuple[TargetName, Diagnostic | None]]] = {}
    for state in TargetCondition:
        for row in (
            store.newest_findings(TargetFilter(state=state)) if state in NEEDS_PERSON else ()
        ):
            errors = [finding for finding in row.findings if finding.is_error]
            finding = next(iter(errors or row.findings), None)
            # Without what is the target's own in it.
            name = row.name.target
            variable = name.replace("-", "_")
            text = _URLS_AND_LINEAGES.sub(_OWN, _words_of(finding))
            for word in filter(None, (name, variable, variable.upper(), row.backend_host)):
                masked, *rest = text.split(word)
                for piece in rest:
                    is_part = masked[-1:].isalnum() or piece[:1].isalnum()
                    masked += (word if is_part else _OWN) + piece
                text = masked
            groups.setdefault((state, text), []).append((row.name, finding))
    commonest_first = sorted(groups, key=lambda key: -len(groups[key]))
    first_of_state = {key[0]: key for key in reversed(commonest_first)}
    chosen = sorted(commonest_first, key=lambda key: key != first_of_state[key[0]])[:_MAX_TROUBLES]
    chosen.sort(key=lambda key: [*TargetCondition].index(key[0]))
    troubles = []
    for alike in map(groups.__getitem__, chosen):
        found = [store.find_target(name) for name, _ in alike[:_SHOWN_TARGETS]]
        trouble = {
            "targets": [row for row in found if row is not None],
            "count": len(alike),
            "finding": alike[0][1],
            "is_alike": len({_words_of(finding) for _, finding in alike}) > 1,
        }
        troubles.append(trouble)
    return troubles


def _words_of(finding: Diagnostic | None) -> str:
    return f"{finding.summary}\n{finding.detail}\n{finding.hint}" if finding else ""


def read_source(visitor: Visitor) -> Mapping[str, Any] | None:
    """What a source's page shows; None for an unknown source.

    `url` and `ref` are "" where it is not configured.
    """
    store, name = visitor.store, visitor.request.path_params["source"]
    source = next((row for row in store.list_configured_sources() if row.name == name), None)
    if source is None:
        return None
    configured = visitor.settings.sources.get(name)
    view = {
        "source": source,
        "troubles": [finding for _, finding in source_findings(store, [source])],
        "revisions": store.newest_revisions(name, _SHOWN_REVISIONS),
        "url": sanitize_url(configured.url) if configured else "",
        "ref": configured.ref if configured else "",
    }
    rollouts = [row for row in list_rollout_summaries(visitor) if row.source == name]
    return {"view": view, "rollouts": rollouts}


def read_audit(visitor: Visitor) -> Mapping[str, Any]:
    """One page of the audit, newest first; `path_to_older` is "" where no older rows follow.

    `before` of the address is the number below which rows are.
    """
    parameters = visitor.parameters
    who, text = (parameters.get(n, "").strip()[:_MAX_FILTER_LENGTH] for n in ("who", "q"))
    before = read_number(parameters, "before", _MOST_DIGITS_OF_ROW)
    rows = visitor.store.audit_rows(ROWS_PER_PAGE + 1, AuditFilter(who, text, before=before))
    shown = rows[:ROWS_PER_PAGE]
    older = {"who": who, "q": text, "before": shown[-1].number if shown else 0}
    view = {
        "query": {"who": who, "text": text, "has_filter": bool(who or text)},
        "rows": shown,
        "path_to_older": with_query("/audit", older) if len(rows) > len(shown) else "",
    }
    return {"view": view}
