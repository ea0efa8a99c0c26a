"""Tell which readings are above a threshold."""

from collections.abc import Iterable


def run(readings: Iterable[float], threshold: float = 0.5) -> list[int]:
    """The places of the readings that count as defects."""
    return [place for place, reading in enumerate(readings) if reading > threshold]
