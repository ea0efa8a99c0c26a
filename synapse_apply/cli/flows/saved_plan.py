"""One apply of a saved plan or of reviewed ones: the file is the approval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from synapse_apply.cli.flows.apply_run import ApplyRun
from synapse_apply.model.command import add_target_to_findings
from synapse_apply.model.diagnostic import Diagnostic, error_finding
from synapse_apply.model.errors import Exit, ManifestError, Stale, SynapseApplyError
from synapse_apply.model.frozen import frozen
from synapse_apply.operations import saved_plan_packages
from synapse_apply.operations.saved_plan import (
    SavedPlan,
    check_each,
    narrow_to_saved_plan,
    read_saved_plan,
    unite_reviewed,
)
from synapse_apply.workspace.invocation import Invocation
from synapse_apply.workspace.target_session import TargetSession, open_context

# What changes the rows of a plan is said when it is made: the file tells the rest.
_PLAN_OPTIONS = {
    "prune": "--prune",
    "allow_locked": "--allow-locked",
    "resend_secrets": "--resend-secrets",
    "adopt": "--adopt",
    "no_verify": "--no-verify",
    "revert_drift": "--revert-drift",
    "only": "--only",
    "exclude": "--exclude",
}


@frozen
class ApprovedPlans:
    """What was approved: the plans as their files have them, older first, and one that unites them.

    `reviewed`: rows of it go although the manifests moved on.
    """

    files: tuple[SavedPlan, ...]
    united_plan: SavedPlan
    reviewed: bool


def read_approved_plans(
    invocation: Invocation,
    plan: Path | None,
    reviewed: Sequence[Path],
    plan_arguments: Mapping[str, Any],
) -> ApprovedPlans | None:
    """The plans that were given, if any were; a usage error for what does not go with them.

    Stale where several reviewed plans cannot be one apply.
    """
    paths = [plan] if plan else list(reviewed)
    if not paths:
        return None
    if plan and reviewed:
        raise click.UsageError("Give a saved plan, or one with --reviewed, not both.")
    for name, option in _PLAN_OPTIONS.items():
        if plan_arguments.get(name):
            raise click.UsageError(f"{option} is said when a plan is made: `plan {option} --out`.")
    files = tuple(read_saved_plan(invocation.directory / path) for path in paths)
    return ApprovedPlans(files, unite_reviewed(files), reviewed=not plan)


def use_plan_target(invocation: Invocation, approved_plans: ApprovedPlans) -> Invocation:
    """Where to apply a plan: on the target that was typed, else on the one it was made for.

    Nothing is believed of that name: the state that it leads to must be the plan's.
    """
    return replace(
        invocation, target=invocation.target or approved_plans.united_plan.plan.base.target
    )


@contextmanager
def _name_target_in_errors(target: str) -> Iterator[None]:
    """Commands that errors print name the plan's target, though nobody typed it."""
    try:
        yield
    except SynapseApplyError as problem:
        problem.diagnostics = add_target_to_findings(problem.diagnostics, target)
        raise


@contextmanager
def open_apply_session(
    invocation: Invocation, approved_plans: ApprovedPlans | None
) -> Iterator[TargetSession]:
    """What to apply in. A saved plan was made from what could be used: what cannot is Stale.

    A reviewed plan is not bound to the manifests, so that its packages are not used either.
    """
    if approved_plans is None:
        with open_context(invocation) as session:
            yield session
        return
    with ExitStack() as stack, _name_target_in_errors(invocation.target or ""):
        if approved_plans.reviewed:
            yield stack.enter_context(open_context(invocation))
            return
        try:
            session = stack.enter_context(
                open_context(invocation, approved_plans.united_plan.carrier)
            )
        except ManifestError as problem:
            raise Stale(
                _build_missing_sources_finding(approved_plans.united_plan), *problem.diagnostics
            ) from None
        yield session


def _build_missing_sources_finding(united_plan: SavedPlan) -> Diagnostic:
    hint = (
        "Bring it back, or give the same --var, --var-file, --file and --ref as for the plan; "
        "otherwise plan again."
    )
    if united_plan.carrier is None:
        hint += " A plan made with --with-packages needs no package sources."
    return error_finding(
        "What was planned is not here any more",
        f"{united_plan.file} was made from manifests and packages without an error. Nothing was "
        f"sent.",
        hint,
    )


@frozen
class SavedPlanRun:
    """An apply of approved plans; `check_and_apply` gives its exit code."""

    apply_run: ApplyRun
    approved_plans: ApprovedPlans
    allow_unsigned: bool

    def check_and_apply(self) -> int:
        """Check, plan anew, cut down, apply. Raises what stops it before its first call."""
        apply_run, session = self.apply_run, self.apply_run.session
        united_plan, reviewed = self.approved_plans.united_plan, self.approved_plans.reviewed
        with session.lock_state("apply"):
            warnings = check_each(
                session,
                self.approved_plans.files,
                reviewed=reviewed,
                allow_unsigned=self.allow_unsigned,
            )
            if united_plan.carrier is not None and not reviewed:
                saved_plan_packages.check_carried_packages(
                    united_plan.carrier, united_plan.plan, session.project.max_package_size
                )
            fresh_result = apply_run.make_current_plan()
            if not fresh_result.plan.has_errors:
                fresh_result = narrow_to_saved_plan(united_plan, fresh_result, reviewed=reviewed)
            apply_run.show_plan(fresh_result.plan)
            apply_run.console.write_findings(warnings)
            if not apply_run.can_proceed(fresh_result.plan):
                return Exit.ERROR
            return apply_run.apply_and_report(fresh_result, uses_up_plan=not reviewed)
