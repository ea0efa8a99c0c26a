"""`synapse-apply state rm`."""

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
    "rm",
    examples=[("synapse-apply state rm plugin/yolo", "Forget it; the plugin itself stays.")],
    exits=[("0", "forgotten"), ("1", "an address is not recorded: nothing was forgotten")],
)
@options.text_output
@options.place
@click.argument("names", type=RECORDED_NAME, nargs=-1, required=True, metavar="ADDRESS...")
@options.patience
def command(*, face: Face, where: Where, names: tuple[str, ...]) -> int:
    """Forget records; the live objects stay as they are.

    What is still declared is adopted by the next apply where it can be found; plugins on API v1
    cannot: import them again, or a second one is made.
    """
    from synapse_apply.session import states
    from synapse_apply.session.context import open_state
    from synapse_apply.session.select import choose_each, in_state

    with open_state(where) as context:
        addresses = choose_each(in_state(context.store.read()), names)
        states.remove(context, addresses)
    for address in addresses:
        face.out(f"Forgot {address}; the live object stays.\n")
    return 0
