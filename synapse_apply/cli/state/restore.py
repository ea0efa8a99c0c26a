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
    exits=[
        ("0", "restored"),
        ("1", "no backup, another target's, or the answer was not `yes`"),
        ("6", "the state is locked by another run"),
    ],
)
@options.text_output
@options.place
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--yes", is_flag=True, help="Do not ask before a state is replaced.")
def command(*, face: Face, where: Where, file: Path, yes: bool) -> int:
    """Replace the state by a backup.

    It must be one of this target: of its url and tenant, and of the lineage that the project
    file pins. The state that was there is kept under a new name, which is printed: a file beside
    it, one in PostgreSQL in .synapse-apply/state. What was applied since the backup is not
    remembered: plan afterwards, and look closely.
    """
    from synapse_apply.cli.again import same_place
    from synapse_apply.cli.approval import ask, need_approval
    from synapse_apply.cli.state.bound import binding_now
    from synapse_apply.model.aim import completed
    from synapse_apply.session.context import open_state
    from synapse_apply.session.restore import exchange, replaced, restore

    path = where.directory / file
    if not path.is_file():
        raise click.BadParameter(f"File {str(file)!r} does not exist.", param_hint="FILE")
    with open_state(where) as context:
        binding = binding_now(context, looking=True)
        found = exchange(context, path, binding)
        if context.store.exists() and not yes:
            need_approval(face, given=yes, verb="state restore", flag="--yes")
            name = context.target.name
            detail = found.of_another or "What was applied since the backup is forgotten."
            if not ask(face, f"Replace the state of target {name}?", detail):
                face.err("Nothing was changed.\n")
                return 1
        kept = restore(context, path, binding)
        face.warn(replaced(found, kept, context.target))
    if kept:
        face.out(f"The state that was there is kept as {kept}.\n")
    again = completed("Run `synapse-apply plan` next.", same_place(where))
    face.out(f"Restored from {file}. {again}\n")
    return 0
