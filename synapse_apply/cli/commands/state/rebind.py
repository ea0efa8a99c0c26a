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
    examples=[
        (
            "synapse-apply state rebind -t prod",
            "The backend moved to another url, or a shared state has no project yet.",
        ),
    ],
    exits=[("0", "bound"), ("1", "error, or the answer was not `yes`")],
)
@options.add_color_options
@options.add_target_options
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.add_lock_timeout_option
def command(*, console: Console, invocation: Invocation, yes: bool) -> int:
    """Bind the state to the target's url and tenant as they are now, and to this project.

    Only right when it is the same backend under another name: ids in the state are taken for
    ids there.

    A state that several machines share belongs to one project, by an id in the project file, which
    is written there if it has none. Runs of a project file without this id are refused from then
    on. To merge the id before that, write it yourself: `project: {id: UUID}`.
    """
    from synapse_apply.cli.flows.approval import ask_approval, require_approval
    from synapse_apply.operations.rebind import prepare_rebinding, rebind_state
    from synapse_apply.operations.state import build_current_identity
    from synapse_apply.workspace.target_session import open_state

    require_approval(console, is_approved=yes, verb="state rebind", flag="--yes")
    with open_state(invocation) as session:
        rebinding = prepare_rebinding(session, build_current_identity(session))
        if not (rebinding.changes_identity or rebinding.changes_project):
            console.write_output(f"It is bound to {rebinding.new_text} already.\n")
            return 0
        question = f"Bind the state of {rebinding.bound_text} to {rebinding.new_text}?"
        if not yes and not ask_approval(console, question, rebinding.warning_text):
            console.write_stderr("Nothing was changed.\n")
            return 1
        rebind_state(session, rebinding)
    if rebinding.project_id is not None and rebinding.project_id.is_new:
        console.write_output(
            f"Wrote project.id {rebinding.project_id.text} into the project file: commit it.\n"
        )
    console.write_output(
        f"Was bound to {rebinding.bound_text}, is bound to {rebinding.new_text}.\n"
    )
    return 0
