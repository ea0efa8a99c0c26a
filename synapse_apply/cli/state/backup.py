"""`synapse-apply state backup`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from synapse_apply.cli import options
from synapse_apply.cli.face import Console
from synapse_apply.cli.manual import manual_command

if TYPE_CHECKING:
    from synapse_apply.session.where import Invocation


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
    from synapse_apply.session import states
    from synapse_apply.session.context import open_state

    with open_state(invocation) as session:
        states.write_state_backup(session, invocation.directory / file)
    console.write_output(f"Wrote {file}.\n")
    return 0
