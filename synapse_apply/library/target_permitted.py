"""How a service applies those rows of a target's plan that it permits, as methods of a target."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from synapse_apply.library.arguments import require_text
from synapse_apply.library.target_connection import TargetConnection
from synapse_apply.model.diagnostic import is_at_or_below
from synapse_apply.model.errors import SynapseApplyError
from synapse_apply.model.frozen import frozen
from synapse_apply.model.values import ABSENT, get_at_or_absent

if TYPE_CHECKING:
    from synapse_apply.model.plan import Change, Plan
    from synapse_apply.model.ports import CallPermit
    from synapse_apply.model.resource import Desired
    from synapse_apply.operations.apply_observer import ApplyObserver
    from synapse_apply.planning.staleness.permitted_rows import PermittedApply, PermittedRows
    from synapse_apply.workspace.target_session import PlanResult


@frozen
class PlanSource:
    """What a plan was made from, and when, on the session's monotonic clock."""

    plan_result: PlanResult
    read_at: float


class TargetWithPermittedRows:
    """The part of OpenTarget for who decides about single rows, such as the controller."""

    def __init__(self, connection: TargetConnection) -> None:
        self._connection = connection
        self._last_plan: PlanSource | None = None

    @property
    def token_origin(self) -> str:
        """Where the token is read from, such as `env ACME_TOKEN`, or `none`; never its value."""
        with self._connection.open_or_reuse_session(read_only=True) as session:
            token = session.target.token
            return f"{token.source} {token.name}".rstrip() if token is not None else "none"

    def has_work_without_permission(self, plan: Plan) -> bool:
        """Whether an apply would do something for the newest plan of this object without a call.

        Such as to rename addresses, to update records to what is so already, to follow a run whose
        job is known, and to record what became of calls of an earlier run. False for a plan that an
        error or a guard stops.
        """
        from synapse_apply.planning.staleness import narrow_to_permitted

        if narrow_to_permitted.has_work_without_permission(plan):
            return True
        source = self._last_plan
        is_newest = source is not None and source.plan_result.plan.id == plan.id
        return (
            source is not None
            and is_newest
            and not (plan.has_errors or plan.guards)
            and any(not resolved.is_open for resolved in source.plan_result.resolved_intents)
        )

    def mark_drift_of_commits(self, plan: Plan, live_commit: str) -> Plan:
        """The plan, with `of_git` at each row that there would not be as `live_commit` declares it.

        There a field of it was ignored, kept (`on_drift: hold`), not owned, or declared otherwise,
        or its resource not declared, or in another API version. All that drifted is marked where
        that commit cannot be read. It is the last of which nothing was left to do, "" for none.
        """
        from synapse_apply.model.plan import Action, Cause
        from synapse_apply.workspace.offline_target import OfflineTarget

        drifted = {
            change.address
            for change in plan.changes
            if change.action is Action.RECREATE
            or (
                change.action is Action.UPDATE
                and change.field_causes <= {Cause.DRIFT, Cause.SECRET}
            )
        }
        with self._connection.open_or_reuse_session(read_only=True) as session:
            if not drifted or live_commit in {"", session.invocation.as_of}:
                return plan
            before = OfflineTarget(replace(session.invocation, as_of=live_commit))
            # Each address is in one chain of renames at most.
            moved = {move.new: move.old for move in session.project.moved}
            with suppress(SynapseApplyError):
                for change in [each for each in plan.changes if each.address in drifted]:
                    address, kind = change.address, change.address.kind
                    while address not in before.desired and address in moved:
                        address = moved.pop(address)
                    if (
                        (old := before.desired.get(address)) is not None
                        and before.select_binding(kind) is session.select_binding(kind)
                        and not _is_of_commits(
                            change, old, session.desired[change.address], before.target.on_drift
                        )
                    ):
                        drifted.remove(change.address)
        changes = (replace(c, of_git=True) if c.address in drifted else c for c in plan.changes)
        return replace(plan, changes=tuple(changes))

    def apply_permitted(
        self, choose: Callable[[Plan], PermittedRows], *, run_id: str, who: str, operation: str,
        permit: CallPermit | None = None, prune: bool = False, allow_locked: bool = False,
        adopt: bool = True, recreate: bool = False, verify: bool = True,
        revert_drift: bool = False, observer: ApplyObserver | None = None,
    ) -> PermittedApply:  # fmt: skip
        """Make the rows that `choose` permits, of a plan that is made under the state's lock.

        `choose` gets that plan, which has no errors, and is called once; other rows are left as
        they are, and so are those that need them. Each approval that it names is used up in the
        transaction that begins the row, and given back by one that certainly did nothing. The
        report has `run_id` as the plan's id, as have the audit, in which `who` stands, and the
        state. `operation` is what others see who wait for the lock. `permit` is asked before each
        call begins: without one, what has begun ends and is recorded, and the rest is skipped with
        the permit's reason. The options are those of `plan()`.

        A call that fails is in the report. Raised before the first call: LockHeld, InputError for
        a plan with errors, Refused by a guard that is left and not overridden, SecretUnavailable,
        StateError.
        """
        from synapse_apply.operations.apply import ApplyRun
        from synapse_apply.operations.apply_observer import ApplyObserver
        from synapse_apply.operations.apply_permitted import (
            RunIdentity,
            plan_and_apply_permitted_rows,
        )
        from synapse_apply.operations.plan_arguments import PlanArguments

        arguments = PlanArguments(
            prune=prune, allow_locked=allow_locked, adopt=adopt, recreate=recreate,
            no_verify=not verify, revert_drift=revert_drift, allow_replace=True,
        )  # fmt: skip
        identity = RunIdentity(
            require_text("run_id", run_id),
            require_text("who", who),
            require_text("operation", operation),
        )
        observer = observer or ApplyObserver()
        with self._connection.open_or_reuse_session() as session:
            apply_run = ApplyRun(session, arguments.build_plan_options(session), observer)
            return plan_and_apply_permitted_rows(
                session, apply_run, observer, choose, identity, permit
            )


def _is_of_commits(change: Change, old: Desired, new: Desired, old_on_drift: str) -> bool:
    """Whether a field was declared otherwise, or so that it would not have been sent."""
    from synapse_apply.model.plan import Action, Cause

    is_update, was, now = change.action is Action.UPDATE, old.lifecycle, new.lifecycle
    return any(
        (declared := get_at_or_absent(new.spec, path)) != get_at_or_absent(old.spec, path)
        or (is_update and is_at_or_below(path, was.ignore_changes))
        or (declared is ABSENT and is_at_or_below(path, now.own) > is_at_or_below(path, was.own))
        or (old_on_drift == "hold" and cause is Cause.DRIFT)
        for path, cause in ((field.path, field.cause) for field in change.fields)
    )
