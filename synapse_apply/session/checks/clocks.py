"""Whether this machine's clock can be relied on, by that of the server."""

from __future__ import annotations

from synapse_apply.model.checkup import Row
from synapse_apply.model.diagnostic import Diagnostic, error, warning
from synapse_apply.model.project import Target
from synapse_apply.model.skew import Skew

# What no network explains, and no machine that asks a time server shows.
NOTABLE = 5.0


def clock_row(skew: Skew | None, target: Target) -> Row:
    """One row about the clock."""
    if skew is None:
        return Row.unchecked("clock", "no answer told the server's time")
    found = clock_findings(skew, target)
    if found:
        return Row.of("clock", found[0])
    return Row.ok("clock", f"this machine's clock {skew.here}")


def clock_findings(skew: Skew | None, target: Target) -> tuple[Diagnostic, ...]:
    """A warning from NOTABLE seconds on, an error above `settle_after`; only what is certain.

    A lost create is believed absent once it is older than its deadline and `settle_after`, and
    its age is told by the clocks of whatever machines share the state. A clock that is wrong by
    more than that margin can make it look old too early, and the object be made twice. The lease
    of the lock is no measure: it is kept by clocks that only count, never by the time of day.
    """
    if skew is None or skew.certain <= NOTABLE:
        return ()
    apart = f"This machine's clock {skew.here}."
    mend = "Set the clock (`timedatectl` tells whether it follows a time server)."
    if skew.certain <= target.settle_after:
        return (warning("The clocks do not agree", apart, mend),)
    return (
        error(
            "The clocks are too far apart",
            f"{apart} A create whose answer was lost could be believed undone too early, and be "
            f"done twice: settle_after of the target allows for {target.settle_after:g} s.",
            f"{mend} If it is the server's that is wrong, raise settle_after of the target.",
        ),
    )
