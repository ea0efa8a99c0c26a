"""`synapse-apply state backup`."""

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
    "backup",
    examples=[("synapse-apply state backup prod.backup", "A copy that restore reads.")],
    exits=[("0", "written"), ("1", "no state, or the file cannot be written")],
)
@options.text_output
@options.place
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def command(*, face: Face, where: Where, file: Path) -> int:
    """Copy the whole state to a file, consistent even while an apply runs."""
    from synapse_apply.session import states
    from synapse_apply.session.context import open_state

    with open_state(where) as context:
        states.backup(context, where.directory / file)
    face.out(f"Wrote {file}.\n")
    return 0
