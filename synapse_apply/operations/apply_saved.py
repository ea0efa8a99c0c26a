"""Which saved or reviewed plans may be applied, in which session, and with which checks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from synapse_apply.model.command import name_target_in_commands
from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.errors import ManifestError, Stale, SynapseApplyError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.report import Report
from synapse_apply.operations.apply import ApplyRun
from synapse_apply.operations.apply_observer import ApplyObserver
from synapse_apply.operations.saved_plan import (
    SavedPlan,
    narrow_to_saved,
    read_saved_plan_without_verifying_signature,
    require_usable_plans,
    unite_saved_plans,
)
from synapse_apply.planning.open_call_refusals import with_wait_options
from synapse_apply.workspace.invocation import Invocation
from synapse_apply.workspace.target_session import TargetSession, open_context


@frozen
class ApprovedPlans:
    """The plans of the given files, older first, and one plan that unites them.

    `reviewed`: rows of the plan may be applied although the manifests have changed since.
    """

    files: tuple[SavedPlan, ...]
    united_plan: SavedPlan
    reviewed: bool

    @property
    def target(self) -> str:
        """The name of the target that the plans were made for, as the files say."""
        return self.united_plan.plan.base.target

    @property
    def typed(self) -> tuple[str, ...]:
        """The files as `apply` is given them, a word each."""
        option = ("--reviewed",) if self.reviewed else ()
        return tuple(str(word) for each in self.files for word in (*option, each.file))


def read_approved_plans(paths: Sequence[Path], *, reviewed: bool) -> ApprovedPlans:
    """Read plan files, older first. Only reviewed plans may be several.

    InputError for a file that holds no plan, Stale where several cannot form one apply.
    """
    files = tuple(map(read_saved_plan_without_verifying_signature, paths))
    return ApprovedPlans(files, unite_saved_plans(files), reviewed)


def with_plan_target(invocation: Invocation, approved_plans: ApprovedPlans) -> Invocation:
    """The invocation with the plan's target, unless a target was named.

    The name is not trusted: the identity of that target's state must be the one in the plan.
    """
    return replace(invocation, target=invocation.target or approved_plans.target)


@contextmanager
def open_approved_session(
    invocation: Invocation, approved_plans: ApprovedPlans
) -> Iterator[TargetSession]:
    """A session to apply the plans in. Stale where a saved plan's manifests are unusable now.

    Commands in error messages name the plan's target, even where the user did not type it.
    """
    with ExitStack() as stack:
        try:
            try:
                session = stack.enter_context(open_context(invocation))
            except ManifestError as problem:
                if approved_plans.reviewed:
                    raise
                hint = (
                    "Bring it back, or give the same --var, --var-file, --file and --ref as for "
                    "the plan; otherwise plan again."
                )
                raise Stale(
                    error_finding(
                        "The planned manifests or packages are no longer here",
                        f"{approved_plans.united_plan.file} was made from manifests and packages "
                        "without an error. Nothing was sent.",
                        hint,
                    ),
                    *problem.diagnostics,
                ) from None
            yield session
        except SynapseApplyError as problem:
            target = invocation.target or ""
            problem.diagnostics = name_target_in_commands(problem.diagnostics, target)
            raise


def require_worth_waiting(
    session: TargetSession, approved_plans: ApprovedPlans, *, allow_unsigned: bool
) -> None:
    """Stale for plans that stay unusable however long an earlier call is waited for."""
    united, reviewed = approved_plans.united_plan, approved_plans.reviewed
    files = approved_plans.files
    require_usable_plans(session, files, reviewed=reviewed, allow_unsigned=allow_unsigned)
    plan = united.plan
    if plan.refused_changes and not (plan.actionable_changes or plan.moved):
        raise Stale.from_summary(
            "All that this plan has was refused when it was planned",
            f"{united.file}: what was refused then is not done by it, so nothing was waited for.",
            "Plan again once it can be done.",
        )


def apply_approved(
    session: TargetSession,
    run_with_saved_options: ApplyRun,
    approved_plans: ApprovedPlans,
    observer: ApplyObserver,
    *,
    allow_unsigned: bool = False,
) -> Report:
    """Check the plans, plan again, narrow to their rows and apply, all under the state's lock.

    `run_with_saved_options` must plan with the options of
    `with_current_rules`. Stale for a plan that is not genuine, of another
    target, or outdated; else raises as `operations.apply.check`.
    """
    united_plan, reviewed = approved_plans.united_plan, approved_plans.reviewed
    with session.lock_state_of_own_project("apply"):
        warnings = require_usable_plans(
            session, approved_plans.files, reviewed=reviewed, allow_unsigned=allow_unsigned
        )
        # A saved plan says what was approved; only a new plan knows what is live now.
        plan_result = run_with_saved_options.plan_anew()
        if not plan_result.plan.has_errors:
            plan_result = narrow_to_saved(united_plan, plan_result, reviewed=reviewed)
            plan = plan_result.plan
            # A saved plan of which something is done is used up by that.
            if not reviewed and (plan.actionable_changes or plan.moved):
                plan = with_wait_options(plan, None)
            # What it was refused in, it never does.
            refused = {str(change.address) for change in united_plan.plan.refused_changes}
            plan_result = replace(plan_result, plan=with_wait_options(plan, None, refused))
        observer.show_plan(plan_result.plan)
        observer.show_warnings(warnings)
        return run_with_saved_options.check_and_apply(plan_result, uses_up_plan=not reviewed)
