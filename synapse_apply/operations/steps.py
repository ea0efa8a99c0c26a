"""Which steps a plan consists of, which ports they use, and how they are sent as dry runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from synapse_apply.applying.dry_run import DryRunResult, dry_run_steps
from synapse_apply.applying.lookup import Backend, Claims
from synapse_apply.applying.run import Gate, Ledger, Run
from synapse_apply.applying.step import Step
from synapse_apply.applying.uploading import ProgressPackages
from synapse_apply.live.comparable_values import build_recordable_fields
from synapse_apply.live.open_intents import build_known_marks, read_published_digest
from synapse_apply.model.diagnostic import Diagnostic, warning_finding
from synapse_apply.model.parallel_reads import open_thread_pool
from synapse_apply.model.phrases import format_count_and_noun, format_short_list
from synapse_apply.model.plan import Change
from synapse_apply.model.ports import Progress
from synapse_apply.model.resource import Observed
from synapse_apply.model.values import Reference
from synapse_apply.planning.plan_input import ResourceState
from synapse_apply.planning.series import find_companion_address
from synapse_apply.workspace.recovery_journal import RecoveryJournal, journal_folders
from synapse_apply.workspace.target_session import PlanResult, TargetSession


def build_run(
    session: TargetSession, plan_result: PlanResult, progress: Progress, gate: Gate | None = None
) -> Run:
    """One apply of a plan to a target."""
    plan, resources = plan_result.plan, plan_result.resources
    records = {
        address: resource.record
        for address, resource in resources.items()
        if resource.record is not None
    }
    backend = Backend(
        api=session.api,
        marks=build_known_marks(session, records),
        capabilities=plan_result.capabilities,
        request_id=session.backend.request_id,
        longest_call=session.backend.longest_call,
        known={
            address: resource.lookup_result.observed
            for address, resource in resources.items()
            if resource.lookup_result.observed is not None
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
    )
    return Run(
        backend,
        ledger,
        secrets=session.secrets,
        packages=ProgressPackages(session.packages, progress, session.clock),
        progress=progress,
        claims=Claims(session.store),
        gate=gate or Gate(),
        settle_after=session.target.settle_after,
        sleep=session.pause,
        read_published_digest=partial(read_published_digest, session),
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
        member_address = find_companion_address(step.change)
        if member_address is not None:
            member = _with_key_from_owner(steps[member_address], step)
            steps[member_address] = member
            steps[address] = replace(step, companion=member)
    return list(steps.values())


def _with_key_from_owner(member: Step, owner: Step) -> Step:
    """The step of a series' member with a natural key, which may have to be its owner's."""
    if member.natural_key or member.desired is None or owner.desired is None:
        return member
    observed = Observed("", owner.binding.api, owner.spec)
    parents = {
        name: observed for name, value in member.spec.items() if value == Reference(owner.address)
    }
    key = member.type.derive_natural_key(member.spec, parents)
    return replace(member, natural_key=key)


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
        observed=resource.lookup_result.observed,
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


def dry_run_findings(dry_run_result: DryRunResult) -> tuple[Diagnostic, ...]:
    """The findings of the dry runs, and one warning that lists the calls that were not tried."""
    return (*dry_run_result.findings, *_iter_untried_warning(dry_run_result))


def _iter_untried_warning(dry_run_result: DryRunResult) -> Iterator[Diagnostic]:
    reasons: dict[str, list[str]] = {}
    for dry_run_call, reason in dry_run_result.untried:
        reasons.setdefault(reason, []).append(f"{dry_run_call.step.address}")
    if not reasons:
        return
    counts = dry_run_result.dry_run_counts
    calls_text = f"{counts.untried} of {format_count_and_noun(counts.total_calls, 'call')}"
    reasons_text = "; ".join(
        f"{reason} ({format_short_list(addresses)})" for reason, addresses in reasons.items()
    )
    yield warning_finding(
        "Not every call was tried on the backend",
        f"{calls_text} not tried: {reasons_text}.",
        "What the backend says to these shows when they are applied.",
    )
