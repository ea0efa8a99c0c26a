"""The command `state accept`: what it shows, asks and undoes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options
from synapse_apply.cli.params.addresses import RECORDED_NAME

if TYPE_CHECKING:
    from synapse_apply.workspace.invocation import Invocation


@manual_command(
    "accept",
    examples=[
        ("synapse-apply state accept storage/raw-data", "You changed it in Synapse, too."),
        (
            "synapse-apply state accept storage/raw-data --undo",
            "Show the difference in plans again.",
        ),
    ],
    exits=[
        ("0", "recorded"),
        ("1", "not declared, not recorded, not live, or the answer was not `yes`"),
        ("6", "the state is locked by another run"),
    ],
)
@options.add_color_options
@options.add_target_options
@options.add_file_option
@options.add_variable_options
@click.argument("name", type=RECORDED_NAME, metavar="ADDRESS")
@click.option("--undo", is_flag=True, help="Take back what was accepted of this resource.")
@click.option("--auto-approve", is_flag=True, help="Do not ask.")
@options.add_parallelism_option
@options.add_lock_timeout_option
def command(
    *, console: Console, invocation: Invocation, name: str, undo: bool, auto_approve: bool
) -> int:
    """Accept the live object as it is: what is declared counts as applied.

    For changes that the API cannot make: change the object in Synapse and the manifest in
    Git, then accept. What still differs is listed first, and accepted only after you agree. From
    then on it is no change and no drift until one of the two sides moves: `plan`, `drift`,
    `doctor` and `show` count it as an accepted difference.

    With --undo the state remembers again what it did before, so that plans show the difference;
    neither manifests nor backend are needed for that.
    """
    if undo:
        return _undo_acceptance(console, invocation, name)
    from synapse_apply.cli.flows.approval import ask_approval, require_approval
    from synapse_apply.operations.accept_difference import (
        build_acceptable_resource,
        record_differences_as_accepted,
    )
    from synapse_apply.operations.plan import plan
    from synapse_apply.planning.plan_input import PlanOptions
    from synapse_apply.views.grammar import pluralize
    from synapse_apply.views.text.accepted import render_new_and_accepted_differences
    from synapse_apply.workspace.selection import choose_address
    from synapse_apply.workspace.target_session import open_context

    with open_context(invocation) as session:
        address = choose_address(session, name)
        plan_result = plan(session, PlanOptions().with_target_rules(session.target))
        acceptable_resource = build_acceptable_resource(plan_result, address)
        difference_parts = (
            acceptable_resource.differing_fields,
            acceptable_resource.accepted_fields,
            acceptable_resource.notes,
        )
        console.write_output(
            render_new_and_accepted_differences(
                address,
                *difference_parts,
                color=console.is_output_colored,
                width=console.terminal_width,
            )
        )
        count = pluralize(len(acceptable_resource.differing_fields), "difference")
        if acceptable_resource.differing_fields:
            require_approval(console, is_approved=auto_approve, verb="state accept")
            question = f"Accept {count} of {address}?"
            detail = "Nothing is sent. Plans no longer show it until one of the two sides moves."
            if not auto_approve and not ask_approval(console, question, detail):
                console.write_stderr("Nothing was changed.\n")
                return 1
        record_differences_as_accepted(session, plan_result, acceptable_resource)
    console.write_output(
        f"Accepted {address} as it is live: "
        f"{count if acceptable_resource.differing_fields else 'no difference'}"
        f"{' that was not accepted before' if acceptable_resource.accepted_fields else ''}.\n"
    )
    return 0


def _undo_acceptance(console: Console, invocation: Invocation, name: str) -> int:
    from synapse_apply.operations.accept_difference import undo_acceptance_in_state
    from synapse_apply.views.sanitize import sanitize
    from synapse_apply.views.text.findings import format_quoted_path
    from synapse_apply.workspace.selection import build_state_selectable, choose_address
    from synapse_apply.workspace.target_session import open_state

    with open_state(invocation) as session:
        address = choose_address(build_state_selectable(session.store.read_state()), name)
        undone_acceptance = undo_acceptance_in_state(session, address)
    names = ", ".join(sanitize(format_quoted_path(path)) for path in undone_acceptance.paths)
    console.write_output(
        f"No longer accepted of {address}: {names}. The next plan shows what differs.\n"
    )
    return 0
