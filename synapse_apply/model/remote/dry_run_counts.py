"""How many of a plan's calls the backend has checked by dry runs."""

from __future__ import annotations

from synapse_apply.model.frozen import frozen


@frozen
class DryRunCounts:
    """Counts of calls: answered by the backend (`tried`), refused among these, and not tried."""

    tried: int = 0
    refused: int = 0
    untried: int = 0

    @property
    def total_calls(self) -> int:
        """The number of all calls of the plan."""
        return self.tried + self.untried
