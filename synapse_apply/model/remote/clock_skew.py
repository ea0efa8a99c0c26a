"""How far two clocks are apart."""

from __future__ import annotations

from synapse_apply.model.frozen import frozen


@frozen
class ClockSkew:
    """The server's clock less this machine's lies between `low` and `high`, in seconds."""

    low: float
    high: float

    @property
    def min_difference(self) -> float:
        """By how many seconds they differ at least; 0 where they may be the same."""
        return max(0.0, self.low, -self.high)

    @property
    def local_clock_description(self) -> str:
        """Where this machine's clock stands, as the end of a sentence."""
        if not self.min_difference:
            return "agrees with the server's"
        direction = "behind" if self.low > 0 else "ahead of"
        return f"is {round(abs(self.low + self.high) / 2)} s {direction} the server's"
