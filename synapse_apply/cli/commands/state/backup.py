"""The command `state backup`: where the copy goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options

if TYPE_CHECKING:
    from synapse_apply import Invocation


@manual_command(
    "backup",
    examples=[("synapse-apply state backup prod.backup", "A copy that restore reads.")],
    exits=[("0", "written"), ("1", "no state, or the file cannot be written")],
)
@options.add_color_options
@options.add_target_options
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def command(*, console: Console, invocation: Invocation, file: Path) -> int:
    """Copy the whole state to a file, consistent even while an apply runs."""
    from synapse_apply.cli.flows.command_target import open_command_target

    with open_command_target(invocation) as target:
        target.state.write_backup(file)
    console.write_output(f"Wrote {file}.\n")
    return 0
