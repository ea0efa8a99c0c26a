"""What is decided about one address: its change in the plan, and the findings on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from synapse_apply.model.diagnostic import Diagnostic, FieldPath
from synapse_apply.model.frozen import frozen, replace
from synapse_apply.model.plan import Action, Change, FieldChange, Refusal
from synapse_apply.planning.diff import EMPTY_SIDE, change_side, compute_fingerprint, side_after
from synapse_apply.planning.plan_input import ResourceState

REMOVALS = frozenset({Action.DELETE, Action.FORGET})
CREATES = frozenset({Action.CREATE, Action.RECREATE})


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
    def is_in_error(self) -> bool:
        return bool(self.diagnostics) and any(finding.is_error for finding in self.diagnostics)

    @property
    def is_blocked(self) -> bool:
        """Whether nothing that depends on it may be carried out."""
        return self.change.is_refused or self.is_in_error

    def changed(self, **fields: Any) -> Decision:
        """A copy whose change has other values in these fields."""
        return replace(self, change=replace(self.change, **fields))

    def noted(self, *notes: str, **fields: Any) -> Decision:
        """A copy with more notes, and other values in these fields of the change."""
        return self.changed(notes=(*self.change.notes, *notes), **fields)

    def refused(self, *refusals: Refusal) -> Decision:
        """A copy with more refusals; a refused change updates no record either."""
        if not refusals:
            return self
        # Without the refused call neither the record's update nor the run makes sense.
        refusals = (*self.change.refusals, *refusals)
        return self.changed(refusals=refusals, rebase=False, verification=None)


def build_change(
    resource: ResourceState,
    action: Action = Action.NO_OP,
    fields: Sequence[FieldChange] = (),
    *,
    is_unchanged: bool = False,
    **more: Any,
) -> Change:
    """A change with all that follows from the resource: ids, both sides, fingerprint.

    One that `is_unchanged` has a fingerprint only where its kind has runs; `more` are further
    fields of the change.
    """
    observed = resource.observed
    before = change_side(resource.live_fields) if observed is not None else EMPTY_SIDE
    after = before
    if action in CREATES:
        before, after = EMPTY_SIDE, change_side(resource.declared_fields)
    elif action in REMOVALS:
        after = EMPTY_SIDE
    elif fields:
        after = side_after(resource, fields)
    # Nothing checks the fingerprint of an unchanged resource unless a run is due, and hashing
    # every one would take much of the time of planning a large target.
    is_checked = not is_unchanged or resource.type.verification_spec is not None
    return Change(
        address=resource.address,
        action=action,
        fields=tuple(fields),
        depends_on=resource.needs if action not in REMOVALS else (),
        remote_id="" if action is Action.CREATE else resource.remote_id,
        api=resource.binding.api,
        before=before.tree,
        after=after.tree,
        before_sensitive=before.sensitive_paths,
        after_sensitive=after.sensitive_paths,
        after_unknown=after.unknown_paths,
        fingerprint=compute_fingerprint(resource) if is_checked else "",
        position=resource.position(),
        **more,
    )
