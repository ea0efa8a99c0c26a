"""What the result of an apply is: an outcome for each change, and its exit code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from enum import Enum
from typing import Any

from synapse_apply.model.address import Address
from synapse_apply.model.command import WithCommands
from synapse_apply.model.diagnostic import Diagnostic
from synapse_apply.model.errors import Exit
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Action, Plan
from synapse_apply.model.verification import RunStatus, VerificationResult

# Refusals that mean "not as planned or reviewed" and give exit code 4 in place of 5.
STALE_RULES = frozenset({"stale", "unreviewed"})


class Result(Enum):
    """DONE, FAILED (certainly not done), SKIPPED (not tried), or UNKNOWN (may have been done)."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"


UNRECORDED = "unrecorded"


@frozen
class Outcome(WithCommands):
    """The result of one change.

    `seconds` is the duration of its calls. `diagnostics` say why it failed, was skipped or is
    unknown, or are warnings (such as of a field that the server did not store). `recovery_file`
    is set where the call has ended and could not be recorded: the file that has it, "" when
    not even that could be written. `is_conflict`: the backend answered 409, and would again.
    `is_untellable`: unknown, and no later run of this API can look it up.
    """

    TEXT_FIELDS = ("diagnostics",)

    address: Address
    action: Action
    result: Result
    remote_id: str = ""
    request_id: str = ""
    seconds: float = 0.0
    diagnostics: tuple[Diagnostic, ...] = ()
    recovery_file: str | None = None
    is_conflict: bool = False
    is_untellable: bool = False

    @property
    def progress_result(self) -> str:
        """The result, or UNRECORDED for a call that was done and could not be recorded."""
        is_unrecorded = self.result is Result.UNKNOWN and self.recovery_file is not None
        return UNRECORDED if is_unrecorded else self.result.value


@frozen
class Report(WithCommands):
    """The plan that was carried out and an outcome for each of its actionable changes.

    A change that is only verified has none; runs are in `verification_results`, apart from
    the rest. `stop_signal` is the signal number that ended it early, 0 for none; `lock_lost`
    says that another run took the lock, after which nothing was started. `stop_reason` is why
    nothing more could begin at its end, "" where it could. `guards_overridden` in `extras` names
    the overridden guards.
    """

    # The plan has named it already.
    TEXT_FIELDS = ("outcomes", "verification_results")

    plan: Plan
    outcomes: tuple[Outcome, ...] = ()
    stop_signal: int = 0
    lock_lost: bool = False
    extras: Mapping[str, Any] = field(default_factory=dict)
    verification_results: tuple[VerificationResult, ...] = ()
    stop_reason: str = ""

    def count_outcomes(self, result: Result) -> int:
        return sum(outcome.result is result for outcome in self.outcomes)

    @property
    def did_nothing(self) -> bool:
        """Whether no change or run of it can have had an effect; renames do not count."""
        return all(
            outcome.result in {Result.FAILED, Result.SKIPPED} for outcome in self.outcomes
        ) and all(
            verification.status is RunStatus.SKIPPED for verification in self.verification_results
        )

    def count_done_changes(self, action: Action, *more_actions: Action) -> int:
        """How many changes with one of these actions were done."""
        actions = {action, *more_actions}
        return sum(o.result is Result.DONE and o.action in actions for o in self.outcomes)

    @property
    def exit_code(self) -> int:
        """The exit code, by the precedence of Exit."""
        codes = [Exit.OK]
        unknown_before = any(
            r.outcome_unknown for c in self.plan.refused_changes for r in c.refusals
        )
        unknown_runs = any(
            verification_result.status is RunStatus.UNKNOWN
            for verification_result in self.verification_results
        )
        # An open call of an earlier run counts as well: it is still not known what it did.
        if self.count_outcomes(Result.UNKNOWN) or unknown_before or unknown_runs:
            codes.append(Exit.UNKNOWN)
        if self.stop_signal:
            # Signal 2 is SIGINT (Ctrl-C); every other one, such as SIGHUP, ends as SIGTERM does.
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
        return Exit.select_exit_code(*codes)
