"""The command `state restore`: what it shows of both states, and when it asks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options
from synapse_apply.model.errors import NotApproved

if TYPE_CHECKING:
    from synapse_apply import Invocation
    from synapse_apply.library import StateExchange


@manual_command(
    "restore",
    examples=[
        ("synapse-apply state restore prod.backup -t prod", "Replace the state by a backup."),
    ],
    exits=[
        ("0", "restored"),
        ("1", "no backup, another target's, or the answer was not `yes`"),
        ("6", "the state is locked by another run"),
    ],
)
@options.add_color_options
@options.add_target_options
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask before a state is replaced.")
def command(*, console: Console, invocation: Invocation, file: Path, yes: bool) -> int:
    """Replace the state by a backup.

    It must be one of this target: of its url and tenant, and of the lineage that the project
    file pins. The state that was there is kept under a new name, which is printed: a file beside
    it, one in PostgreSQL in .synapse-apply/state. What was applied since the backup is not
    remembered: plan afterwards, and look closely.
    """
    from synapse_apply.cli.flows.approval import ask_approval, require_approval_or_person_to_ask
    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.cli.params.invocation_options import add_invocation_options_to_commands
    from synapse_apply.model.command import Command, Text

    if not (invocation.directory / file).is_file():
        raise click.BadParameter(f"File {str(file)!r} does not exist.", param_hint="FILE")
    with open_command_target(invocation) as target:

        def confirm_replacement(exchange: StateExchange) -> bool:
            require_approval_or_person_to_ask(
                console, is_approved=yes, verb="state restore", flag="--yes"
            )
            detail = (
                exchange.lineage_difference_sentence_or_empty
                or "What was applied since the backup is forgotten."
            )
            question = f"Replace the state of target {target.name}?"
            return yes or ask_approval(console, question, detail)

        try:
            restored_state = target.state.restore(file, confirm=confirm_replacement)
        except NotApproved:
            console.write_stderr("Nothing was changed.\n")
            return 1
    console.write_findings(restored_state.warnings)
    if kept_location := restored_state.kept_location:
        console.write_output(f"The state that was there is kept as {kept_location}.\n")
    next_step = add_invocation_options_to_commands(
        Text("Run ", Command("plan"), " next."), invocation
    )
    console.write_output(f"Restored from {file}. {next_step}\n")
    return 0
