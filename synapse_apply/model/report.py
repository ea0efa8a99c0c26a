"""What is found and done, as values: the result of an apply, drift, the checkup of a target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from enum import Enum
from typing import Any, Self

from synapse_apply.model.address import Address
from synapse_apply.model.command import WithCommands
from synapse_apply.model.diagnostic import Diagnostic, Position
from synapse_apply.model.errors import Exit
from synapse_apply.model.frozen import frozen
from synapse_apply.model.job import RunStatus, VerificationResult
from synapse_apply.model.plan import Action, Cause, Change, FieldChange, Plan, PlanBase

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

    `began_at` (RFC 3339 UTC) is when its calls began, "" where none did, and `seconds` their
    duration. `diagnostics` say why it failed, was skipped or is unknown, or are warnings (such as
    of a field that the server did not store). `recovery_file`
    is set where the call has ended and could not be recorded: the file that has it, "" when
    not even that could be written. `is_conflict`: the backend answered 409, and would again.
    `is_untellable`: unknown, and no later run of this API can look it up. `effect` is what the
    object's final call did, "" for none.
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
    effect: str = ""
    began_at: str = ""

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
        refusals = [one for change in self.plan.refused_changes for one in change.refusals]
        rules = {refusal.rule for refusal in refusals}
        applies = {
            # An open call of an earlier run counts as well: it is still not known what it did.
            Exit.UNKNOWN: self.count_outcomes(Result.UNKNOWN)
            or any(refusal.outcome_unknown for refusal in refusals)
            or any(run.status is RunStatus.UNKNOWN for run in self.verification_results),
            # Signal 2 is SIGINT (Ctrl-C); every other one, such as SIGHUP, ends as SIGTERM does.
            Exit.SIGINT if self.stop_signal == 2 else Exit.SIGTERM: self.stop_signal,
            Exit.LOCKED: self.lock_lost,
            Exit.INCOMPLETE: self.count_outcomes(Result.FAILED)
            or self.count_outcomes(Result.SKIPPED)
            or not all(run.is_acceptable for run in self.verification_results),
            Exit.STALE: rules & STALE_RULES,
            Exit.REFUSED: rules - STALE_RULES,
            Exit.OK: True,
        }
        return Exit.select_exit_code(*(code for code, holds in applies.items() if holds))


@frozen
class ObjectDrift:
    """One recorded object that was changed, deleted or replaced outside.

    `fields` have the last known answer as `before` and the live value as `after`; their cause is
    drift, or both
    where the manifest changed since, too. `is_missing`: the object was deleted.
    `replacement_id` is the id of another object that has its name now. `blocked_reason` says why
    apply cannot undo it. `replaced_maps` are scalars or lists in the place of a map whose
    fields are gone. `is_writable`: the live values can be written into the manifests. `origin`
    says which call of ours may have deleted it, as the end of a sentence.
    """

    address: Address
    remote_id: str
    fields: tuple[FieldChange, ...] = ()
    is_missing: bool = False
    replacement_id: str = ""
    blocked_reason: str = ""
    position: Position | None = None
    replaced_maps: tuple[FieldChange, ...] = ()
    is_writable: bool = True
    origin: str = ""

    @property
    def is_changed_in_git(self) -> bool:
        """Whether Git changed a field, too: an update of it is due."""
        return any(field.cause is Cause.BOTH for field in self.fields)

    @property
    def all_field_changes(self) -> tuple[FieldChange, ...]:
        """The differing fields and replaced maps, sorted by path."""
        return tuple(sorted((*self.fields, *self.replaced_maps), key=lambda field: field.path))


@frozen
class Unmanaged:
    """A live object that no manifest declares and no record has; `keys` are FORM=TEXT."""

    kind: str
    remote_id: str
    keys: tuple[str, ...] = ()


@frozen
class WrittenEdit:
    """A live value that was written into a file, at `line`, to accept drift."""

    address: Address
    field: FieldChange
    file: str
    line: int


@frozen
class Drift:
    """The result of a drift check.

    `pending_addresses` are addresses with declared changes that are not applied yet: no drift.
    `is_drift_kept` says that apply keeps drift on this target. `unmanaged` is None where it was not
    asked for, `unlistable_kinds` the kinds that this backend cannot list, `unread_kinds` those
    whose list failed. `written_edits` were written into the files. `typed_target` is the
    target option that was typed, which hints repeat. `changes_with_accepted` are the resources
    with differences that `state accept` has accepted. `has_unrecorded_as_declared`: something is
    live as it is declared, and not as it was recorded; the next apply records that.
    """

    created: str
    tool_version: str
    base: PlanBase
    objects: tuple[ObjectDrift, ...] = ()
    pending_addresses: tuple[Address, ...] = ()
    is_drift_kept: bool = False
    unmanaged: tuple[Unmanaged, ...] | None = None
    unlistable_kinds: tuple[str, ...] = ()
    unread_kinds: tuple[str, ...] = ()
    written_edits: tuple[WrittenEdit, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    typed_target: str = ""
    changes_with_accepted: tuple[Change, ...] = ()
    has_unrecorded_as_declared: bool = False

    @property
    def has_errors(self) -> bool:
        """Whether something could not be checked."""
        return any(finding.is_error for finding in self.diagnostics)

    @property
    def has_origin(self) -> bool:
        """Whether a call of ours set some of it, or may have set or deleted it."""
        return any(one.origin or any(f.origin for f in one.fields) for one in self.objects)

    @property
    def unmanaged_count(self) -> int | None:
        """How many live objects are unmanaged; None where it was not asked for, or is not known."""
        return None if self.unmanaged is None or self.unread_kinds else len(self.unmanaged)

    @property
    def changed_or_replaced_objects(self) -> tuple[ObjectDrift, ...]:
        return tuple(drifted for drifted in self.objects if not drifted.is_missing)

    @property
    def missing_objects(self) -> tuple[ObjectDrift, ...]:
        return tuple(drifted for drifted in self.objects if drifted.is_missing)


class CheckStatus(Enum):
    """How one check ended. UNCHECKED: what it needs was not there, which has a row of its own."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    UNCHECKED = "not checked"


