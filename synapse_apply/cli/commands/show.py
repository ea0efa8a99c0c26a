"""`synapse-apply show`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli import options
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual

if TYPE_CHECKING:
    from synapse_apply.model.address import Address
    from synapse_apply.session.where import Where


@manual(
    "show",
    examples=[
        ("synapse-apply show plugin/yolo", "Declared, recorded and live, field by field."),
        ("synapse-apply show storage/raw-data --json", "The same for a script."),
    ],
    exits=[("0", "shown"), ("1", "neither declared nor recorded, or it could not be read")],
)
@options.output
@options.place
@options.files
@options.variables
@click.argument("address", type=options.ADDRESS)
@options.parallelism
def command(*, face: Face, where: Where, address: Address) -> int:
    """Show a resource as its manifest declares it, as it was last applied, and as it is now.

    Secrets show as `(sensitive)`.
    """
    from synapse_apply.cli.sides import Sides
    from synapse_apply.planning.situation import Choices
    from synapse_apply.session.context import open_context
    from synapse_apply.session.plan import plan

    with open_context(where) as context:
        sides = Sides.of(plan(context, Choices()), address)
    if face.as_json:
        face.document(sides.document())
    else:
        face.out(sides.text(face))
    face.warn(sides.findings)
    return 1 if sides.findings else 0
