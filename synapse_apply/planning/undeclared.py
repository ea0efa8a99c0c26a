"""What is to be done about a recorded object that is no longer declared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from synapse_apply.model.address import Address
from synapse_apply.model.plan import Action
from synapse_apply.planning import needed, refusals
from synapse_apply.planning.declared import Survey
from synapse_apply.planning.identity import differing_identity
from synapse_apply.planning.refusals import listing
from synapse_apply.planning.rulings import Ruling, change_of
from synapse_apply.planning.sealed import is_sealed
from synapse_apply.planning.series import is_beyond, is_history, members_beside
from synapse_apply.planning.situation import Item

_ENDS = frozenset({Action.DELETE, Action.FORGET})
_MAKES = frozenset({Action.CREATE, Action.RECREATE})


def let_go(item: Item, survey: Survey) -> Ruling:
    """The ruling on a record without manifest, without regard to what depends on it."""
    if item.address in survey.intents:
        return Ruling(change_of(item, Action.NO_OP)).refuse(
            survey.unsettled(survey.intents[item.address])
        )
    if item.address in survey.claims.held:
        return _noted(item, Action.NO_OP, "kept in state: its address was renamed in the manifests")
    beyond = item.binding.delete is not None and is_beyond(item, survey.series)
    stays = not (beyond and survey.choices.prune) and item.address not in survey.removed
    if is_history(item, survey.series) and stays:
        return Ruling(replace(change_of(item, Action.NO_OP), superseded=True))
    conflicts = survey.claims.conflicts.get(item.address, ())
    if conflicts:
        return Ruling(change_of(item, Action.NO_OP), tuple(conflicts))
    if survey.choices.partial:
        return Ruling(change_of(item, Action.NO_OP))
    if item.address in survey.removed:
        return _noted(item, Action.FORGET, "removed: in the project file; the object stays")
    if item.binding.delete is None:
        return _noted(
            item, Action.FORGET, "no longer declared; the object stays, this API cannot delete it"
        )
    return _prune(item, survey)


def _prune(item: Item, survey: Survey) -> Ruling:
    if not survey.choices.prune:
        return _noted(
            item,
            Action.NO_OP,
            "no longer declared: --prune deletes it, "
            f"`synapse-apply state rm {item.address}` only forgets it",
        )
    if item.sighting.problem is not None:
        return Ruling(change_of(item, Action.NO_OP), (item.sighting.problem,))
    if item.sighting.observed is None:
        return _noted(item, Action.FORGET, "no longer declared, and gone already")
    reason = "no longer declared, and --prune was given"
    if is_beyond(item, survey.series):
        reason = "older than what is retained, and --prune was given"
    ruling = Ruling(replace(change_of(item, Action.DELETE), reason=reason))
    if names := differing_identity(item):
        return ruling.refuse(refusals.other_object(item, names))
    if item.record is not None and item.record.protected:
        return ruling.refuse(refusals.prevent_destroy(item))
    return _of_sealed(item, ruling, survey) if is_sealed(item) else ruling


def _of_sealed(item: Item, ruling: Ruling, survey: Survey) -> Ruling:
    """The delete of what can never be made again: it must be asked for, and names the loss."""
    if not survey.choices.allow_locked:
        return ruling.refuse(refusals.loses_sealed(item))
    notes = (*ruling.change.notes, refusals.loss_of_sealed(item))
    return replace(ruling, change=replace(ruling.change, notes=notes))


def _noted(item: Item, action: Action, note: str) -> Ruling:
    return Ruling(replace(change_of(item, action), notes=(note,)))


@dataclass(slots=True)
class Successors:
    """What the manifests have of a series in the stead of its members that go; told once each.

    `declared` are the rulings on all that is declared.
    """

    survey: Survey
    declared: Mapping[Address, Ruling]
    _made: dict[tuple[str, str], tuple[list[Address], list[Address]]] = field(default_factory=dict)

    def awaited(self, ruling: Ruling, item: Item) -> Ruling:
        """A member of a series goes once those are there that stand in its stead.

        Where one of them cannot be, its record stays and nothing is deleted. What the project file
        lets go by name waits for nobody.
        """
        if ruling.change.action not in _ENDS or item.address in self.survey.removed:
            return ruling
        made, stopped = self._beside(item)
        if stopped and ruling.change.action is Action.FORGET and not ruling.blocked:
            return _noted(item, Action.NO_OP, f"kept in state until {listing(stopped)} is there")
        waits = tuple(sorted({*ruling.change.depends_on, *made}))
        ruling = replace(ruling, change=replace(ruling.change, depends_on=waits))
        left_out = [at for at in stopped if not self.declared[at].blocked]
        if left_out:
            ruling = ruling.refuse(needed.not_selected(item, left_out))
        wrong = [at for at in stopped if at not in left_out]
        return ruling.refuse(needed.dependency(item, wrong)) if wrong else ruling

    def _beside(self, item: Item) -> tuple[list[Address], list[Address]]:
        """Those of a series that are to be made or changed, and those among them that are not."""
        series = item.address.kind, item.record.series if item.record is not None else ""
        if series not in self._made:
            members = members_beside(item, self.survey.series)
            rulings = {at: self.declared[at] for at in members}
            made = [at for at, one in rulings.items() if one.change.changes_server or one.blocked]
            stopped = [at for at in made if rulings[at].blocked or self._is_left_out(rulings[at])]
            self._made[series] = made, stopped
        return self._made[series]

    def _is_left_out(self, made: Ruling) -> bool:
        """Whether it is to be made, and not by this plan."""
        selected = self.survey.choices.selected
        left_out = selected is not None and made.change.address not in selected
        return left_out and made.change.action in _MAKES