@frozen
class CheckResult(WithCommands):
    """One thing that was looked at.

    `check` names it, `subject` which of several (an agent's name). `summary` is one line; `detail`
    and `hint` are those of a finding. `findings` are what a command that stops for it tells.
    """

    TEXT_FIELDS = ("summary", "detail", "hint", "findings")

    check: str
    status: CheckStatus
    summary: str
    detail: str = ""
    hint: str = ""
    subject: str = ""
    findings: tuple[Diagnostic, ...] = ()

    @classmethod
    def build_ok(cls, check: str, summary: str, subject: str = "") -> Self:
        """It is as it should be."""
        return cls(check, CheckStatus.OK, summary, subject=subject)

    @classmethod
    def build_unchecked(cls, check: str, reason: str, subject: str = "") -> Self:
        """It could not be looked at."""
        return cls(check, CheckStatus.UNCHECKED, reason, subject=subject)

    @classmethod
    def from_finding(
        cls,
        check: str,
        finding: Diagnostic,
        subject: str = "",
        *,
        counted_findings: tuple[Diagnostic, ...] = (),
    ) -> Self:
        """A warning or a problem; `counted_findings` are the findings that this one only counts."""
        status = CheckStatus.PROBLEM if finding.is_error else CheckStatus.WARNING
        position_text = f" ({finding.position})" if finding.position else ""
        return cls(
            check,
            status,
            f"{finding.summary}{position_text}",
            finding.detail,
            finding.hint,
            subject,
            counted_findings or (finding,),
        )

    @property
    def first_request_id(self) -> str:
        return next((finding.request_id for finding in self.findings if finding.request_id), "")


@frozen
class Checkup(WithCommands):
    """Everything that was looked at, by section, in the order of looking."""

    TEXT_FIELDS = ("sections",)

    target: str
    sections: tuple[tuple[str, tuple[CheckResult, ...]], ...]

    @property
    def results(self) -> Iterator[CheckResult]:
        for _, rows in self.sections:
            yield from rows

    def count_results(self, status: CheckStatus) -> int:
        """How many rows ended so."""
        return sum(row.status is status for row in self.results)

    @property
    def findings(self) -> tuple[Diagnostic, ...]:
        """Every problem and warning, as a command that stops for them tells them."""
        return tuple(finding for row in self.results for finding in row.findings)

    @property
    def is_healthy(self) -> bool:
        """Whether nothing is wrong; warnings are not."""
        return not self.count_results(CheckStatus.PROBLEM)

    @property
    def exit_code(self) -> int:
        return Exit.OK if self.is_healthy else Exit.ERROR
