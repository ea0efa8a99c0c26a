"""`synapse-apply state restore`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from synapse_apply.cli import options
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual

if TYPE_CHECKING:
    from synapse_apply.session.where import Where


@manual(
    "restore",
    examples=[
        ("synapse-apply state restore prod.backup -t prod", "Put a backup in the state's place."),
    ],
    exits=[("0", "restored"), ("1", "no backup, another target's, or the answer was not `yes`")],
)
@options.text_output
@options.place
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask before a state is replaced.")
def command(*, face: Face, where: Where, file: Path, yes: bool) -> int:
    """Replace the state by a backup.

    What was applied since the backup is not remembered: plan afterwards, and look closely.
    """
    from synapse_apply.cli.approval import ask, need_approval
    from synapse_apply.model.aim import aimed
    from synapse_apply.session import states
    from synapse_apply.session.context import open_state

    with open_state(where) as context:
        if context.store.exists() and not yes:
            need_approval(face, given=yes, verb="state restore", flag="--yes")
            name = context.target.name
            if not ask(face, f"Replace the state of target {name}?", "Back it up first."):
                face.err("Nothing was changed.\n")
                return 1
        states.restore(context, where.directory / file)
    face.out(f"Restored from {file}. {aimed('Run `synapse-apply plan` next.', face.aim)}\n")
    return 0
