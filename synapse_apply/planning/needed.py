"""The words of refusals of what needs something else, which this plan does not bring about."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from synapse_apply.model.address import Address
from synapse_apply.model.plan import Action, Change, Refusal
from synapse_apply.planning.refusals import listing
from synapse_apply.planning.situation import Item

_MOST_OPTIONS = 5


def nothing_goes_along(
    item: Item, kind: str, members: Sequence[Change], left_out: Callable[[Address], bool]
) -> Refusal:
    """A create that makes a member of another kind along with it, and no member to make.

    `left_out` tells what is not selected.
    """
    what, api = item.type.prefix, item.binding.api
    reason = f"API {api} makes a {what} together with its first {kind}, and "
    if members:
        reason += f"none that is declared can be made with it: {listing(map(_hindrance, members))}"
        waiting = [at for at in (one.address for one in members if not one.refused) if left_out(at)]
        wrong = [one.address for one in members if one.address not in waiting]
        ways: tuple[str, ...] = (f"solve {listing(wrong)} first",) if wrong else ()
        ways += (_select(waiting),) if waiting else ()
    else:
        reason += "none is declared"
        ways = (f"declare a {kind.capitalize()} of {item.address.name}",)
    if others := sorted(set(item.type.bindings) - {api}):
        ways += (f"or let the target use another API version: `api: {others[0]}`",)
    return Refusal("no-first-member", reason, ways, item.desired.position if item.desired else None)


def _hindrance(change: Change) -> str:
    why = change.refusals[0].reason if change.refusals else "it is not selected, or in error"
    if not change.refusals and change.action is not Action.CREATE:
        why = f"{change.action.value} is due for it"
    return f"{change.address} ({why})"


def dependency(item: Item, needs: Sequence[Address]) -> Refusal:
    """Something it needs is refused, in error, or does not exist."""
    return Refusal(
        "dependency",
        f"it depends on {listing(needs)}, which cannot be brought about in this plan",
        (f"solve {listing(needs)} first",),
        item.desired.position if item.desired else None,
    )


def not_selected(item: Item, needs: Sequence[Address]) -> Refusal:
    """Something it needs is to be made first, and the selection leaves it out."""
    return Refusal(
        "dependency",
        f"it depends on {listing(needs)}, which is not there yet and is not selected",
        (_select(needs),),
        item.desired.position if item.desired else None,
    )


def _select(needs: Sequence[Address]) -> str:
    options = " ".join(f"--only {address}" for address in needs[:_MOST_OPTIONS])
    return f"select it as well: add `{options}`, or leave it out of --exclude"
