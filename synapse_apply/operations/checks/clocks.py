"""From which difference to the server's clock this machine's clock is an error or a warning."""

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
    findings = build_findings_if_clock_is_off(skew, target)
    if findings:
        return CheckResult.from_finding("clock", findings[0])
    return CheckResult.build_ok("clock", f"this machine's clock {skew.local_clock_description}")


def build_findings_if_clock_is_off(
    skew: ClockSkew | None, target: Target
) -> tuple[Diagnostic, ...]:
    """A warning from NOTABLE_SECONDS on, an error above `settle_after`, where it is certain."""
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
