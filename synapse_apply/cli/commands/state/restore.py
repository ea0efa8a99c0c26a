"""The command `state restore`: what it shows of both states, and when it asks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options

if TYPE_CHECKING:
    from synapse_apply.workspace.invocation import Invocation


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
    from synapse_apply.cli.flows.approval import ask_approval, require_approval
    from synapse_apply.cli.params.invocation_options import with_invocation_options
    from synapse_apply.model.command import Command, Text
    from synapse_apply.operations.restore import (
        build_replaced_warnings,
        prepare_restore,
        restore_backup,
    )
    from synapse_apply.operations.state import build_current_identity
    from synapse_apply.workspace.target_session import open_state

    path = invocation.directory / file
    if not path.is_file():
        raise click.BadParameter(f"File {str(file)!r} does not exist.", param_hint="FILE")
    with open_state(invocation) as session:
        identity = build_current_identity(session, is_read_only=True)
        state_exchange = prepare_restore(session, path, identity)
        if session.store.exists() and not yes:
            require_approval(console, is_approved=yes, verb="state restore", flag="--yes")
            name = session.target.name
            detail = (
                state_exchange.lineage_difference
                or "What was applied since the backup is forgotten."
            )
            if not ask_approval(console, f"Replace the state of target {name}?", detail):
                console.write_stderr("Nothing was changed.\n")
                return 1
        kept_location = restore_backup(session, path, identity)
        console.write_findings(
            build_replaced_warnings(state_exchange, kept_location, session.target)
        )
    if kept_location:
        console.write_output(f"The state that was there is kept as {kept_location}.\n")
    next_step = with_invocation_options(Text("Run ", Command("plan"), " next."), invocation)
    console.write_output(f"Restored from {file}. {next_step}\n")
    return 0
