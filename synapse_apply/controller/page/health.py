"""When the controller is ready: its store answers, its clock is sane and its loop goes round."""

from __future__ import annotations

from collections.abc import Iterator

from synapse_apply.controller.ports import LoopHealth
from synapse_apply.controller.store_ports import ReadableStore

MAX_CLOCK_OFFSET = 60.0  # seconds; a token's signature and a window are wrong by more
_MIN_ROUND_AGE = 30.0  # seconds; short intervals leave a busy machine no time


def list_reasons_not_ready(store: ReadableStore, health: LoopHealth) -> list[str]:
    """Why the controller is not ready, a sentence each; nothing where it is."""
    return [*_not_ready(store, health)]


def _not_ready(store: ReadableStore, health: LoopHealth) -> Iterator[str]:
    try:
        store.list_configured_sources()
    except Exception:  # noqa: BLE001 - whatever a store raises: it does not answer
        yield "the store does not answer"
    if health.round_age is None:
        yield "the loop has not made its first round"
    elif health.round_age > max(2 * health.interval, _MIN_ROUND_AGE):
        yield f"the loop made its last round {health.round_age:.0f} s ago"
    if health.clock_offset is not None and abs(health.clock_offset) > MAX_CLOCK_OFFSET:
        yield f"the clock is {abs(health.clock_offset):.0f} s away from that of the servers"
