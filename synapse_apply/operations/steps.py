"""Which steps a plan consists of, and which ports they use."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from synapse_apply.applying.step import ApplyTools, Step
from synapse_apply.applying.uploading import ProgressPackages
from synapse_apply.live.comparable_values import build_fields_as_recorded_when_live_agrees
from synapse_apply.live.open_intents import build_secret_marks_of_declared_and_recorded
from synapse_apply.model.address import Address
from synapse_apply.model.observed import Observed
from synapse_apply.model.plan import Change
from synapse_apply.model.ports import Progress
from synapse_apply.model.values import Reference
from synapse_apply.planning.create_companions import find_member_address_created_by_same_call
from synapse_apply.workspace.recovery_journal import (
    RecoveryJournal,
    get_project_and_temporary_journal_folders,
)
from synapse_apply.workspace.target_session import PlanResult, TargetSession


def build_apply_tools(
    session: TargetSession, plan_result: PlanResult, progress: Progress
) -> ApplyTools:
    """The ports of a target that steps use."""
    plan = plan_result.plan
    records = {
        at: one.record for at, one in plan_result.resources.items() if one.record is not None
    }
    return ApplyTools(
        api=session.api,
        store=session.store,
        secrets=session.secrets,
        packages=ProgressPackages(session.packages, progress, session.clock),
        clock=session.clock,
        progress=progress,
        marks=build_secret_marks_of_declared_and_recorded(session, records),
        actor=session.actor,
        plan_id=plan.id,
        last_request_id=session.backend.request_id,
        capabilities=plan_result.capabilities,
        max_call_seconds=session.backend.longest_call,
        settle_after=session.target.settle_after,
        sleep=session.pause,
        read_uptime=session.uptime,
        target=session.target.name,
        sign_record=session.signer.sign_last_run_if_any,
        permit=session.call_permit,
        write_recovery_file=RecoveryJournal(
            get_project_and_temporary_journal_folders(session.project),
            session.target.name,
            plan.base.lineage,
            plan.id,
            session.state_keys,
        ).append_call_durably_and_return_path_or_empty,
    )


def build_steps_of_actionable_changes(plan_result: PlanResult) -> list[Step]:
    """One step for each change that apply has something to do for, in the plan's order."""
    unkept = _collect_fields_backend_did_not_store_by_kind(plan_result)
    steps = {
        change.address: _build_step(plan_result, change, frozenset(unkept[change.address.kind]))
        for change in plan_result.plan.actionable_changes
    }
    for address, step in steps.items():
        member_address = find_member_address_created_by_same_call(step.change)
        if member_address is not None:
            steps[member_address] = _with_natural_key_from_owner_if_missing(
                steps[member_address], step
            )
            steps[address] = replace(step, companion=steps[member_address])
    return list(steps.values())


def _with_natural_key_from_owner_if_missing(member_step: Step, owner_step: Step) -> Step:
    """The step of a series' member with a natural key derived from its owner's step."""
    if member_step.natural_key or member_step.desired is None or owner_step.desired is None:
        return member_step
    owner_observed = Observed("", owner_step.binding.api, owner_step.desired.spec)
    spec = member_step.desired.spec
    parents = {
        name: owner_observed
        for name, value in spec.items()
        if value == Reference(owner_step.address)
    }
    return replace(
        member_step, natural_key=member_step.type.derive_natural_key_or_empty(spec, parents)
    )


def _collect_fields_backend_did_not_store_by_kind(planned: PlanResult) -> dict[str, set[str]]:
    """Fields that the backend did not store in earlier runs, by kind."""
    unkept: dict[str, set[str]] = defaultdict(set)
    for address, item in planned.resources.items():
        if item.record is not None and item.record.api == item.binding.api:
            unkept[address.kind].update(item.record.unkept)
    return unkept


def _build_step(plan_result: PlanResult, change: Change, unkept: frozenset[str]) -> Step:
    resource = plan_result.resources[change.address]
    ignored_paths = resource.desired.lifecycle.ignore_changes if resource.desired else ()
    return Step(
        change=change,
        type=resource.type,
        binding=resource.binding,
        predecessors=change.depends_on,
        desired=resource.desired,
        record=resource.record,
        observed=resource.lookup_result.observed,
        declared_fields=build_fields_as_recorded_when_live_agrees(
            resource.declared_fields, ignored_paths
        ),
        salt=resource.salt,
        natural_key=resource.natural_key,
        unkept=unkept,
    )


def map_live_objects_by_address(plan_result: PlanResult) -> dict[Address, Observed]:
    """The live objects that a plan was made from, by address."""
    return {
        address: resource.lookup_result.observed
        for address, resource in plan_result.resources.items()
        if resource.lookup_result.observed is not None
    }
