"""What moved outside: how live objects differ from what was recorded of them."""

from __future__ import annotations

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, Position
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Base, Change, FieldChange


@frozen
class ObjectDrift:
    """One recorded object that is not as it was left.

    `fields` lead from what the server answered last to what is live; their cause is drift, or both
    where the manifest moved since, too. `gone`: there is no such object any more. `remade` is the
    id of another one that has its name now. `stuck` tells why apply could not undo it. `instead`
    are texts or lists that stand where a map was whose fields are gone. `writable`: what is live
    can be written into the files.
    """

    address: Address
    remote_id: str
    fields: tuple[FieldChange, ...] = ()
    gone: bool = False
    remade: str = ""
    stuck: str = ""
    position: Position | None = None
    instead: tuple[FieldChange, ...] = ()
    writable: bool = True

    @property
    def shown(self) -> tuple[FieldChange, ...]:
        """All there is to see of it."""
        return tuple(sorted((*self.fields, *self.instead), key=lambda field: field.path))


@frozen
class Unmanaged:
    """A live object that no manifest declares and no record has; `keys` are FORM=TEXT."""

    kind: str
    remote_id: str
    keys: tuple[str, ...] = ()


@frozen
class Edited:
    """A value that was written into a file; `line` is where it stands there now."""

    address: Address
    field: FieldChange
    file: str
    line: int


@frozen
class Drift:
    """All that moved outside of what was looked at.

    `waiting` are addresses with declared changes that are not applied yet: no drift. `held` says
    that apply keeps drift on this target. `unmanaged` is None where nobody asked for it, `unlisted`
    the kinds that this backend cannot list, `unseen` those whose list failed. `accepted` is what
    was taken into the files. `aim` is the target that was typed: commands in the advice name it.
    `with_accepted` are the resources with differences that `state accept` took for settled.
    """

    created: str
    tool_version: str
    base: Base
    objects: tuple[ObjectDrift, ...] = ()
    waiting: tuple[Address, ...] = ()
    held: bool = False
    unmanaged: tuple[Unmanaged, ...] | None = None
    unlisted: tuple[str, ...] = ()
    unseen: tuple[str, ...] = ()
    accepted: tuple[Edited, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    aim: str = ""
    with_accepted: tuple[Change, ...] = ()

    @property
    def errored(self) -> bool:
        """Whether something could not be looked at."""
        return any(finding.is_error for finding in self.diagnostics)

    @property
    def strangers(self) -> int | None:
        """How many live objects are unmanaged; None where that was not asked, or is not known."""
        return None if self.unmanaged is None or self.unseen else len(self.unmanaged)

    @property
    def changed(self) -> tuple[ObjectDrift, ...]:
        return tuple(one for one in self.objects if not one.gone)

    @property
    def gone(self) -> tuple[ObjectDrift, ...]:
        return tuple(one for one in self.objects if one.gone)
