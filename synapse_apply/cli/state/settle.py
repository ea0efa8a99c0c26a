"""`synapse-apply state settle`."""

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
    "settle",
    examples=[
        ("synapse-apply state settle plugin/yolo --absent", "You looked: it was not made."),
    ],
    exits=[("0", "closed"), ("1", "no call of this address is open")],
)
@options.text_output
@options.place
@click.argument("address", type=options.ADDRESS)
@click.option("--absent", is_flag=True, help="The call was not done; you looked.")
@options.patience
def command(*, face: Face, where: Where, address: Address, absent: bool) -> int:
    """Say that a call of unknown outcome was not done.

    Needed only where the backend cannot tell, and plan refuses the resource for that. If the
    object was made after all, `synapse-apply import ADDRESS ID` is the right command.
    """
    from synapse_apply.session import states
    from synapse_apply.session.context import open_state

    if not absent:
        raise click.UsageError("Say --absent if it was not done; else import it.")
    with open_state(where) as context:
        states.settle_absent(context, address, at=context.clock.now())
    face.out(f"Settled {address}: not done. The next apply may make it.\n")
    return 0
