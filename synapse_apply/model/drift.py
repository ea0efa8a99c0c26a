"""What moved outside: how live objects differ from what was recorded of them."""

from __future__ import annotations

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, Position
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Change, FieldChange, PlanBase


@frozen
class ObjectDrift:
    """One recorded object that is not as it was left.

    `fields` lead from what the server answered last to what is live; their cause is drift, or both
    where the manifest moved since, too. `is_missing`: there is no such object any more.
    `replacement_id` is the id of another one that has its name now. `blocked_reason` tells why
    apply could not undo it. `replaced_maps` are texts or lists that stand where a map was whose
    fields are gone. `is_writable`: what is live can be written into the files.
    """

    address: Address
    remote_id: str
    fields: tuple[FieldChange, ...] = ()
    is_missing: bool = False
    replacement_id: str = ""
    blocked_reason: str = ""
    position: Position | None = None
    replaced_maps: tuple[FieldChange, ...] = ()
    is_writable: bool = True

    @property
    def all_field_changes(self) -> tuple[FieldChange, ...]:
        """All there is to see of it."""
        return tuple(sorted((*self.fields, *self.replaced_maps), key=lambda field: field.path))


@frozen
class Unmanaged:
    """A live object that no manifest declares and no record has; `keys` are FORM=TEXT."""

    kind: str
    remote_id: str
    keys: tuple[str, ...] = ()


@frozen
class AcceptedEdit:
    """A value that was written into a file; `line` is where it stands there now."""

    address: Address
    field: FieldChange
    file: str
    line: int


@frozen
class Drift:
    """All that moved outside of what was looked at.

    `pending_addresses` are addresses with declared changes that are not applied yet: no drift.
    `is_drift_kept` says that apply keeps drift on this target. `unmanaged` is None where nobody
    asked for it, `unlistable_kinds` the kinds that this backend cannot list, `unread_kinds` those
    whose list failed. `accepted_edits` is what was taken into the files. `typed_target` is the
    target that was typed: commands in the advice name it. `changes_with_accepted` are the resources
    with differences that `state accept` took for settled.
    """

    created: str
    tool_version: str
    base: PlanBase
    objects: tuple[ObjectDrift, ...] = ()
    pending_addresses: tuple[Address, ...] = ()
    is_drift_kept: bool = False
    unmanaged: tuple[Unmanaged, ...] | None = None
    unlistable_kinds: tuple[str, ...] = ()
    unread_kinds: tuple[str, ...] = ()
    accepted_edits: tuple[AcceptedEdit, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    typed_target: str = ""
    changes_with_accepted: tuple[Change, ...] = ()

    @property
    def has_errors(self) -> bool:
        """Whether something could not be looked at."""
        return any(finding.is_error for finding in self.diagnostics)

    @property
    def unmanaged_count(self) -> int | None:
        """How many live objects are unmanaged; None where that was not asked, or is not known."""
        return None if self.unmanaged is None or self.unread_kinds else len(self.unmanaged)

    @property
    def changed_objects(self) -> tuple[ObjectDrift, ...]:
        return tuple(drifted for drifted in self.objects if not drifted.is_missing)

    @property
    def missing_objects(self) -> tuple[ObjectDrift, ...]:
        return tuple(drifted for drifted in self.objects if drifted.is_missing)
