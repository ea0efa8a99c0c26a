"""Which numbers `/metrics` has, in the text format of Prometheus; a registry of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from synapse_apply import __version__
from synapse_apply.controller.page.phrases import NEEDS_PERSON
from synapse_apply.controller.page.readable_store import iter_present_targets
from synapse_apply.controller.ports import (
    DURATION_BOUNDS,
    Durations,
    LoopHealth,
    TargetFilter,
)
from synapse_apply.controller.rows import (
    RolloutState,
    RunOutcome,
    RunVerb,
    SourceRow,
    TargetCondition,
)
from synapse_apply.controller.store.controller_store import ControllerStore

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "synapse_apply_"
_MAX_TARGETS_BY_NAME = 1000  # in each condition; the counts have all
# Which fields of a source, and of the health of the loop, are numbers, by what they mean.
_SOURCE_GAUGES = (
    ("source_fetched_timestamp_seconds", "The time of the last fetch.", "fetched_at"),
    ("source_fetch_failures", "Fetches that failed in a row.", "failures"),
    ("source_head_number", "How many heads were accepted.", "head_number"),
)
_LOOP_GAUGES = (
    ("loop_interval_seconds", "The longest planned time between two rounds.", "interval"),
    ("loop_round_age_seconds", "The time since the last round ended.", "round_age"),
    ("clock_offset_seconds", "How far this clock is ahead of the servers' clocks.", "clock_offset"),
)
_PLURALS = ((RunVerb.LOOK, "looks", "checks"), (RunVerb.APPLY, "applies", "applies"))
_BOUNDS = [*map(floatToGoString, DURATION_BOUNDS), "+Inf"]
# A value for each of some values of the labels.
_Samples = Iterable[tuple[Sequence[str], float]]


def render_metrics(store: ControllerStore, health: LoopHealth) -> bytes:
    """The metrics as they are now, read from the store."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_StoreCollector(store, health))
    return generate_latest(registry)


class _StoreCollector(Collector):
    """Reads the store at each scrape, so that no number is older than the store."""

    def __init__(self, store: ControllerStore, health: LoopHealth) -> None:
        self._store = store
        self._health = health

    def describe(self) -> list[Metric]:
        # Nothing is read when it is registered.
        return []

    def collect(self) -> Iterator[Metric]:
        sources = self._store.list_configured_sources()
        rollouts = self._store.list_rollouts()
        counts = self._target_counts(sources)
        yield _gauge("targets", "Targets by source and condition.", "source condition", counts)
        yield _gauge(
            "target_needs_person",
            "1 for each target that is failing, unknown, refused, held, paused or rolled back.",
            "source target condition",
            self._needing_person(),
        )
        held = [([source.name], self._held_rows(source)) for source in sources]
        yield _gauge("held_rows", "Rows that await approval.", "source", held)
        braked = Counter(
            target.name.source
            for target in self._store.list_restoring_targets()
            for one in target.restored
            if one.is_braked
        )
        fields = [([source.name], braked[source.name]) for source in sources]
        meaning = "Fields that are restored less and less often, or wait for a person."
        yield _gauge("braked_fields", meaning, "source", fields)
        for name, meaning, field in _SOURCE_GAUGES:
            values = [([source.name], getattr(source, field)) for source in sources]
            yield _gauge(name, meaning, "source", values)
        states = [
            ([row.source, row.name, state.value], state is row.state)
            for row in rollouts
            for state in RolloutState
        ]
        meaning = "1 for the state that each rollout is in."
        yield _gauge("rollouts", meaning, "source rollout state", states)
        waves = [([row.source, row.name], row.wave) for row in rollouts]
        meaning = "The open wave, or the next one."
        yield _gauge("rollout_wave", meaning, "source rollout", waves)
        yield _gauge(
            "rollout_wave_opened_timestamp_seconds",
            "When the open wave was opened; no value if no wave is open.",
            "source rollout",
            [
                ([row.source, row.name], row.wave_since)
                for row in rollouts
                if row.wave_since and not row.state.is_over
            ],
        )
        meaning = "Commit statuses and messages that are waiting or were refused."
        yield _gauge("unsent", meaning, "what state", self._unsent_counts())
        yield from _iter_loop_metrics(self._health)
        version = [([__version__], 1)]
        yield _gauge("build_info", "The controller's version.", "version", version)

    def _target_counts(self, sources: Sequence[SourceRow]) -> _Samples:
        for source in sources:
            counts = self._store.target_counts(source.name)
            for condition in TargetCondition:
                yield [source.name, condition.value], counts.get(condition, 0)

    def _needing_person(self) -> _Samples:
        for condition in sorted(NEEDS_PERSON, key=lambda c: c.value):
            page = self._store.target_page(TargetFilter(state=condition), 0, _MAX_TARGETS_BY_NAME)
            yield from (([*target.name, condition.value], 1) for target in page.targets)

    def _held_rows(self, source: SourceRow) -> int:
        targets = iter_present_targets(self._store, TargetFilter(source.name, TargetCondition.HELD))
        return sum(max(0, target.hold_count - len(target.applying)) for target in targets)

    def _unsent_counts(self) -> _Samples:
        statuses, messages = self._store.unsent()
        for what, rows in (("status", statuses), ("message", messages)):
            refused = sum(bool(row.refusal) for row in rows)
            yield from (([what, "refused"], refused), ([what, "waiting"], len(rows) - refused))


def _iter_loop_metrics(health: LoopHealth) -> Iterator[Metric]:
    for name, meaning, field in _LOOP_GAUGES:
        if (value := getattr(health, field)) is not None:
            yield _gauge(name, meaning, "", [([], value)])
    for verb, verbs, plural in _PLURALS:
        took = {one: health.durations.get((verb, one), Durations()) for one in RunOutcome}
        meaning = f"{plural.capitalize()} since the start, by outcome."
        counts = CounterMetricFamily(f"{_PREFIX}{verbs}", meaning, labels=["outcome"])
        meaning = f"How long {plural} took since the start, by outcome."
        name = f"{_PREFIX}{verb.value}_duration_seconds"
        histogram = HistogramMetricFamily(name, meaning, labels=["outcome"])
        for outcome, durations in took.items():
            counts.add_metric([outcome.value], durations.count)
            if durations.count:
                buckets = zip(_BOUNDS, accumulate(durations.buckets), strict=True)
                histogram.add_metric([outcome.value], [*buckets], durations.seconds)
        yield from (counts, histogram)
        name, meaning = f"{_PREFIX}{verb.value}_seconds", f"The total time that {plural} took."
        yield CounterMetricFamily(name, meaning, sum(one.seconds for one in took.values()))


def _gauge(name: str, meaning: str, labels: str, samples: _Samples) -> Metric:
    family = GaugeMetricFamily(f"{_PREFIX}{name}", meaning, labels=labels.split())
    for values, value in samples:
        family.add_metric(values, value)
    return family
