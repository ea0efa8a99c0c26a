"""Which numbers `/metrics` has, in the text format of Prometheus; a registry of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from synapse_apply import __version__
from synapse_apply.controller.page.phrases import NEEDS_PERSON
from synapse_apply.controller.page.readable_store import iter_present_targets
from synapse_apply.controller.ports import LoopHealth, TargetFilter
from synapse_apply.controller.rows import (
    RolloutRow,
    RolloutState,
    RunOutcome,
    SourceRow,
    TargetCondition,
)
from synapse_apply.controller.store.controller_store import ControllerStore

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "synapse_apply_"
_MAX_TARGETS_BY_NAME = 1000  # in each condition; the counts have all


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
        yield self._target_counts(sources)
        family = _build_empty_gauge(
            "target_needs_person",
            "1 for each target that is failing, unknown, refused, held or paused.",
            *("source", "target", "condition"),
        )
        for condition in sorted(NEEDS_PERSON, key=lambda c: c.value):
            page = self._store.read_page_of_present_targets(
                TargetFilter(state=condition), 0, _MAX_TARGETS_BY_NAME
            )
            for target in page.targets:
                family.add_metric([*target.name, condition.value], 1)
        yield family
        yield self._held_rows(sources)
        fetched = _build_empty_gauge(
            "source_fetched_timestamp_seconds", "The time of the last fetch.", "source"
        )
        failures = _build_empty_gauge(
            "source_fetch_failures", "Fetches that failed in a row.", "source"
        )
        heads = _build_empty_gauge("source_head_number", "How many heads were accepted.", "source")
        for source in sources:
            fetched.add_metric([source.name], source.fetched_at)
            failures.add_metric([source.name], source.failures)
            heads.add_metric([source.name], source.head_number)
        yield from (fetched, failures, heads)
        yield from _iter_rollout_metrics(self._store.list_begun_rollouts_even_ended())
        yield self._unsent_counts()
        yield from _iter_loop_metrics(self._health)
        build = _build_empty_gauge("build_info", "The version of the controller.", "version")
        build.add_metric([__version__], 1)
        yield build

    def _target_counts(self, sources: Sequence[SourceRow]) -> GaugeMetricFamily:
        family = _build_empty_gauge(
            "targets", "Targets by source and condition.", "source", "condition"
        )
        for source in sources:
            counts = self._store.count_present_targets_in_each_state(source.name)
            for condition in TargetCondition:
                family.add_metric([source.name, condition.value], counts.get(condition, 0))
        return family

    def _held_rows(self, sources: Sequence[SourceRow]) -> GaugeMetricFamily:
        family = _build_empty_gauge(
            "held_rows", "Rows that wait for a person, in held targets.", "source"
        )
        for source in sources:
            held_targets = TargetFilter(source.name, TargetCondition.HELD)
            targets = iter_present_targets(self._store, held_targets)
            counts = [max(0, target.hold_count - len(target.applying)) for target in targets]
            family.add_metric([source.name], sum(counts))
        return family

    def _unsent_counts(self) -> GaugeMetricFamily:
        family = _build_empty_gauge(
            "unsent", "Commit statuses and messages that wait or were refused.", "what", "state"
        )
        statuses, messages = self._store.list_unsent_and_refused_statuses_and_messages()
        for what, rows in (("status", statuses), ("message", messages)):
            refused = sum(bool(row.refusal) for row in rows)
            family.add_metric([what, "refused"], refused)
            family.add_metric([what, "waiting"], len(rows) - refused)
        return family


def _iter_rollout_metrics(rollouts: Sequence[RolloutRow]) -> Iterator[Metric]:
    states = _build_empty_gauge(
        "rollouts", "1 for the state that each rollout is in.", "source", "rollout", "state"
    )
    waves = _build_empty_gauge(
        "rollout_wave", "The wave that is open, or to be begun.", "source", "rollout"
    )
    opened = _build_empty_gauge(
        "rollout_wave_opened_timestamp_seconds",
        "When the open wave was opened; none where no wave is open.",
        *("source", "rollout"),
    )
    for row in rollouts:
        for state in RolloutState:
            states.add_metric([row.source, row.name, state.value], state is row.state)
        waves.add_metric([row.source, row.name], row.wave)
        if row.wave_since and not row.state.is_over:
            opened.add_metric([row.source, row.name], row.wave_since)
    yield from (states, waves, opened)


def _iter_loop_metrics(health: LoopHealth) -> Iterator[Metric]:
    interval = _build_empty_gauge(
        "loop_interval_seconds", "The longest planned time between two rounds."
    )
    interval.add_metric([], health.interval)
    yield interval
    if health.round_age is not None:
        age = _build_empty_gauge("loop_round_age_seconds", "The time since the last round ended.")
        age.add_metric([], health.round_age)
        yield age
    if health.clock_offset is not None:
        offset = _build_empty_gauge(
            "clock_offset_seconds", "How far the clock is ahead of the servers'."
        )
        offset.add_metric([], health.clock_offset)
        yield offset
    looks = CounterMetricFamily(
        f"{_PREFIX}looks", "Looks since the start, by what they found.", labels=["outcome"]
    )
    for outcome in RunOutcome:
        looks.add_metric([outcome.value], health.look_counts.get(outcome, 0))
    seconds = CounterMetricFamily(f"{_PREFIX}look_seconds", "The time that all looks took.")
    seconds.add_metric([], health.look_seconds)
    applies = CounterMetricFamily(
        f"{_PREFIX}applies", "Applies since the start, by what became of them.", labels=["outcome"]
    )
    for outcome in RunOutcome:
        applies.add_metric([outcome.value], health.apply_counts.get(outcome, 0))
    apply_seconds = CounterMetricFamily(
        f"{_PREFIX}apply_seconds", "The time that all applies took."
    )
    apply_seconds.add_metric([], health.apply_seconds)
    yield from (looks, seconds, applies, apply_seconds)


def _build_empty_gauge(name: str, meaning: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_PREFIX}{name}", meaning, labels=labels)
