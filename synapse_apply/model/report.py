"""What an apply did: an outcome for each thing it was asked to do, in the past tense."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import Exit
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Action, Plan
from synapse_apply.model.verification import RunStatus, VerificationResult

# Refusals that mean "not as it was planned or reviewed" instead of "cannot be done".
STALE_RULES = frozenset({"stale", "unreviewed"})


class Result(Enum):
    """DONE; FAILED: certainly not done; SKIPPED: not tried; UNKNOWN: may have been done."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"


@frozen
class Outcome:
    """What became of one change.

    `seconds` is the time its calls took. `diagnostics` say why it failed, was skipped or is
    unknown, and carry warnings of what was done (a field the server did not take). `recovery_file`
    is set where the call has ended and the state could not be told: the file that keeps it, "" when
    there is none.
    """

    address: Address
    action: Action
    result: Result
    remote_id: str = ""
    request_id: str = ""
    seconds: float = 0.0
    diagnostics: tuple[Diagnostic, ...] = ()
    recovery_file: str | None = None


@frozen
class Report:
    """The plan that was carried out and an outcome for each of its actionable changes.

    A change that is only verified has none: `verification_results` tells of the runs, apart from
    the rest. `stop_signal` is the signal number that ended it early, 0 when none did; `lock_lost`
    that another run took the state over, after which nothing was started. `guards_overridden` names
    the guards a user overrode.
    """

    plan: Plan
    outcomes: tuple[Outcome, ...] = ()
    stop_signal: int = 0
    lock_lost: bool = False
    extras: Mapping[str, Any] = field(default_factory=dict)
    verification_results: tuple[VerificationResult, ...] = ()

    def count_outcomes(self, result: Result) -> int:
        return sum(outcome.result is result for outcome in self.outcomes)

    def count_done_changes(self, *actions: Action) -> int:
        """How many changes of these actions were done."""
        return sum(o.result is Result.DONE and o.action in actions for o in self.outcomes)

    @property
    def exit_code(self) -> int:
        """Exit code by the precedence of design section 9."""
        codes = [Exit.OK]
        unknown_before = any(
            r.outcome_unknown for c in self.plan.refused_changes for r in c.refusals
        )
        unknown_runs = any(
            verification_result.status is RunStatus.UNKNOWN
            for verification_result in self.verification_results
        )
        if self.count_outcomes(Result.UNKNOWN) or unknown_before or unknown_runs:
            codes.append(Exit.UNKNOWN)
        if self.stop_signal:
            codes.append(Exit.SIGINT if self.stop_signal == 2 else Exit.SIGTERM)
        has_failed_verification = any(
            not verification_result.is_acceptable
            for verification_result in self.verification_results
        )
        if self.lock_lost:
            codes.append(Exit.LOCKED)
        if (
            self.count_outcomes(Result.FAILED)
            or self.count_outcomes(Result.SKIPPED)
            or has_failed_verification
        ):
            codes.append(Exit.INCOMPLETE)
        rules = {
            refusal.rule for change in self.plan.refused_changes for refusal in change.refusals
        }
        if rules & STALE_RULES:
            codes.append(Exit.STALE)
        if rules - STALE_RULES:
            codes.append(Exit.REFUSED)
        return Exit.select_by_precedence(*codes)
