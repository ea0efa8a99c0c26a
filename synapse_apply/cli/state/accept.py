"""`synapse-apply state accept`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli import options
from synapse_apply.cli.addresses import RECORDED_NAME
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual

if TYPE_CHECKING:
    from synapse_apply.session.where import Where


@manual(
    "accept",
    examples=[
        ("synapse-apply state accept storage/raw-data", "You changed it in the product, too."),
    ],
    exits=[("0", "recorded"), ("1", "not declared, not recorded, or not live")],
)
@options.text_output
@options.place
@options.files
@options.variables
@click.argument("name", type=RECORDED_NAME, metavar="ADDRESS")
@options.parallelism
@options.patience
def command(*, face: Face, where: Where, name: str) -> int:
    """Take the live object as it is for settled: what is declared counts as applied.

    For changes that the API cannot make: change the object in the product and the manifest in
    Git, then accept. What still differs is not shown again until one of the two moves.
    """
    from synapse_apply.planning.situation import Choices
    from synapse_apply.session.accept import accept
    from synapse_apply.session.context import open_context
    from synapse_apply.session.plan import plan
    from synapse_apply.session.select import choose_one

    with open_context(where) as context:
        address = choose_one(context, name)
        accept(context, plan(context, Choices().under(context.target)), address)
    face.out(f"Accepted {address} as it is live.\n")
    return 0
