"""A ruling: what the plan says of one address, and the findings that come with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from synapse_apply.model.address import Address
from synapse_apply.model.diagnostic import Diagnostic, Path
from synapse_apply.model.frozen import frozen
from synapse_apply.model.plan import Action, Change, FieldChange, Refusal
from synapse_apply.model.values import KnownAfterApply, references
from synapse_apply.planning.fingerprint import fingerprint
from synapse_apply.planning.identity import remote_id
from synapse_apply.planning.situation import Item
from synapse_apply.planning.whole import NOTHING, Whole, changed, whole

_ENDS = frozenset({Action.DELETE, Action.FORGET})
_STARTS = frozenset({Action.CREATE, Action.RECREATE})


@frozen
class Ruling:
    """`foreign` are secret fields that the present state key cannot compare.

    `tolerated` are rules of the policy that it is against, and that it may be as it stays.
    """

    change: Change
    diagnostics: tuple[Diagnostic, ...] = ()
    foreign: tuple[Path, ...] = ()
    tolerated: tuple[str, ...] = ()

    @property
    def blocked(self) -> bool:
        """Whether nothing that needs it may go ahead."""
        return self.change.refused or any(finding.is_error for finding in self.diagnostics)

    def refuse(self, *refusals: Refusal) -> Ruling:
        """The same ruling with more refusals; what is refused records nothing either."""
        if not refusals:
            return self
        refused = (*self.change.refusals, *refusals)
        change = replace(self.change, refusals=refused, rebase=False, verification=None)
        return replace(self, change=change)


def change_of(item: Item, action: Action, fields: Sequence[FieldChange] = ()) -> Change:
    """A change with everything that follows from the item: ids, both sides, fingerprint."""
    before, after = _sides(item, action, fields)
    return Change(
        address=item.address,
        action=action,
        fields=tuple(fields),
        depends_on=needs(item) if action not in _ENDS else (),
        remote_id="" if action is Action.CREATE else remote_id(item),
        api=item.binding.api,
        before=before.tree,
        after=after.tree,
        before_sensitive=before.sensitive,
        after_sensitive=after.sensitive,
        after_unknown=after.unknown,
        fingerprint=fingerprint(item),
        position=item.desired.position if item.desired else None,
    )


def quiet_change(item: Item, depends_on: tuple[Address, ...]) -> Change:
    """The row of what stays as it is. Nothing carries it out, so that no fingerprint is needed.

    A run that proves the thing may still be due, and with it the row.
    """
    live = whole(item.live)
    return Change(
        address=item.address,
        action=Action.NO_OP,
        depends_on=depends_on,
        remote_id=remote_id(item),
        api=item.binding.api,
        before=live.tree,
        after=live.tree,
        before_sensitive=live.sensitive,
        after_sensitive=live.sensitive,
        after_unknown=live.unknown,
        fingerprint=fingerprint(item) if item.type.proof is not None else "",
        position=item.desired.position if item.desired else None,
    )


def needs(item: Item) -> tuple[Address, ...]:
    """What a declared resource depends on: said so, referred to, or awaited."""
    if item.desired is None:
        return ()
    found = [at.address for at in references(item.desired.spec)]
    found += [at.address for at in item.want.values() if type(at) is KnownAfterApply]
    found += item.desired.depends_on
    return tuple(sorted(set(found))) if found else ()


def _sides(item: Item, action: Action, fields: Sequence[FieldChange]) -> tuple[Whole, Whole]:
    live = whole(item.live) if item.sighting.observed is not None else NOTHING
    if action in _STARTS:
        return NOTHING, whole(item.want)
    if action in _ENDS:
        return live, NOTHING
    if not fields:
        return live, live
    return live, changed(item.live, item.want, fields)
