"""The command `state accept`: what it shows, asks and undoes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options
from synapse_apply.cli.params.addresses import RECORDED_NAME
from synapse_apply.model.errors import NotApproved

if TYPE_CHECKING:
    from synapse_apply import Invocation
    from synapse_apply.library import AcceptableResource


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
        return _undo_acceptance_and_print(console, invocation, name)
    from synapse_apply.cli.flows.approval import ask_approval, require_approval_or_person_to_ask
    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.model.phrases import format_count_and_noun
    from synapse_apply.views.text.accepted import render_new_and_accepted_differences

    def show_and_confirm(acceptable: AcceptableResource) -> bool:
        address, differing_fields = acceptable.resource.address, acceptable.differing_fields
        console.write_output(
            render_new_and_accepted_differences(
                address,
                differing_fields,
                acceptable.accepted_fields,
                acceptable.notes,
                color=console.is_output_colored,
                width=console.terminal_width,
            )
        )
        if not differing_fields:
            return True
        require_approval_or_person_to_ask(console, is_approved=auto_approve, verb="state accept")
        question = (
            f"Accept {format_count_and_noun(len(differing_fields), 'difference')} of {address}?"
        )
        detail = "Nothing is sent. Plans no longer show it until one of the two sides moves."
        return auto_approve or ask_approval(console, question, detail)

    with open_command_target(invocation) as target:
        try:
            accepted = target.state.accept(name, confirm=show_and_confirm)
        except NotApproved:
            console.write_stderr("Nothing was changed.\n")
            return 1
    count = len(accepted.differing_fields)
    console.write_output(
        f"Accepted {accepted.resource.address} as it is live: "
        f"{format_count_and_noun(count, 'difference') if count else 'no difference'}"
        f"{' that was not accepted before' if accepted.accepted_fields else ''}.\n"
    )
    return 0


def _undo_acceptance_and_print(console: Console, invocation: Invocation, name: str) -> int:
    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.views.sanitize import sanitize
    from synapse_apply.views.text.findings import format_quoted_path

    with open_command_target(invocation) as target:
        address, acceptance = target.state.undo_accept(name)
    names = ", ".join(sanitize(format_quoted_path(path)) for path in acceptance.paths)
    console.write_output(
        f"No longer accepted of {address}: {names}. The next plan shows what differs.\n"
    )
    return 0
