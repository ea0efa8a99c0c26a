"""What of a plan's calls was tried on the backend: sent to be checked and not to be acted on."""

from __future__ import annotations

from synapse_apply.model.frozen import frozen


@frozen
class DryRunCounts:
    """Counts of calls: those the backend answered, of these the refused, and those not tried."""

    tried: int = 0
    refused: int = 0
    untried: int = 0

    @property
    def total_calls(self) -> int:
        """All that the plan would make."""
        return self.tried + self.untried
