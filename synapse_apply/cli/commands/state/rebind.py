"""The command `state rebind`: when it asks, and what it prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options
from synapse_apply.model.errors import NotApproved

if TYPE_CHECKING:
    from synapse_apply import Invocation
    from synapse_apply.library import Rebinding


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
    from synapse_apply.cli.flows.approval import ask_approval, require_approval_or_person_to_ask
    from synapse_apply.cli.flows.command_target import open_command_target

    def confirm_change(rebinding: Rebinding) -> bool:
        question = f"Bind the state of {rebinding.bound_text} to {rebinding.new_text}?"
        return yes or ask_approval(console, question, rebinding.warning_text)

    require_approval_or_person_to_ask(console, is_approved=yes, verb="state rebind", flag="--yes")
    with open_command_target(invocation) as target:
        try:
            rebinding = target.state.rebind(confirm=confirm_change)
        except NotApproved:
            console.write_stderr("Nothing was changed.\n")
            return 1
    if not rebinding.changes_anything:
        console.write_output(f"It is bound to {rebinding.new_text} already.\n")
        return 0
    if rebinding.project_id is not None and rebinding.project_id.is_new:
        console.write_output(
            f"Wrote project.id {rebinding.project_id.text} into the project file: commit it.\n"
        )
    console.write_output(
        f"Was bound to {rebinding.bound_text}, is bound to {rebinding.new_text}.\n"
    )
    return 0
