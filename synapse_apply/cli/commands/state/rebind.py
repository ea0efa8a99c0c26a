"""The command `state rebind`: when it asks, and what it prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options

if TYPE_CHECKING:
    from synapse_apply.workspace.invocation import Invocation


@manual_command(
    "rebind",
    examples=[("synapse-apply state rebind -t prod", "The backend moved to another url.")],
    exits=[("0", "bound"), ("1", "error, or the answer was not `yes`")],
)
@options.add_color_options
@options.add_target_options
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.add_lock_timeout_option
def command(*, console: Console, invocation: Invocation, yes: bool) -> int:
    """Bind the state to the target's url and tenant as they are now.

    Only right when it is the same backend under another name: ids in the state are taken for
    ids there.
    """
    from synapse_apply.cli.flows.approval import ask_approval, require_approval
    from synapse_apply.operations import state
    from synapse_apply.workspace.state_access import describe_state_identity
    from synapse_apply.workspace.target_session import open_state

    require_approval(console, is_approved=yes, verb="state rebind", flag="--yes")
    with open_state(invocation) as session:
        current_identity, bound_identity = (
            state.build_current_identity(session),
            session.store.read_identity(),
        )
        if current_identity == bound_identity:
            console.write_output(
                f"It is bound to {describe_state_identity(current_identity)} already.\n"
            )
            return 0
        question = (
            f"Bind the state of {describe_state_identity(bound_identity)} to "
            f"{describe_state_identity(current_identity)}?"
        )
        if not yes and not ask_approval(console, question, "It must be the same backend."):
            console.write_stderr("Nothing was changed.\n")
            return 1
        old, new = state.rebind_state(session, current_identity)
    console.write_output(f"Was bound to {old}, is bound to {new}.\n")
    return 0
