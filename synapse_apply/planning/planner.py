"""How a plan is made: identities are checked, each address decided, ordered, and guarded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.diagnostic import Diagnostic, error_finding, warning_finding
from synapse_apply.model.frozen import replace
from synapse_apply.model.paused_collection import pause_gc
from synapse_apply.model.phrases import format_field_path, format_short_list
from synapse_apply.model.plan import Action, Change, Plan
from synapse_apply.model.state import CREATE_VERB
from synapse_apply.model.values import DesiredSecret
from synapse_apply.planning import guards, policy, refusals
from synapse_apply.planning.decide import Decider, PlanIndex
from synapse_apply.planning.decision import CREATES, REMOVALS, Decision
from synapse_apply.planning.diff import NO_STATE_KEY_REASON
from synapse_apply.planning.identity import collect_identity_claims, open_calls_of_others
from synapse_apply.planning.open_call_refusals import acting_warnings
from synapse_apply.planning.order import sort_by_dependencies_and_find_cycles
from synapse_apply.planning.package import iter_untold_packages, uploaded_digest
from synapse_apply.planning.plan_input import PlanInput, ResourceState, SeriesKey
from synapse_apply.planning.series import Companions, Series
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
        resources = policy.with_other_addresses(resources)
    return _Planner(replace(plan_input, resources=resources)).build_plan()


class _Planner:
    """The decisions of one plan, declared resources first, and what all of them are made by."""

    def __init__(self, given: PlanInput) -> None:
        # Of several of an address the one that may act longest is told of.
        calls = sorted(given.open_intents, key=lambda one: given.call_ends.get(one.id, ""))
        self.given, self.options, self.resources = given, given.options, given.resources
        claims = collect_identity_claims(self.resources)
        others = (self.resources, calls, given.open_call_by_new_address, claims)
        self.index = PlanIndex(
            given,
            identity_claims=claims,
            series=Series(self.resources.values()),
            open_intents={intent.address: intent for intent in calls},
            calls_of_others=open_calls_of_others(*others) if calls else {},
        )
        self.policy = policy.policy_rules(given, self.resources.values())
        self.decisions: Decisions = {}
        self.successors: dict[SeriesKey, tuple[list[Address], list[Address]]] = {}

    def build_plan(self) -> Plan:
        given, index, resources = self.given, self.index, self.resources
        cycles = self.decide_declared()
        declared = {*self.decisions}
        self.decide_undeclared()
        undeclared = self.decisions.keys() - declared
        # A superseded member is no loss for the guards, even where it is deleted.
        uncounted = {one for one in undeclared if index.series.continues(resources[one])}
        uncounted |= given.removed_addresses & undeclared
        uncounted |= {address for address in declared if resources[address].is_external}
        for address, intent in sorted(index.open_intents.items()):
            # Neither declared nor recorded.
            if address not in resources:
                action = Action.CREATE if intent.verb == CREATE_VERB else Action.NO_OP
                change = Change(address, action, remote_id=intent.remote_id, api=intent.api)
                refusal = index.open_intent_refusal(intent)
                self.decisions[address] = Decision(replace(change, refusals=(refusal,)))
        decisions = {
            address: decision
            for address, decision in self.decisions.items()
            if self.options.selects(address)
        }
        changes = {address: decision.change for address, decision in decisions.items()}
        stops, policy_warnings = guards.judge_plan_rules(given, changes.values())
        live = [resources[address] for address in sorted(changes.keys() & resources.keys())]
        diagnostics = (
            *given.diagnostics,
            *self.partial_selection(len(decisions)),
            *cycles,
            *(finding for decision in decisions.values() for finding in decision.diagnostics),
            *acting_warnings(
                [
                    resource
                    for resource in live
                    if (change := changes[resource.address]).action is not Action.DELETE
                    # Else its refusal tells of the call, but not of what is kept beside it.
                    and (change.held or not any(one.hides_drift for one in change.refusals))
                ],
                index.open_intents.values(),
                changes,
            ),
            *iter_untold_packages([one.record for one in live if one.record and one.desired]),
            *self.foreign_keys(decisions),
            *self.missing_secrets(changes),
            *policy_warnings,
            *policy.unchanged_violators(decisions, self.policy),
            *guards.unknown_policy_addresses(given),
            *self.lowered_versions(decisions),
        )
        return Plan(
            id=given.plan_id,
            created=given.created,
            tool_version=given.tool_version,
            base=given.base,
            changes=tuple(changes.values()),
            guards=(*guards.list_guard_violations(given, changes, uncounted), *stops),
            diagnostics=tuple(dict.fromkeys(diagnostics)),
            capabilities=given.capabilities,
            moved=given.moved,
            trial=given.trial,
        )

    def decide(self, resource: ResourceState) -> Decision:
        """The decision on one resource by itself, with what the policy and others say of it."""
        given, decider = self.given, Decider(resource, self.index)
        if resource.desired is not None:
            decision = decider.declared()
            if not resource.is_external:
                decision = add_due_run(resource, decision, given, self.index.series)
        else:
            decision = decider.undeclared()
        decision = policy.add_policy_findings(resource, decision, self.policy)
        digest = uploaded_digest(decision.change)
        # No other package is looked into.
        if digest and resource.desired is not None and self.options.selects(resource.address):
            flaws, notes = given.judge_package(resource.desired, self.options)
            flawed = (refusals.package_flaw(flaw, digest) for flaw in flaws)
            decision = decision.noted(*notes).refused(*flawed)
        # A rule forbids its move, or the backend refused its dry run.
        by_address = (given.move_refusals, given.dry_run_refusals)
        address = resource.address
        return decision.refused(*(told[address] for told in by_address if address in told))

    def decide_declared(self) -> list[Diagnostic]:
        """Decide on declared resources in dependency order; a blocked one blocks its dependents.

        Returns an error for each cycle of dependencies.
        """
        # An owner is decided before its members, so it can still choose the one that is created
        # with it.
        needs = {address: one.needs for address, one in self.resources.items() if one.desired}
        companions = Companions(self.resources, needs, self.decide, self.options)
        ordered, cycles = sort_by_dependencies_and_find_cycles(
            companions.graph, lambda address: self.resources[address].type.rank
        )
        for address in ordered:
            resource = self.resources[address]
            decision = companions.with_companion(resource, self.decide(resource))
            # An update of the record alone needs no dependency.
            if decision.change.has_unrefused_call_or_run:
                unmet = [need for need in companions.graph[address] if self.is_unmet(need)]
                decision = self.refuse_unmet(resource, decision, unmet)
            self.decisions[address] = decision
        return [
            error_finding(
                "Dependency cycle",
                " needs ".join(str(address) for address in reversed(cycle)) + ".",
                "Remove one of these dependencies.",
                position=self.resources[cycle[0]].position(),
                address=str(cycle[0]),
            )
            for cycle in cycles
        ]

    def is_unmet(self, need: Address) -> bool:
        """Whether a dependency is blocked, or neither exists nor is created by this plan."""
        if need in self.decisions:
            if self.decisions[need].is_blocked:
                return True
            if self.options.selects(need):
                return False
        return need not in self.resources or self.resources[need].observed is None

    def refuse_unmet(
        self, resource: ResourceState, decision: Decision, unmet: Sequence[Address]
    ) -> Decision:
        """The decision, refused for dependencies that this plan cannot provide."""
        planned = {need: self.decisions[need] for need in unmet if need in self.decisions}
        left_out = {need for need in planned if not self.options.selects(need)}
        # These would be created if they were selected.
        unselected = [need for need in unmet if need in left_out and not planned[need].is_blocked]
        if unselected:
            decision = decision.refused(refusals.not_selected(resource, unselected))
        hidden = {
            need: cause
            for need in sorted(left_out.difference(unselected))
            for cause in planned[need].change.refusals
            if cause.outcome_unknown
        }
        for need, cause in hidden.items():
            decision = decision.refused(refusals.hidden_dependency(resource, need, cause))
        if unsolvable := [need for need in unmet if need not in {*unselected, *hidden}]:
            decision = decision.refused(
                refusals.refusal("dependency", resource, names=format_short_list(unsolvable))
            )
        return decision

    def decide_undeclared(self) -> None:
        """Decide on records without manifest, dependents before their dependencies."""
        graph: dict[Address, Collection[Address]] = {}
        users: dict[Address, list[Address]] = defaultdict(list)
        for address, resource in self.resources.items():
            if resource.record is None:
                continue
            for need in resource.record.depends_on:
                users[need].append(address)
            if resource.desired is None:
                graph[address] = resource.record.depends_on
        # Deletes are made in the reverse order of creates: dependents first.
        ordered, _ = sort_by_dependencies_and_find_cycles(
            graph, lambda address: self.resources[address].type.rank
        )
        for address in reversed(ordered):
            resource = self.resources[address]
            decision = self.decide(resource)
            if decision.change.action is Action.DELETE:
                found = sorted({*users[address]} & self.decisions.keys())
                decision = decision.changed(depends_on=tuple(found))
                if blocked := [user for user in found if self.decisions[user].is_blocked]:
                    names = format_short_list(blocked)
                    decision = decision.refused(
                        refusals.refusal("dependency", resource, names=names)
                    )
            # What `removed:` in the project file names does not wait.
            is_removed = address in self.given.removed_addresses
            if decision.change.action in REMOVALS and not is_removed:
                decision = self.after_successors(resource, decision)
            self.decisions[address] = decision

    # Otherwise one mistyped version, which is refused, would remove all others.
    def after_successors(self, resource: ResourceState, decision: Decision) -> Decision:
        """The decision on a removed series member, ordered after the members that replace it.

        Where one of those cannot be created, the record stays and nothing is deleted.
        """
        key, _ = resource.member
        if key not in self.successors:
            members = {
                member: self.decisions[member] for member in self.index.series.of(resource).declared
            }
            changed = [
                member
                for member, one in members.items()
                if one.change.has_unrefused_call_or_run or one.is_blocked
            ]
            unsolved = [
                member
                for member in changed
                if members[member].is_blocked
                or (members[member].change.action in CREATES and not self.options.selects(member))
            ]
            self.successors[key] = changed, unsolved
        changed, unsolved = self.successors[key]
        # Nothing is lost by keeping a record for now, so this is a note in place of a refusal.
        if unsolved and decision.change.action is Action.FORGET and not decision.is_blocked:
            note = f"kept in the state until {format_short_list(unsolved)} exists"
            return Decider(resource, self.index).left_alone(note)
        predecessors = {*decision.change.depends_on, *changed}
        decision = decision.changed(depends_on=tuple(sorted(predecessors)))
        blocked = [member for member in unsolved if self.decisions[member].is_blocked]
        if left_out := [member for member in unsolved if member not in blocked]:
            decision = decision.refused(refusals.not_selected(resource, left_out))
        if blocked:
            names = format_short_list(blocked)
            decision = decision.refused(refusals.refusal("dependency", resource, names=names))
        return decision

    def partial_selection(self, selected: int) -> Iterator[Diagnostic]:
        """A warning that only a part was planned: `No changes.` is not taken for the whole."""
        count = len(self.resources)
        if self.options.selected is not None and count > selected:
            yield warning_finding(
                "The plan covers only some resources",
                f"{count - selected} of {count} addresses are not selected and stay unchanged.",
                "Omit --only and --exclude to plan all resources.",
            )

    def foreign_keys(self, decisions: Decisions) -> Iterator[Diagnostic]:
        """One warning for all secrets that were recorded under another state key."""
        foreign = sorted(a for a, one in decisions.items() if one.foreign_secrets)
        fields = [
            f"{address} {format_field_path(path)}"
            for address in foreign
            for path in decisions[address].foreign_secrets
        ]
        if fields:
            bindings = [(address, self.resources[address].binding) for address in foreign]
            yield warning_finding(
                "Secrets not checked: the state records them under a different key",
                f"{format_short_list(fields)}.",
                Text(
                    "Provide the state's own key, or run ",
                    Command("state rekey"),
                    ". If that does not help, or a value has changed since then: ",
                    refusals.settle_secrets(bindings),
                    ".",
                ),
            )

    def missing_secrets(self, changes: Mapping[Address, Change]) -> Iterator[Diagnostic]:
        """One warning for all secrets that an apply would send and that cannot be read here."""
        fields = [
            f"{address} {format_field_path(path)} ({value.missing_reason})"
            for address, change in changes.items()
            if change.has_unrefused_call_or_run and (change.fields or change.action in CREATES)
            for path, value in self.resources[address].declared_fields.items()
            if isinstance(value, DesiredSecret)
            and not (value.mac or value.ref.keeps_live_value)
            and value.missing_reason != NO_STATE_KEY_REASON
        ]
        if fields and not self.given.base.is_offline:
            yield warning_finding(
                "Apply would stop: secrets are missing",
                f"{format_short_list(sorted(fields))}.",
                "Make them available where you run `apply`. `apply` sends nothing without them.",
            )

    def lowered_versions(self, decisions: Decisions) -> list[Diagnostic]:
        findings = self.index.series.lowered_versions(self.resources)
        addresses = set(map(str, decisions)) if findings else set()
        return [finding for finding in findings if finding.address in addresses]
