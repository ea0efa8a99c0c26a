"""Whether a recorded object that is no longer declared is kept, forgotten, deleted or refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace

from synapse_apply.model.address import Address
from synapse_apply.model.command import Command, Text
from synapse_apply.model.frozen import mutable
from synapse_apply.model.phrases import format_short_list
from synapse_apply.model.plan import Action
from synapse_apply.planning import missing_dependencies, refusals
from synapse_apply.planning.decide_declared import PlanIndex
from synapse_apply.planning.decision import Decision, build_change
from synapse_apply.planning.identity import changed_identity
from synapse_apply.planning.open_call_refusals import iter_acting_call_refusals
from synapse_apply.planning.plan_input import ResourceState, SeriesKey
from synapse_apply.planning.sealed import is_or_was_sealed
from synapse_apply.planning.series import (
    declared_successors,
    is_beyond_retention,
    is_of_declared_series,
)

_REMOVALS = frozenset({Action.DELETE, Action.FORGET})
_CREATES = frozenset({Action.CREATE, Action.RECREATE})


def decide_undeclared_alone(resource: ResourceState, index: PlanIndex) -> Decision:
    """The decision on a record without manifest, without regard to what depends on it."""
    intent = index.open_intents.get(resource.address)
    if intent is not None and not (
        intent.verb == "delete"
        and index.plan_input.options.prune
        and index.can_send_again(intent, resource)
    ):
        return Decision(build_change(resource, Action.NO_OP)).refused(
            index.open_intent_refusal(intent)
        )
    # Its object is declared under a new address, so it must be neither deleted nor forgotten.
    if resource.address in index.identity_claims.held_records | index.plan_input.unmoved:
        return _noted(
            resource, Action.NO_OP, "kept in state: its address was renamed in the manifests"
        )
    is_past_retention = resource.binding.delete_object is not None and is_beyond_retention(
        resource, index.series
    )
    is_staying = (
        not (is_past_retention and index.plan_input.options.prune)
        and resource.address not in index.plan_input.removed_addresses
    )
    if is_of_declared_series(resource, index.series) and is_staying:
        return Decision(replace(build_change(resource, Action.NO_OP), superseded=True))
    conflicts = index.identity_claims.conflicts.get(resource.address, ())
    if conflicts:
        return Decision(build_change(resource, Action.NO_OP), tuple(conflicts))
    # Its manifest may be among those that were not read.
    if index.plan_input.options.partial:
        return Decision(build_change(resource, Action.NO_OP))
    if resource.address in index.plan_input.removed_addresses:
        return _noted(resource, Action.FORGET, "removed: in the project file; the object stays")
    if resource.binding.delete_object is None:
        return _noted(
            resource,
            Action.FORGET,
            "no longer declared; the object stays, this API cannot delete it",
        )
    return _decide_removal(resource, index)


def _decide_removal(resource: ResourceState, index: PlanIndex) -> Decision:
    if not index.plan_input.options.prune:
        return _noted(
            resource,
            Action.NO_OP,
            Text(
                "no longer declared: --prune deletes it, ",
                Command("state rm", resource.address),
                " only forgets it",
            ),
        )
    # Whether the object exists is unknown, so its record must stay.
    if resource.lookup_result.problem is not None:
        return Decision(build_change(resource, Action.NO_OP), (resource.lookup_result.problem,))
    if resource.lookup_result.observed is None:
        return _noted(resource, Action.FORGET, "no longer declared, and gone already")
    reason = "no longer declared, and --prune was given"
    if is_beyond_retention(resource, index.series):
        reason = "older than what is retained, and --prune was given"
    decision = Decision(replace(build_change(resource, Action.DELETE), reason=reason))
    # The id belongs to another object by now, which must not be deleted.
    if names := changed_identity(resource):
        return decision.refused(
            refusals.refusal("other-object: recorded", resource, names=format_short_list(names))
        )
    # The protection is in the record, since the manifest that declared it is gone.
    if resource.record is not None and resource.record.protected:
        return decision.refused(refusals.refusal("prevent-destroy", resource))
    if not is_or_was_sealed(resource):
        return decision
    loss = refusals.sealed_loss(resource)
    if not index.plan_input.options.allow_locked:
        allow = Command("apply --prune --allow-locked")
        return decision.refused(refusals.refusal("delete-sealed", resource, loss=loss, allow=allow))
    notes = (*decision.change.notes, loss)
    return replace(decision, change=replace(decision.change, notes=notes))


def _noted(resource: ResourceState, action: Action, note: str) -> Decision:
    decision = Decision(replace(build_change(resource, action), notes=(note,)))
    if action is Action.FORGET:
        decision = decision.refused(*iter_acting_call_refusals(resource))
    return decision


@mutable
class SeriesSuccessors:
    """The declared members that take the place of removed ones, by series; computed once each.

    `declared_decisions` are the decisions on all declared resources.
    """

    index: PlanIndex
    declared_decisions: Mapping[Address, Decision]
    _successors_by_series: dict[SeriesKey, tuple[list[Address], list[Address]]] = field(
        default_factory=dict
    )

    def after_successors(self, decision: Decision, resource: ResourceState) -> Decision:
        """The decision on a removed series member, ordered after the members that replace it.

        Where one of those cannot be created, the record stays and nothing is deleted. What
        `removed:` in the project file names does not wait.
        """
        if (
            decision.change.action not in _REMOVALS
            or resource.address in self.index.plan_input.removed_addresses
        ):
            return decision
        successors, unsolved = self._successors_and_unsolved(resource)
        # Nothing is lost by keeping a record for now, so this is a note in place of a refusal.
        if unsolved and decision.change.action is Action.FORGET and not decision.is_blocked:
            return _noted(
                resource,
                Action.NO_OP,
                f"kept in state until {format_short_list(unsolved)} is there",
            )
        predecessors = tuple(sorted({*decision.change.depends_on, *successors}))
        decision = replace(decision, change=replace(decision.change, depends_on=predecessors))
        left_out = [
            address for address in unsolved if not self.declared_decisions[address].is_blocked
        ]
        if left_out:
            decision = decision.refused(
                missing_dependencies.not_selected_refusal(resource, left_out)
            )
        blocked = [address for address in unsolved if address not in left_out]
        return (
            decision.refused(missing_dependencies.build_dependency_refusal(resource, blocked))
            if blocked
            else decision
        )

    def _successors_and_unsolved(
        self, resource: ResourceState
    ) -> tuple[list[Address], list[Address]]:
        """Declared members that change or are blocked, and those blocked or not selected."""
        series = SeriesKey(
            resource.address.kind, resource.record.series if resource.record is not None else ""
        )
        if series not in self._successors_by_series:
            members = declared_successors(resource, self.index.series)
            decisions = {address: self.declared_decisions[address] for address in members}
            changed = [
                address
                for address, member_decision in decisions.items()
                if member_decision.change.has_unrefused_call_or_run or member_decision.is_blocked
            ]
            unsolved = [
                address
                for address in changed
                if decisions[address].is_blocked or self._is_unselected_create(decisions[address])
            ]
            self._successors_by_series[series] = changed, unsolved
        return self._successors_by_series[series]

    def _is_unselected_create(self, decision: Decision) -> bool:
        """Whether a decision is a create that the selection leaves out."""
        selected = self.index.plan_input.options.selected
        is_unselected = selected is not None and decision.change.address not in selected
        return is_unselected and decision.change.action in _CREATES
