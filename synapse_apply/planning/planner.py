"""How a plan is made: identities are checked, each address decided, ordered, and guarded."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace

from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, error_finding, warning_finding
from synapse_apply.model.paused_collection import pause_gc
from synapse_apply.model.phrases import format_field_path, format_short_list
from synapse_apply.model.plan import Action, Change, Plan
from synapse_apply.model.state import CREATE_VERB
from synapse_apply.planning import refusals
from synapse_apply.planning.decide import (
    PlanIndex,
    SeriesSuccessors,
    decide_declared_alone,
    decide_undeclared_alone,
)
from synapse_apply.planning.decision import Decision, declared_dependencies
from synapse_apply.planning.guards import (
    judge_plan_rules,
    list_guard_violations,
    unknown_policy_addresses,
)
from synapse_apply.planning.identity import collect_identity_claims, open_calls_of_others
from synapse_apply.planning.open_call_refusals import iter_acting_call_warnings
from synapse_apply.planning.order import Cycle, sort_by_dependencies_and_find_cycles
from synapse_apply.planning.package import iter_untold_packages, uploaded_digest
from synapse_apply.planning.plan_input import PlanInput, ResourceState
from synapse_apply.planning.policy import (
    PolicyRules,
    add_policy_findings,
    resource_policy_rules,
    unchanged_violators,
    with_other_addresses,
)
from synapse_apply.planning.refusals import package_flaw, settle_secrets
from synapse_apply.planning.series import (
    CreateCompanions,
    extend_by_first_members,
    group_by_series,
    is_of_declared_series,
    lowered_versions,
)
from synapse_apply.planning.verification import add_due_run

Decisions = dict[Address, Decision]


@pause_gc()
def build_plan(plan_input: PlanInput) -> Plan:
    """The changes and refusals of every address, and the findings on the whole plan.

    Pure: the same input gives the same plan, whatever the order of its resources. Linear in the
    number of resources, apart from sorting.
    """
    # Sorted once here, so that nothing below depends on the order of the files.
    resources = {address: plan_input.resources[address] for address in sorted(plan_input.resources)}
    if plan_input.options.policy.rules:
        resources = with_other_addresses(resources)
        plan_input = replace(plan_input, resources=resources)
    index = _build_plan_index(resources, plan_input)
    rules = resource_policy_rules(
        resources.values(), plan_input.options.policy.rules, plan_input.published_versions
    )
    declared_decisions, cycles = _decide_all_declared(resources, index, rules)
    undeclared_decisions = _decide_all_undeclared(resources, index, declared_decisions, rules)
    # A superseded member is no loss for the guards, even where it is deleted.
    superseded = {
        address
        for address in undeclared_decisions
        if is_of_declared_series(resources[address], index.series)
    }
    removed_on_purpose = {
        address for address in plan_input.removed_addresses if address in undeclared_decisions
    }
    orphan_decisions = _refuse_orphans(resources, index)
    decisions = _select(
        {**declared_decisions, **undeclared_decisions, **orphan_decisions}, plan_input
    )
    changes = {address: decision.change for address, decision in decisions.items()}
    policy_violations, policy_warnings = judge_plan_rules(plan_input, changes.values())
    return Plan(
        id=plan_input.plan_id,
        created=plan_input.created,
        tool_version=plan_input.tool_version,
        base=plan_input.base,
        changes=tuple(changes.values()),
        guards=(
            *list_guard_violations(plan_input, changes, superseded | removed_on_purpose),
            *policy_violations,
        ),
        diagnostics=tuple(
            dict.fromkeys(
                (
                    *plan_input.diagnostics,
                    *_partial_selection(decisions, plan_input),
                    *(_build_cycle_error(cycle, resources) for cycle in cycles),
                    *(
                        finding
                        for decision in decisions.values()
                        for finding in decision.diagnostics
                    ),
                    *iter_acting_call_warnings(
                        [
                            resources[address]
                            for address in sorted(changes.keys() & resources.keys())
                            if changes[address].action is not Action.DELETE
                            and not any(one.hides_drift for one in changes[address].refusals)
                        ],
                        index.open_intents.values(),
                    ),
                    *iter_untold_packages(
                        [
                            resource.record
                            for address in sorted(changes.keys() & resources.keys())
                            if (resource := resources[address]).record and resource.desired
                        ]
                    ),
                    *_foreign_key_warning(decisions, resources),
                    *policy_warnings,
                    *unchanged_violators(decisions, rules),
                    *unknown_policy_addresses(plan_input),
                    *_of_selected(decisions, lowered_versions(index.series, resources)),
                )
            )
        ),
        capabilities=plan_input.capabilities,
        moved=plan_input.moved,
        trial=plan_input.trial,
    )


def _build_plan_index(
    resources: Mapping[Address, ResourceState], plan_input: PlanInput
) -> PlanIndex:
    # Of several of an address the one that may act longest is told of.
    calls = sorted(plan_input.open_intents, key=lambda one: plan_input.call_ends.get(one.id, ""))
    claims = collect_identity_claims(resources)
    return PlanIndex(
        plan_input,
        dependencies={
            address: declared_dependencies(resource)
            for address, resource in resources.items()
            if resource.desired is not None
        },
        identity_claims=claims,
        series=group_by_series(resources.values()),
        open_intents={intent.address: intent for intent in calls},
        calls_of_others=open_calls_of_others(
            resources, calls, plan_input.open_call_by_new_address, claims
        )
        if calls
        else {},
    )


def _decide_all_declared(
    resources: Mapping[Address, ResourceState], index: PlanIndex, policy_rules: PolicyRules
) -> tuple[Decisions, list[Cycle]]:
    """Decisions on declared resources in dependency order; a blocked one blocks its dependents."""
    graph = extend_by_first_members(resources, index.dependencies)
    ordered, cycles = sort_by_dependencies_and_find_cycles(
        graph, lambda address: resources[address].type.rank
    )
    decisions: Decisions = {}
    plan_input = index.plan_input

    def decide_resource(resource: ResourceState) -> Decision:
        decision = add_policy_findings(
            resource,
            add_due_run(resource, decide_declared_alone(resource, index), index),
            policy_rules,
        )
        decision = _refuse_unfit_package(decision, resource, plan_input)
        return _refuse_given(decision, index)

    # An owner is decided before its members, so it can still choose the one that is created with
    # it.
    companions = CreateCompanions(resources, plan_input.options.selected, decide_resource, graph)
    for address in ordered:
        resource = resources[address]
        decision = companions.add_companion(resource, decide_resource(resource))
        # An update of the record alone needs no dependency.
        if decision.change.has_unrefused_call_or_run:
            unmet = [
                need for need in graph[address] if _is_unmet(need, resources, decisions, index)
            ]
            unselected = [need for need in unmet if _is_only_unselected(need, decisions, index)]
            if unselected:
                decision = decision.refused(refusals.not_selected_refusal(resource, unselected))
            shown = plan_input.options.selected or unmet
            untold = {
                need: refusal
                for need in decisions.keys() & set(unmet).difference(unselected, shown)
                for refusal in decisions[need].change.refusals
                if refusal.outcome_unknown
            }
            for need, cause in sorted(untold.items()):
                refusal = refusals.build_dependency_refusal(resource, [need], cause)
                decision = decision.refused(refusal)
            if unsolvable := [need for need in unmet if need not in {*unselected, *untold}]:
                decision = decision.refused(refusals.build_dependency_refusal(resource, unsolvable))
        decisions[address] = decision
    return decisions, cycles


def _refuse_unfit_package(
    decision: Decision, resource: ResourceState, plan_input: PlanInput
) -> Decision:
    """The decision, refused for each flaw of the package that it would publish."""
    change, selected = decision.change, plan_input.options.selected
    digest, desired = uploaded_digest(change), resource.desired
    # No other package is looked into.
    if not digest or desired is None or (selected is not None and change.address not in selected):
        return decision
    flaws, notes = plan_input.judge_package(desired, plan_input.options)
    if notes:
        decision = replace(decision, change=replace(change, notes=(*change.notes, *notes)))
    return decision.refused(*(package_flaw(flaw, digest) for flaw in flaws))


def _refuse_given(decision: Decision, index: PlanIndex) -> Decision:
    """The decision, refused if a rule forbids its move, or if the backend refused its dry run."""
    given = (index.plan_input.move_refusals, index.plan_input.dry_run_refusals)
    address = decision.change.address
    return decision.refused(*(refusals[address] for refusals in given if address in refusals))


def _is_unmet(
    need: Address,
    resources: Mapping[Address, ResourceState],
    decisions: Decisions,
    index: PlanIndex,
) -> bool:
    """Whether a dependency is blocked, or neither exists nor is created by this plan."""
    if need in decisions and decisions[need].is_blocked:
        return True
    selected = index.plan_input.options.selected
    is_planned = need in decisions and (selected is None or need in selected)
    return not is_planned and (
        need not in resources or resources[need].lookup_result.observed is None
    )


def _is_only_unselected(need: Address, decisions: Decisions, index: PlanIndex) -> bool:
    """Whether a dependency would be created if it were selected."""
    selected = index.plan_input.options.selected
    return (
        selected is not None
        and need not in selected
        and need in decisions
        and not decisions[need].is_blocked
    )


def _decide_all_undeclared(
    resources: Mapping[Address, ResourceState],
    index: PlanIndex,
    declared_decisions: Decisions,
    policy_rules: PolicyRules,
) -> Decisions:
    """Decisions on records without manifest, dependents before their dependencies."""
    graph = {
        address: resource.record.depends_on
        for address, resource in resources.items()
        if resource.desired is None and resource.record is not None
    }
    ordered, _ = sort_by_dependencies_and_find_cycles(
        graph, lambda address: resources[address].type.rank
    )
    users, successors = (
        _dependents_by_need(resources),
        SeriesSuccessors(index, declared_decisions),
    )
    decisions: Decisions = {}
    # Deletes are made in the reverse order of creates: dependents first.
    for address in reversed(ordered):
        decision = _refuse_given(
            add_policy_findings(
                resources[address], decide_undeclared_alone(resources[address], index), policy_rules
            ),
            index,
        )
        if decision.change.action is Action.DELETE:
            decision = _after_dependents(
                decision, resources[address], users.get(address, ()), decisions, declared_decisions
            )
        decisions[address] = successors.after_successors(decision, resources[address])
    return decisions


def _dependents_by_need(
    resources: Mapping[Address, ResourceState],
) -> Mapping[Address, list[Address]]:
    """The recorded addresses that depend on each address."""
    users: dict[Address, list[Address]] = {}
    for address, resource in resources.items():
        for need in resource.record.depends_on if resource.record is not None else ():
            users.setdefault(need, []).append(address)
    return users


def _after_dependents(
    decision: Decision,
    resource: ResourceState,
    dependents: Iterable[Address],
    undeclared_decisions: Decisions,
    declared_decisions: Decisions,
) -> Decision:
    """A delete ordered after its dependents; a blocked dependent blocks the delete."""
    decision_by_user = {
        user: undeclared_decisions.get(user) or declared_decisions.get(user) for user in dependents
    }
    predecessors = tuple(
        sorted(
            user for user, user_decision in decision_by_user.items() if user_decision is not None
        )
    )
    blocked_users = [
        user
        for user in predecessors
        if (user_decision := decision_by_user[user]) is not None and user_decision.is_blocked
    ]
    decision = replace(decision, change=replace(decision.change, depends_on=predecessors))
    return (
        decision.refused(refusals.build_dependency_refusal(resource, blocked_users))
        if blocked_users
        else decision
    )


def _refuse_orphans(resources: Mapping[Address, ResourceState], index: PlanIndex) -> Decisions:
    """Decisions on open intents of addresses that are neither declared nor recorded."""
    return {
        address: Decision(
            Change(
                address=intent.address,
                action=Action.CREATE if intent.verb == CREATE_VERB else Action.NO_OP,
                refusals=(index.open_intent_refusal(intent),),
                remote_id=intent.remote_id,
                api=intent.api,
            )
        )
        for address, intent in sorted(index.open_intents.items())
        if address not in resources
    }


def _select(decisions: Decisions, plan_input: PlanInput) -> Decisions:
    selected = plan_input.options.selected
    if selected is None:
        return decisions
    return {address: decision for address, decision in decisions.items() if address in selected}


def _partial_selection(decisions: Decisions, plan_input: PlanInput) -> Iterator[Diagnostic]:
    """A warning that only a part was planned, so that `No changes.` is not taken for the whole."""
    unselected_count = len(plan_input.resources) - len(decisions)
    if plan_input.options.selected is not None and unselected_count > 0:
        yield warning_finding(
            "Only a part was planned",
            f"{unselected_count} of {len(plan_input.resources)} addresses are not selected and "
            f"left as they are.",
            "Leave out --only and --exclude to see all.",
        )


def _build_cycle_error(cycle: Cycle, resources: Mapping[Address, ResourceState]) -> Diagnostic:
    resource = resources[cycle[0]]
    return error_finding(
        "Dependency cycle",
        " needs ".join(str(address) for address in reversed(cycle)) + ".",
        "Remove one of these dependencies.",
        position=resource.desired.position if resource.desired else None,
        address=str(cycle[0]),
    )


def _foreign_key_warning(
    decisions: Decisions, resources: Mapping[Address, ResourceState]
) -> tuple[Diagnostic, ...]:
    """One warning for all secrets that were recorded under another state key."""
    foreign_paths = {
        address: decision.foreign_secrets
        for address, decision in decisions.items()
        if decision.foreign_secrets
    }
    fields = [
        f"{address} {format_field_path(path)}"
        for address in sorted(foreign_paths)
        for path in foreign_paths[address]
    ]
    if not fields:
        return ()
    bindings = [(address, resources[address].binding) for address in sorted(foreign_paths)]
    finding = warning_finding(
        "Secrets not checked: recorded under another state key",
        f"{format_short_list(fields)}.",
        Text(
            "Give the state's own key, or ",
            Command("state rekey"),
            ". Where the value has changed since: ",
            settle_secrets(bindings),
            ".",
        ),
    )
    return (finding,)


def _of_selected(decisions: Decisions, findings: Collection[Diagnostic]) -> Iterator[Diagnostic]:
    """The findings on selected addresses."""
    addresses = set(map(str, decisions)) if findings else set()
    return (finding for finding in findings if finding.address in addresses)
