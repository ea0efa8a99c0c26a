"""What drift is: how live objects differ from their records, and what is unmanaged."""

from __future__ import annotations

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, Position
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Cause, Change, FieldChange, PlanBase


@frozen
class ObjectDrift:
    """One recorded object that was changed, deleted or replaced outside.

    `fields` have the last known answer as `before` and the live value as `after`; their cause is
    drift, or both
    where the manifest changed since, too. `is_missing`: the object was deleted.
    `replacement_id` is the id of another object that has its name now. `blocked_reason` says why
    apply cannot undo it. `replaced_maps` are scalars or lists in the place of a map whose
    fields are gone. `is_writable`: the live values can be written into the manifests. `origin`
    says which call of ours may have deleted it, as the end of a sentence.
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
    origin: str = ""

    @property
    def is_changed_in_git(self) -> bool:
        """Whether an update is due for the manifest's sake as well, so that no drift is kept."""
        return any(field.cause is Cause.BOTH for field in self.fields)

    @property
    def all_field_changes(self) -> tuple[FieldChange, ...]:
        """The differing fields and replaced maps, sorted by path."""
        return tuple(sorted((*self.fields, *self.replaced_maps), key=lambda field: field.path))


@frozen
class Unmanaged:
    """A live object that no manifest declares and no record has; `keys` are FORM=TEXT."""

    kind: str
    remote_id: str
    keys: tuple[str, ...] = ()


@frozen
class WrittenEdit:
    """A live value that was written into a file, at `line`, to accept drift."""

    address: Address
    field: FieldChange
    file: str
    line: int


@frozen
class Drift:
    """The result of a drift check.

    `pending_addresses` are addresses with declared changes that are not applied yet: no drift.
    `is_drift_kept` says that apply keeps drift on this target. `unmanaged` is None where it was not
    asked for, `unlistable_kinds` the kinds that this backend cannot list, `unread_kinds` those
    whose list failed. `written_edits` were written into the files. `typed_target` is the
    target option that was typed, which hints repeat. `changes_with_accepted` are the resources
    with differences that `state accept` has accepted. `has_unrecorded_as_declared`: something is
    live as it is declared, and not as it was recorded; the next apply records that.
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
    written_edits: tuple[WrittenEdit, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    typed_target: str = ""
    changes_with_accepted: tuple[Change, ...] = ()
    has_unrecorded_as_declared: bool = False

    @property
    def has_errors(self) -> bool:
        """Whether something could not be checked."""
        return any(finding.is_error for finding in self.diagnostics)

    @property
    def has_origin(self) -> bool:
        """Whether a call of ours set some of it, or may have set or deleted it."""
        return any(one.origin or any(f.origin for f in one.fields) for one in self.objects)

    @property
    def unmanaged_count(self) -> int | None:
        """How many live objects are unmanaged; None where it was not asked for, or is not known."""
        return None if self.unmanaged is None or self.unread_kinds else len(self.unmanaged)

    @property
    def changed_or_replaced_objects(self) -> tuple[ObjectDrift, ...]:
        return tuple(drifted for drifted in self.objects if not drifted.is_missing)

    @property
    def missing_objects(self) -> tuple[ObjectDrift, ...]:
        return tuple(drifted for drifted in self.objects if drifted.is_missing)
