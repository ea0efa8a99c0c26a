"""`synapse-apply plugins get`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli import options
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual

if TYPE_CHECKING:
    from synapse_apply.session.where import Where


@manual(
    "get",
    examples=[
        ("synapse-apply plugins get 123", "By its id."),
        ("synapse-apply plugins get yolo", "By its code, or the name that the state knows it by."),
        ("synapse-apply plugins get yolo --json", "The same for a script."),
    ],
    exits=[("0", "shown"), ("1", "there is no such plugin, or it could not be read")],
)
@options.output
@options.place
@click.argument("named", metavar="ID|CODE|NAME")
def command(*, face: Face, where: Where, named: str) -> int:
    """Show a plugin as the backend has it.

    A name is looked up in the state, where there is one; a code through the plugin's releases,
    since not every backend lists plugins.
    """
    from synapse_apply.cli.live_texts import show
    from synapse_apply.session.objects import get
    from synapse_apply.session.reach import open_backend

    with open_backend(where) as reach:
        return show(face, "plugin", get(reach, "plugin", named))
