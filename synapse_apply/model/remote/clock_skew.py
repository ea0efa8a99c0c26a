"""How much the server's clock and this machine's differ."""

from __future__ import annotations

from synapse_apply.model.frozen import frozen


@frozen
class ClockSkew:
    """Bounds of the server's clock minus this machine's, in seconds."""

    low: float
    high: float

    @property
    def min_difference(self) -> float:
        """By how many seconds they differ at least; 0 where they may agree."""
        return max(0.0, self.low, -self.high)

    @property
    def local_clock_description(self) -> str:
        """How this machine's clock compares, as the end of a sentence."""
        if not self.min_difference:
            return "agrees with the server's"
        direction = "behind" if self.low > 0 else "ahead of"
        return f"is {round(abs(self.low + self.high) / 2)} s {direction} the server's"
