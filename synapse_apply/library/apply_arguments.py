"""What approves an apply of the library, who watches it, and which plans it knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synapse_apply.model.diagnostic import error_finding
from synapse_apply.model.errors import InputError, NotApproved, OptionConflict

if TYPE_CHECKING:
    from synapse_apply.model.plan import Plan
    from synapse_apply.operations.apply import Confirm
    from synapse_apply.operations.apply_observer import ApplyObserver
    from synapse_apply.operations.plan_arguments import PlanArguments
    from synapse_apply.planning.plan_input import PlanOptions
    from synapse_apply.workspace.target_session import TargetSession


# A service may plan for months with one target.
_MAX_REMEMBERED_PLANS = 100


class PlanOptionsMemory:
    """The options of the newest plans of one target, by the plan's id."""

    def __init__(self) -> None:
        self._options_by_plan: dict[str, PlanOptions] = {}

    def remember(self, plan: Plan, options: PlanOptions) -> None:
        """Remember the options of a plan, and forget those of the oldest one where it is full."""
        self._options_by_plan[plan.id] = options
        if len(self._options_by_plan) > _MAX_REMEMBERED_PLANS:
            del self._options_by_plan[next(iter(self._options_by_plan))]

    def require_options_of_plan(self, plan: Plan) -> PlanOptions:
        """The options that a plan was made with; InputError for one that is not remembered."""
        if plan.id not in self._options_by_plan:
            raise InputError.from_summary(
                "This plan was not made here",
                f"Plan {plan.id} is none of the last {_MAX_REMEMBERED_PLANS} that plan() of this "
                "target gave.",
                "Plan again, or save it where it is made and use apply_saved().",
            )
        return self._options_by_plan[plan.id]


def build_silent_observer() -> ApplyObserver:
    """An observer that does nothing."""
    from synapse_apply.operations.apply_observer import ApplyObserver

    return ApplyObserver()


def require_approval_without_conflicting_arguments(
    plan: Plan | None, arguments: PlanArguments, confirm: Confirm | None, *, auto_approve: bool
) -> None:
    """NotApproved where nothing approves the apply; OptionConflict for arguments that exclude.

    These are two that approve, one of which would be ignored, and options of rows beside a plan.
    """
    if confirm is not None and auto_approve:
        raise OptionConflict.from_summary(
            "confirm and auto_approve exclude each other: the function would not be called."
        )
    if plan is None and confirm is None and not auto_approve:
        raise NotApproved(
            error_finding(
                "Nobody approved this apply",
                "apply() was given no plan, nobody to ask and no auto_approve; nothing was sent.",
                "Give it a plan of plan(), confirm=FUNCTION, or auto_approve=True.",
            )
        )
    if plan is not None and arguments.has_options_beside_adopt:
        raise OptionConflict.from_summary(
            "What changes the rows of a plan is said to plan(), not to apply()."
        )


def wait_for_open_calls_if_requested(
    session: TargetSession, observer: ApplyObserver, *, is_requested: bool
) -> None:
    """If requested, wait until the outcomes of calls open now can be determined."""
    if is_requested:
        from synapse_apply.operations.wait_for_outcomes import wait_until_open_calls_can_be_settled

        wait_until_open_calls_can_be_settled(session, observer.wait)
