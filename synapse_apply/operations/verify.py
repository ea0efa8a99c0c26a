"""Which releases `verify` runs, and when it refuses to; it makes no other call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, Severity, error_finding, warning_finding
from synapse_apply.model.errors import InputError
from synapse_apply.model.plan import Action, Change
from synapse_apply.model.report import Report
from synapse_apply.operations.apply import ApplyRun
from synapse_apply.operations.apply_observer import ApplyObserver
from synapse_apply.operations.plan import plan as make_plan
from synapse_apply.planning.plan_input import PlanOptions, ResourceState
from synapse_apply.workspace.selection import select_addresses_or_none_for_all
from synapse_apply.workspace.target_session import PlanResult, TargetSession


def select_named_releases_or_empty_without_names(
    session: TargetSession, names: Sequence[str]
) -> frozenset[Address]:
    """The addresses that names match, none without names; InputError for names without a match.

    What of them can be run is checked by `narrow_to_verification_runs_or_raise`.
    """
    kinds = {
        prefix for prefix, kind in session.catalogue.items() if kind.verification_spec is not None
    }
    return select_addresses_or_none_for_all(session, names, (), kinds) or frozenset()


def verify_releases_by_run(
    session: TargetSession,
    names: Sequence[str],
    observer: ApplyObserver,
    *,
    timeout: float | None = None,
) -> Report:
    """Run the named releases and record the results, under the state's lock, which is taken here.

    Raises as `narrow_to_verification_runs_or_raise`, and LockHeld or SecretUnavailable.
    """
    options = build_verify_options(
        session, select_named_releases_or_empty_without_names(session, names)
    )
    apply_run = ApplyRun(session, options, observer, operation="verify")
    with session.lock_state_of_own_project("verify"):
        plan_result = narrow_to_verification_runs_or_raise(make_plan(session, options), timeout)
        observer.show_warnings(plan_result.plan.diagnostics)
        return apply_run.apply_checked_plan_under_held_lock(plan_result)


def build_verify_options(session: TargetSession, selected: frozenset[Address]) -> PlanOptions:
    """Options for a plan in which these releases are to be run, whatever their last result."""
    options = PlanOptions(selected=selected, verify_now=selected, allow_replace=True)
    return options.with_target_rules(session.target)


def narrow_to_verification_runs_or_raise(
    plan_result: PlanResult, timeout: float | None = None
) -> PlanResult:
    """The plan with its runs alone: nothing else is called or recorded.

    `timeout` (seconds) takes precedence over the manifests'. InputError, with every finding, for a
    release that is not published from here yet, and where nothing that was named can be run.
    """
    changes, findings = [], []
    for change in plan_result.plan.changes:
        finding = _find_reason_not_to_run(change, plan_result.resources.get(change.address))
        if finding is None:
            changes.append(_reduce_change_to_its_run(change, timeout))
        else:
            findings.append(finding)
    problems = [diagnostic for diagnostic in plan_result.plan.diagnostics if diagnostic.is_error]
    problems += [diagnostic for diagnostic in findings if diagnostic.is_error or not changes]
    if problems:
        raise InputError(
            *(diagnostic.with_changes(severity=Severity.ERROR) for diagnostic in problems)
        )
    run_addresses = {str(change.address) for change in changes}
    findings += [
        diagnostic
        for diagnostic in plan_result.plan.diagnostics
        if diagnostic.address in run_addresses
    ]
    plan = replace(plan_result.plan, changes=tuple(changes), guards=(), diagnostics=tuple(findings))
    return replace(plan_result, plan=plan)


def _reduce_change_to_its_run(change: Change, timeout: float | None) -> Change:
    verification = change.verification
    if verification is not None and timeout is not None:
        verification = replace(verification, timeout=timeout)
    change = replace(change, verification=verification, rebase=False, after=change.before)
    return replace(change, fields=(), notes=(), extras={}, reason="")


def _find_reason_not_to_run(change: Change, resource: ResourceState | None) -> Diagnostic | None:
    """Why the resource cannot be run: an error where it should be runnable, else a warning."""
    address = str(change.address)
    if any(refusal.outcome_unknown for refusal in change.refusals):
        return None
    if resource is None or resource.type.verification_spec is None or resource.desired is None:
        detail = f"{address} is not a declared resource that is verified by a run."
        return warning_finding("Nothing to run", detail, "Name a release.", address=address)
    if resource.desired.verify is None:
        position, hint = resource.desired.position, "Add `verify:` to its spec."
        detail = f"{address} does not say how it is verified."
        return warning_finding("Nothing to run", detail, hint, address=address, position=position)
    if change.action not in {Action.NO_OP, Action.UPDATE}:
        detail = f"{address} is not published from here yet."
        return error_finding(
            "Not applied yet", detail, Text(Command("apply"), " first."), address=address
        )
    if change.verification is None and not change.is_refused:
        detail = f"A newer version than {address} is declared: a run would show that one's work."
        return warning_finding("Nothing to run", detail, "Name the newer one.", address=address)
    return None
