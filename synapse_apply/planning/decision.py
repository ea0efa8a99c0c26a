"""What is decided about one address: its change in the plan, and the findings on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, FieldPath
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Action, Change, FieldChange, Refusal
from synapse_apply.model.values import KnownAfterApply, collect_references
from synapse_apply.planning.fields import (
    EMPTY_SIDE,
    ChangeSide,
    build_change_side,
    build_side_after_changes,
    compute_fingerprint,
)
from synapse_apply.planning.identity import known_remote_id
from synapse_apply.planning.plan_input import ResourceState

_REMOVALS = frozenset({Action.DELETE, Action.FORGET})
_CREATES = frozenset({Action.CREATE, Action.RECREATE})


@frozen
class Decision:
    """The change of one address, and the findings on it.

    `foreign_secrets` are secret fields that cannot be compared with the present state key.
    `tolerated_rules` are policy rules that the unchanged resource violates.
    """

    change: Change
    diagnostics: tuple[Diagnostic, ...] = ()
    foreign_secrets: tuple[FieldPath, ...] = ()
    tolerated_rules: tuple[str, ...] = ()

    @property
    def is_blocked(self) -> bool:
        """Whether nothing that depends on it may be carried out."""
        return self.change.is_refused or any(finding.is_error for finding in self.diagnostics)

    def refused(self, *refusals: Refusal) -> Decision:
        """A copy with more refusals; a refused change updates no record either."""
        if not refusals:
            return self
        all_refusals = (*self.change.refusals, *refusals)
        # Without the refused call neither the record's update nor the run makes sense.
        change = replace(self.change, refusals=all_refusals, rebase=False, verification=None)
        return replace(self, change=change)


def build_change(
    resource: ResourceState, action: Action, fields: Sequence[FieldChange] = ()
) -> Change:
    """A change with all that follows from the resource: ids, both sides, fingerprint."""
    before, after = _both_sides(resource, action, fields)
    return Change(
        address=resource.address,
        action=action,
        fields=tuple(fields),
        depends_on=declared_dependencies(resource) if action not in _REMOVALS else (),
        remote_id="" if action is Action.CREATE else known_remote_id(resource),
        api=resource.binding.api,
        before=before.tree,
        after=after.tree,
        before_sensitive=before.sensitive_paths,
        after_sensitive=after.sensitive_paths,
        after_unknown=after.unknown_paths,
        fingerprint=compute_fingerprint(resource),
        position=resource.desired.position if resource.desired else None,
    )


def no_op_change(resource: ResourceState, depends_on: tuple[Address, ...]) -> Change:
    """The change of a resource that stays as it is; a fingerprint only where its kind has runs.

    Only a verification run may still be due for it.
    """
    live = build_change_side(resource.live_fields)
    return Change(
        address=resource.address,
        action=Action.NO_OP,
        depends_on=depends_on,
        remote_id=known_remote_id(resource),
        api=resource.binding.api,
        before=live.tree,
        after=live.tree,
        before_sensitive=live.sensitive_paths,
        after_sensitive=live.sensitive_paths,
        after_unknown=live.unknown_paths,
        # Nothing checks the fingerprint of an unchanged resource unless a run is due, and hashing
        # every one would take much of the time of planning a large target.
        fingerprint=compute_fingerprint(resource)
        if resource.type.verification_spec is not None
        else "",
        position=resource.desired.position if resource.desired else None,
    )


def declared_dependencies(resource: ResourceState) -> tuple[Address, ...]:
    """The addresses that a declared resource depends on: by depends_on, references, or waits."""
    if resource.desired is None:
        return ()
    addresses = [reference.address for reference in collect_references(resource.desired.spec)]
    addresses += [
        reference.address
        for reference in resource.declared_fields.values()
        if type(reference) is KnownAfterApply
    ]
    addresses += resource.desired.depends_on
    return tuple(sorted(set(addresses))) if addresses else ()


def _both_sides(
    resource: ResourceState, action: Action, fields: Sequence[FieldChange]
) -> tuple[ChangeSide, ChangeSide]:
    live = (
        build_change_side(resource.live_fields)
        if resource.lookup_result.observed is not None
        else EMPTY_SIDE
    )
    if action in _CREATES:
        return EMPTY_SIDE, build_change_side(resource.declared_fields)
    if action in _REMOVALS:
        return live, EMPTY_SIDE
    # One object for both sides, built once.
    if not fields:
        return live, live
    return live, build_side_after_changes(resource.live_fields, resource.declared_fields, fields)
