"""What a refusal says where something needs an object that this plan does not create."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from synapse_apply.model.address import Address
from synapse_apply.model.phrases import format_short_list
from synapse_apply.model.plan import OF_DEPENDENCY, Action, Change, Refusal
from synapse_apply.planning.plan_input import ResourceState

_MAX_OPTIONS = 5


def no_first_member_refusal(
    resource: ResourceState,
    kind: str,
    members: Sequence[Change],
    is_unselected: Callable[[Address], bool],
) -> Refusal:
    """The refusal of a create that needs a first member of `kind`, where none can be created.

    `is_unselected` says whether an address is not selected.
    """
    kind_name, api = resource.type.prefix, resource.binding.api
    reason = f"API {api} makes a {kind_name} together with its first {kind}, and "
    if members:
        reason += (
            f"none that is declared can be made with it: "
            f"{format_short_list(map(_explain_unmade_member, members))}"
        )
        unselected = [
            address
            for address in (change.address for change in members if not change.is_refused)
            if is_unselected(address)
        ]
        unsolvable = [change.address for change in members if change.address not in unselected]
        ways_out: tuple[str, ...] = (
            (f"solve {format_short_list(unsolvable)} first",) if unsolvable else ()
        )
        ways_out += (_build_selection_hint(unselected),) if unselected else ()
    else:
        reason += "none is declared"
        ways_out = (f"declare a {kind.capitalize()} of {resource.address.name}",)
    waits = any(one.ends_by_itself for change in members for one in change.refusals)
    other_apis = sorted(set(resource.type.bindings) - {api})
    # Another API version may create the owner without a member: beside a call that makes both a
    # second time.
    if other_apis and not waits:
        ways_out += (f"or let the target use another API version: `api: {other_apis[0]}`",)
    return Refusal(
        "no-first-member", reason, ways_out, resource.desired.position if resource.desired else None
    )


def _explain_unmade_member(change: Change) -> str:
    reason = change.refusals[0].reason if change.refusals else "it is not selected, or in error"
    if not change.refusals and change.action is not Action.CREATE:
        reason = f"{change.action.value} is due for it"
    return f"{change.address} ({reason})"


def build_dependency_refusal(
    resource: ResourceState, missing_addresses: Sequence[Address], cause: Refusal | None = None
) -> Refusal:
    """The refusal of a resource whose dependencies are refused, in error, or do not exist.

    `cause` is the refusal of one that the plan does not show: the call that it waits for.
    """
    names, why = format_short_list(missing_addresses), f": {cause.reason}" if cause else ""
    return Refusal(
        OF_DEPENDENCY + cause.rule if cause else "dependency",
        f"it depends on {names}, which this plan cannot provide{why}",
        cause.ways_out if cause else (f"solve {names} first",),
        resource.desired.position if resource.desired else None,
        outcome_unknown=cause is not None,
    )


def not_selected_refusal(resource: ResourceState, missing_addresses: Sequence[Address]) -> Refusal:
    """The refusal of a resource whose dependencies have to be created, but are not selected."""
    return Refusal(
        "dependency",
        f"it depends on {format_short_list(missing_addresses)}, which is not there yet and is not "
        f"selected",
        (_build_selection_hint(missing_addresses),),
        resource.desired.position if resource.desired else None,
    )


def _build_selection_hint(missing_addresses: Sequence[Address]) -> str:
    # A few are enough to show what to do.
    options = " ".join(f"--only {address}" for address in missing_addresses[:_MAX_OPTIONS])
    return f"select it as well: add `{options}`, or leave it out of --exclude"
