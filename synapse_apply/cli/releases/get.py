"""`synapse-apply releases get`."""

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
        ("synapse-apply releases get 456", "By its id."),
        ("synapse-apply releases get yolo@1.2.0", "By code and version."),
        ("synapse-apply releases get yolo@1.2.0 --expand plugin", "With the plugin it belongs to."),
        ("synapse-apply releases get yolo@1.2.0 --json", "The same for a script."),
    ],
    exits=[("0", "shown"), ("1", "there is no such release, or it could not be read")],
)
@options.output
@options.place
@click.argument("named", metavar="ID|CODE@VERSION")
@click.option("--expand", type=click.Choice(["plugin"]), multiple=True,
              help="Show what it belongs to as well, secrets left out.")  # fmt: skip
def command(*, face: Face, where: Where, named: str, expand: tuple[str, ...]) -> int:
    """Show a release as the backend has it."""
    from synapse_apply.cli.live_texts import show
    from synapse_apply.session.objects import get, owner_of
    from synapse_apply.session.reach import open_backend

    with open_backend(where) as reach:
        release = get(reach, "release", named)
        owner = owner_of(reach, "release", release) if expand else None
    return show(face, "release", release, expanded={"plugin": owner} if owner else {})
