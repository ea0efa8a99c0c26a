"""In which order an apply plans, asks, locks, checks and carries out, and when it plans again.

Everything is checked before the first call. Of a plan whose rows somebody permits, those rows are
planned, chosen and made under one lock. Last: which steps a plan consists of, which ports they use,
and how they are sent as dry runs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from functools import cached_property, partial

from synapse_apply.applying.body import secrets_to_send
from synapse_apply.applying.dry_run import DryRunResult, dry_run_steps
from synapse_apply.applying.lookup import Backend, Claims
from synapse_apply.applying.run import (
    Gate,
    Ledger,
    ProgressPackages,
    Run,
    SerialExecutor,
    ThreadedExecutor,
)
from synapse_apply.applying.scheduler import Scheduler
from synapse_apply.applying.step import FinalPermit, Step
from synapse_apply.live import open_intents
from synapse_apply.live.comparable_values import build_recordable_fields
from synapse_apply.model import errors
from synapse_apply.model.address import Address
from synapse_apply.model.command import name_target_in_commands
from synapse_apply.model.diagnostic import Diagnostic, Severity, error_finding
from synapse_apply.model.frozen import replace
from synapse_apply.model.parallel_reads import open_thread_pool
from synapse_apply.model.plan import Change, Plan
from synapse_apply.model.ports import CallPermit, Progress
from synapse_apply.model.report import STALE_RULES, Report
from synapse_apply.model.resource import Observed
from synapse_apply.model.values import Reference
from synapse_apply.operations.apply_observer import ApplyObserver, ErrorHoldingProgress
from synapse_apply.operations.health import ask_agents, clock_findings
from synapse_apply.operations.plan import plan as make_plan
from synapse_apply.planning.narrow import (
    PermittedApply,
    PermittedRows,
    list_decidable_changes,
    narrow_to_permitted_rows,
)
from synapse_apply.planning.plan_input import PlanOptions, ResourceState
from synapse_apply.planning.series import find_companion_address
from synapse_apply.workspace.recovery_journal import RecoveryJournal, journal_folders
from synapse_apply.workspace.target_session import PlanResult, TargetSession

_NO_APPROVALS = PermittedRows()
_USED_GUARD_APPROVAL_REASON = "the approval of a guard was used by an earlier run"
# Says whether a plan is to be applied.
Confirm = Callable[[Plan], bool]

# A plan that its reader took longer to approve is made anew before it is applied.
FRESH_SECONDS = 60.0


class ApplyRun:
    """One apply: its plan, its approval, and what is done under the state's lock.

    `options` are used for every plan of it. `observer` receives what happens. `confirm` is called
    before the state is locked; without it, the caller has approved whatever is planned.
    `may_adopt`: a create that meets an object which is as declared takes it over. `operation` is
    the verb for the report and for others who wait for the lock.
    """

    def __init__(
        self,
        session: TargetSession,
        options: PlanOptions,
        observer: ApplyObserver | None = None,
        *,
        confirm: Confirm | None = None,
        all_or_nothing: bool = False,
        may_adopt: bool = False,
        operation: str = "apply",
    ) -> None:
        """Reads and asks nothing yet."""
        self.session = session
        self._options = options
        self.observer = observer or ApplyObserver()
        self._confirm = confirm
        self._all_or_nothing = all_or_nothing
        self._may_adopt = may_adopt
        self._operation = operation

    def plan_and_apply(self) -> Report:
        """Plan, ask, apply. Without `confirm` the state is locked before it is planned.

        Raises what stops it before its first call: NotApproved where `confirm` returns false; else
        as `check`.
        """
        if self._confirm is not None:
            plan_result = self.plan_anew()
            self.observer.show_plan(plan_result.plan)
            return self._confirm_and_apply(plan_result.plan, plan_result)
        with self.session.lock_state_of_own_project(self._operation):
            plan_result = self.plan_anew()
            self.observer.show_plan(plan_result.plan)
            return self.apply_under_lock(plan_result)

    def apply_earlier(self, plan: Plan, plan_result: PlanResult | None, read_at: float) -> Report:
        """Apply a plan that was made before with the same options.

        `plan_result` is what it was made from, None where that is no longer available; `read_at` is
        when the state was read, on the session's monotonic clock. Plans again where the state was
        written since then, or after FRESH_SECONDS: the new plan must equal `plan`, or be approved.
        Stale where there is no `confirm` to ask.
        """
        # When it was planned nobody asked the agents: only an apply needs them.
        plan = self._with_findings(plan)
        if plan_result is not None:
            plan_result = replace(plan_result, plan=plan)
        return self._confirm_and_apply(plan, plan_result, read_at)

    def _confirm_and_apply(
        self, plan: Plan, plan_result: PlanResult | None, read_at: float | None = None
    ) -> Report:
        """Ask, lock and plan again, until the approved plan is still current; then apply it."""
        while True:
            check(plan, all_or_nothing=self._all_or_nothing)
            if plan_result is not None:
                # Nobody is asked about an apply that would stop.
                self._require_secrets(list_steps(plan_result))
            if read_at is None:
                # Before the question: the time that a person takes counts.
                read_at = self.session.clock.monotonic_seconds()
            if plan.has_changes and self._confirm is not None and not self._confirm(plan):
                cancelled = errors.NotApproved(
                    error_finding("Apply cancelled", "Nothing was sent.")
                )
                cancelled.plan = plan
                raise cancelled
            # Compared under the lock: otherwise another run could write after the comparison.
            with self.session.lock_state_of_own_project(self._operation):
                # The serial tells of each write of the state; the age stands for changes elsewhere.
                if (
                    plan_result is None
                    or self.session.store.read_serial() != plan.base.serial
                    or self.session.clock.monotonic_seconds() - read_at > FRESH_SECONDS
                ):
                    plan_result = self.plan_anew()
                # The same where both would do the same.
                new = plan_result.plan
                if replace(new, id=plan.id, created=plan.created, base=plan.base) == plan:
                    return self.apply_under_lock(plan_result)
            if self._confirm is None:
                problem = errors.Stale.from_summary(
                    "The backend or the state changed since this plan was made",
                    "An apply would no longer do what the plan shows. Nothing was sent.",
                    "Plan again.",
                )
                problem.plan = plan
                raise problem
            # Asked with the lock given back: a person may take long, and others are to go on.
            plan, read_at = plan_result.plan, None
            self.observer.show_changed_plan(plan)

    def plan_anew(self) -> PlanResult:
        """A new plan, with findings about agents and clock among its diagnostics.

        Each is found once, however often it is planned again; an error stops the apply. A target
        without agents costs no request.
        """
        _ = self._agent_findings  # asked first: what they answer tells of the server's clock, too
        plan_result = make_plan(self.session, self._options)
        return replace(plan_result, plan=self._with_findings(plan_result.plan))

    def _with_findings(self, plan: Plan) -> Plan:
        findings = name_target_in_commands(
            (*self._agent_findings, *self._clock_findings), self.session.typed_target
        )
        return replace(plan, diagnostics=(*plan.diagnostics, *findings))

    @cached_property
    def _agent_findings(self) -> tuple[Diagnostic, ...]:
        session, agents = self.session, tuple(self.session.target.agents.items())
        if not agents:
            return ()
        rows = ask_agents(agents, session.resolver.resolve_setting, session.api.health_check_agent)
        return tuple(finding for row in rows for finding in row.findings)

    @cached_property
    def _clock_findings(self) -> tuple[Diagnostic, ...]:
        return clock_findings(self.session.backend.server_clock.skew, self.session.target)

    def apply_under_lock(
        self,
        plan_result: PlanResult,
        *,
        uses_up_plan: bool = False,
        permitted: PermittedRows = _NO_APPROVALS,
    ) -> Report:
        """Carry a plan out under the lock that the caller holds, and pass the report on.

        Raises as `check` what must stop the plan. `uses_up_plan` marks the plan's id as applied,
        so that the state never accepts it again. The approvals of `permitted` are used up by what
        is done.
        """
        check(plan_result.plan, all_or_nothing=self._all_or_nothing)
        plan = plan_result.plan
        held_back_errors: ErrorHoldingProgress | None = None
        # Without any of these no call is made and nothing is written, so that nobody need watch.
        if plan.actionable_changes or plan.moved or plan_result.resolved_intents:
            with self.observer.watch_calls(self.session.backend.hang_up) as watcher:
                held_back_errors = ErrorHoldingProgress(watcher, watcher.read_stop_signal)
                report = self.carry_out(
                    plan_result, held_back_errors, watcher.run_calls, permitted,
                    is_single_use=uses_up_plan,
                )  # fmt: skip
        else:
            report = Report(plan)
        overridden = self._options.overridden | permitted.overridden_guards
        extras = {"operation": self._operation, "guards_overridden": overridden}
        report = replace(report, extras={**report.extras, **extras, "is_used_up": uses_up_plan})
        # Before errors that were held back: whatever else failed, what was done is told.
        self.observer.show_report(report)
        store = self.session.store
        if store.waited_seconds >= 1:
            wait_note = Diagnostic(
                Severity.NOTE,
                "The run waited before it wrote the state",
                f"It waited {store.waited_seconds:.0f} s, because it limits how often it "
                f"writes to {store.where}.",
                "For your own server, set the interval with `?pace=SECONDS` in state.url; "
                "0 means no limit.",
            )
            self.observer.show_warnings((wait_note,))
        if held_back_errors is not None:
            held_back_errors.raise_held()
        return report

    def apply_permitted(
        self,
        choose: Callable[[Plan], PermittedRows],
        permit: CallPermit | None,
        *,
        run_id: str,
        who: str,
        operation: str,
    ) -> PermittedApply:
        """Lock the state, plan, ask which rows may be made, and make these alone.

        `run_id` is the plan's id, `who` stands in the audit, `operation` is what the lock shows.

        Open calls of earlier runs are settled first, as by any apply. Before the first call it
        raises LockHeld, InputError for a plan with errors (nobody is asked about it then), Refused
        by a guard that is left, SecretUnavailable, and StateError.
        """
        session = self.session
        actor, call_permit = session.actor, session.call_permit
        session.actor, session.call_permit = replace(actor, who=who), FinalPermit(permit)
        try:
            with session.lock_state_of_own_project(operation):
                plan_result = self.plan_anew()
                if plan_result.plan.has_errors:
                    self.observer.show_plan(plan_result.plan)
                    check(plan_result.plan)
                permitted = choose(plan_result.plan)
                narrowed = narrow_to_permitted_rows(plan_result.plan, permitted, run_id)
                self.observer.show_plan(narrowed)
                check(narrowed)
                report = self._apply_with_approvals(replace(plan_result, plan=narrowed), permitted)
                old = {
                    name for each in plan_result.resolved_intents for name in each.intent.approvals
                }
                used_ids, returned_ids = tuple[str, ...](), set[str]()
                # A state that is lost by now keeps what it has; whoever asks later is told.
                with suppress(errors.StateError):
                    used_ids = session.store.list_used_approvals(permitted.list_approval_ids())
                    returned_ids = old - {*session.store.list_used_approvals(sorted(old))}
        finally:
            session.actor, session.call_permit = actor, call_permit
        return PermittedApply(report, used_ids, report.stop_reason, tuple(sorted(returned_ids)))

    def _apply_with_approvals(self, plan_result: PlanResult, permitted: PermittedRows) -> Report:
        """Apply a checked plan; what approved its guards is used up with the first row that begins.

        That is for one time, and for these rows together: once one is done, the guard counts
        others. Where it was used before, nothing is done, and the report says so.
        """
        store, guard_ids = self.session.store, permitted.guard_approvals
        first_change = next(
            (each for each in list_decidable_changes(plan_result.plan) if not each.is_refused), None
        )
        if not guard_ids or first_change is None:
            return self.apply_under_lock(plan_result, permitted=permitted)
        # First: a call that had no effect gives back what approved its guard.
        self._close_looked_up(plan_result)
        plan_result = replace(plan_result, resolved_intents=())
        if store.list_used_approvals(guard_ids):
            return Report(plan_result.plan, stop_reason=_USED_GUARD_APPROVAL_REASON)
        row_ids = permitted.approvals.get(first_change.address, ())
        approvals = {**permitted.approvals, first_change.address: (*row_ids, *guard_ids)}
        report = self.apply_under_lock(
            plan_result, permitted=replace(permitted, approvals=approvals)
        )
        if not report.did_nothing:
            # That row may have failed, or waited for another that did.
            with suppress(errors.StateError):
                used_ids = store.list_used_approvals(guard_ids)
                store.use_approvals_up_or_raise_if_used(
                    *(each for each in guard_ids if each not in used_ids)
                )
        return report

    def _require_secrets(self, steps: Iterable[Step]) -> None:
        """SecretUnavailable, with every finding, where a secret that is to be sent is missing."""
        missing: list[Diagnostic] = []
        for step in steps:
            for path, ref in secrets_to_send(step):
                try:
                    self.session.secrets.resolve_secret(ref)
                except errors.SecretUnavailable as problem:
                    position = step.desired.find_position(path) if step.desired else None
                    missing += [
                        replace(finding, address=str(step.address), position=position)
                        for finding in problem.diagnostics
                    ]
        if missing:
            raise errors.SecretUnavailable(*missing)

    def carry_out(
        self,
        plan_result: PlanResult,
        progress: ErrorHoldingProgress,
        run_calls: Callable[[Callable[[], None]], None],
        permitted: PermittedRows = _NO_APPROVALS,
        *,
        is_single_use: bool,
    ) -> Report:
        """Do what `apply` does; the exceptions that are held back are not raised."""
        session, plan = self.session, plan_result.plan
        steps = list_steps(plan_result)
        # An apply must not stop half-way because the last secret is missing.
        self._require_secrets(steps)
        # A state of an earlier version names no target: who applies to it says whose it is.
        shared_ids = session.read_shared_ids()
        if shared_ids is not None and not shared_ids.target:
            named = replace(shared_ids, target=session.target.name)
            session.store.replace_project_and_key_ids(named)
        if is_single_use and (steps or plan.moved):
            # Before the first call: a second run with the same file must not get this far.
            session.store.mark_plan_applied(plan.id)
        # Before any new intent: an address has at most one open call.
        self._close_looked_up(plan_result, {step.address for step in steps})
        if plan.moved:
            renames = {move.old: move.new for move in plan.moved}
            session.store.rename_addresses(renames, session.signer.sign_moved_run)
            session.note_in_audit(
                ((move.old, f"move to {move.new}", "") for move in plan.moved), plan.id
            )
        store, permit = session.store, session.call_permit

        def lasting_reason() -> str:
            """Why nothing more may begin, "" while it may; a permit is not asked for."""
            if progress.read_stop_signal():
                return "the run was stopped"
            if not store.holds_lock():
                return "the lock on the state was lost"
            return "the state could not be written" if store.has_failed_write() else ""

        gate = Gate(
            stop_reason=lambda: lasting_reason() or permit.explain_missing_or_empty(),
            is_stopping=progress.read_stop_signal,
            permit=permit,
            approvals=permitted.approvals,
            may_adopt=self._may_adopt,
        )
        scheduler = Scheduler(steps, build_run(session, plan_result, progress, gate))

        def report_wait(seconds: float) -> None:
            progress.report_wait(seconds, store.where)

        def run_steps() -> None:
            with (
                SerialExecutor()
                if session.parallelism == 1
                else ThreadedExecutor(
                    session.parallelism, store.seconds_to_start / 2 if store.is_slow else 0.0
                ) as executor,
                store.defer_writes_while_busy(executor, report_wait),
            ):
                scheduler.run_all(executor)

        run_calls(run_steps)
        # After a cut, a worker may still be in a call: its outcome is reported as unknown.
        scheduler.end_unfinished()
        report = Report(
            plan,
            scheduler.outcomes,
            progress.read_stop_signal(),
            lock_lost=not store.holds_lock(),
            verification_results=scheduler.verifications,
            stop_reason=lasting_reason() or permit.final_reason,
        )
        return report.with_target(session.typed_target)

    def _close_looked_up(
        self, plan_result: PlanResult, sent_again: Collection[Address] = ()
    ) -> None:
        """Record what became of earlier calls.

        That of a forgotten object stays open while its address waits for the import: the next run
        would know nothing of the object, and make a second one.
        """
        rows = {change.address for change in plan_result.plan.changes if not change.is_refused}
        waiting = self.session.desired.keys() - rows
        ended = [
            one
            for one in plan_result.resolved_intents
            if not (one.import_hint and one.intent.address in waiting)
        ]
        open_intents.close_known_intents(self.session, ended, plan_result.plan.id, sent_again)


def check(plan: Plan, *, all_or_nothing: bool = False) -> None:
    """Raise when this plan must not be applied: errors (exit 1), guards or refusals (exit 5)."""
    if plan.has_errors:
        problem: errors.SynapseApplyError = errors.InputError(
            *(finding for finding in plan.diagnostics if finding.is_error)
        )
    elif plan.guards:
        problem = errors.Refused(
            *(error_finding(guard.summary, guard.detail) for guard in plan.guards)
        )
    elif all_or_nothing and plan.refused_changes:
        rules = {refusal.rule for change in plan.refused_changes for refusal in change.refusals}
        problem = (errors.Stale if rules & STALE_RULES else errors.Refused).from_summary(
            "Nothing was applied: some rows are refused",
            f"{len(plan.refused_changes)} refused (see ! rows) and --all-or-nothing is set.",
            "Resolve the refused rows, or apply the rest without --all-or-nothing.",
        )
    else:
        return
    problem.plan = plan
    raise problem


def apply(
    session: TargetSession,
    plan_result: PlanResult,
    progress: Progress,
    stop_signal: Callable[[], int] = lambda: 0,
    *,
    run_calls: Callable[[Callable[[], None]], None] = lambda work: work(),
    is_single_use: bool = False,
    may_adopt: bool = False,
) -> Report:
    """Carry a checked plan out under the state's lock, which the caller holds.

    `stop_signal` returns the number of the signal that asks to end, 0 while there is none.
    `run_calls` runs the work it is given and may return before the work ends; the
    outcome of a call in progress is unknown then. `is_single_use` marks the plan's id as applied,
    before the first call. `may_adopt`: a create that meets an object which is as declared takes
    it over. SecretUnavailable, with every finding, before the first call. An exception of
    `progress` or `stop_signal` is raised when all is recorded, as `ErrorHoldingProgress` says.
    """
    held_back_errors = ErrorHoldingProgress(progress, stop_signal)
    apply_run = ApplyRun(session, PlanOptions(), may_adopt=may_adopt)
    report = apply_run.carry_out(
        plan_result, held_back_errors, run_calls, is_single_use=is_single_use
    )
    held_back_errors.raise_held()
    return report


def build_run(
    session: TargetSession, plan_result: PlanResult, progress: Progress, gate: Gate | None = None
) -> Run:
    """One apply of a plan to a target."""
    plan, resources, gate = plan_result.plan, plan_result.resources, gate or Gate()
    records = {
        address: resource.record
        for address, resource in resources.items()
        if resource.record is not None
    }
    backend = Backend(
        api=session.api,
        marks=open_intents.build_known_marks(session, records),
        capabilities=plan_result.capabilities,
        request_id=session.backend.request_id,
        longest_call=session.backend.longest_call,
        owners=session.target.owners,
        known={
            address: resource.observed
            for address, resource in resources.items()
            if resource.observed is not None
        },
    )
    journal = RecoveryJournal(
        journal_folders(session.project),
        session.target.name,
        plan.base.lineage,
        plan.id,
        session.state_keys,
    )
    ledger = Ledger(
        store=session.store,
        actor=session.actor,
        plan_id=plan.id,
        clock=session.clock,
        uptime=session.uptime,
        target=session.target.name,
        sign=session.signer.sign_last_run_if_any,
        write_recovery_file=journal.append_call_durably_and_return_path_or_empty,
        withdraw=journal.withdraw_call,
        is_stopping=gate.is_stopping,
    )
    return Run(
        backend,
        ledger,
        secrets=session.secrets,
        packages=ProgressPackages(session.packages, progress, session.clock),
        progress=progress,
        claims=Claims(session.store),
        gate=gate,
        settle_after=session.target.settle_after,
        sleep=session.pause,
        read_published_digest=partial(open_intents.read_published_digest, session),
    )


def list_steps(plan_result: PlanResult) -> list[Step]:
    """One step for each change that apply has something to do for, in the plan's order."""
    # Fields that the backend did not store in earlier runs, by kind.
    unkept: dict[str, set[str]] = defaultdict(set)
    for address, resource in plan_result.resources.items():
        record = resource.record
        if record is not None and record.api == resource.binding.api:
            unkept[address.kind].update(record.unkept)
    steps = {
        change.address: step_of(
            plan_result.resources[change.address], change, frozenset(unkept[change.address.kind])
        )
        for change in plan_result.plan.actionable_changes
    }
    for address, step in steps.items():
        if (member_address := find_companion_address(step.change)) is not None:
            member = steps[member_address]
            if not member.natural_key and member.desired and step.desired:
                # The key of a member may have to be its owner's.
                owner, reference = (
                    Observed("", step.binding.api, step.spec),
                    Reference(step.address),
                )
                parents = {name: owner for name, value in member.spec.items() if value == reference}
                key = member.type.derive_natural_key(member.spec, parents)
                member = replace(member, natural_key=key)
            steps[member_address] = member
            steps[address] = replace(step, companion=member)
    return list(steps.values())


def step_of(resource: ResourceState, change: Change, unkept: frozenset[str] = frozenset()) -> Step:
    """The step of a resource's change."""
    ignored_paths = resource.desired.lifecycle.ignore_changes if resource.desired else ()
    return Step(
        change=change,
        type=resource.type,
        binding=resource.binding,
        predecessors=change.depends_on,
        desired=resource.desired,
        record=resource.record,
        observed=resource.observed,
        declared_fields=build_recordable_fields(resource.declared_fields, ignored_paths),
        salt=resource.salt,
        natural_key=resource.natural_key,
        unkept=unkept,
    )


def send_dry_runs(
    session: TargetSession, plan_result: PlanResult, progress: Progress
) -> DryRunResult:
    """Send, as a dry run, each call of a plan that the backend can check; it changes nothing."""
    with open_thread_pool(session.parallelism) as pool:
        return dry_run_steps(
            list_steps(plan_result), build_run(session, plan_result, progress), pool.map
        )
