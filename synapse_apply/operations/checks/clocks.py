"""Whether this machine's clock can be relied on, by that of the server."""

from __future__ import annotations

from synapse_apply.model.checkup import CheckResult
from synapse_apply.model.diagnostic import Diagnostic, error_finding, warning_finding
from synapse_apply.model.project import Target
from synapse_apply.model.remote.clock_skew import ClockSkew

# What no network explains, and no machine that asks a time server shows.
NOTABLE_SECONDS = 5.0


def build_clock_result(skew: ClockSkew | None, target: Target) -> CheckResult:
    """One row about the clock."""
    if skew is None:
        return CheckResult.build_unchecked("clock", "no answer told the server's time")
    findings = build_clock_findings(skew, target)
    if findings:
        return CheckResult.from_finding("clock", findings[0])
    return CheckResult.build_ok("clock", f"this machine's clock {skew.local_clock_description}")


def build_clock_findings(skew: ClockSkew | None, target: Target) -> tuple[Diagnostic, ...]:
    """A warning from NOTABLE seconds on, an error above `settle_after`; only what is certain.

    A lost create is believed absent once it is older than its deadline and `settle_after`, and
    its age is told by the clocks of whatever machines share the state. A clock that is wrong by
    more than that margin can make it look old too early, and the object be made twice. The lease
    of the lock is no measure: it is kept by clocks that only count, never by the time of day.
    """
    if skew is None or skew.min_difference <= NOTABLE_SECONDS:
        return ()
    difference_text = f"This machine's clock {skew.local_clock_description}."
    hint = "Set the clock (`timedatectl` tells whether it follows a time server)."
    if skew.min_difference <= target.settle_after:
        return (warning_finding("The clocks do not agree", difference_text, hint),)
    return (
        error_finding(
            "The clocks are too far apart",
            f"{difference_text} A create whose answer was lost could be believed undone too "
            f"early, and be "
            f"done twice: settle_after of the target allows for {target.settle_after:g} s.",
            f"{hint} If it is the server's that is wrong, raise settle_after of the target.",
        ),
    )
