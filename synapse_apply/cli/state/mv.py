"""`synapse-apply state mv`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli import options
from synapse_apply.cli.addresses import ADDRESS, RECORDED_NAME
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual

if TYPE_CHECKING:
    from synapse_apply.model.address import Address
    from synapse_apply.session.where import Where


@manual(
    "mv",
    examples=[
        ("synapse-apply state mv plugin/yolo plugin/yolo-v8", "After renaming the manifest."),
    ],
    exits=[("0", "renamed"), ("1", "the old address is not recorded, or the new one is taken")],
)
@options.text_output
@options.place
@click.argument("name", type=RECORDED_NAME, metavar="OLD")
@click.argument("new", type=ADDRESS)
@options.patience
def command(*, face: Face, where: Where, name: str, new: Address) -> int:
    """Rename an address in the state, and its releases with it; the live objects stay."""
    from synapse_apply.session import states
    from synapse_apply.session.context import open_state
    from synapse_apply.session.select import choose_one, in_state

    with open_state(where) as context:
        old = choose_one(in_state(context.store.read()), name)
        renames = states.move(context, old, new)
    face.out("".join(f"{at} has moved to {to}.\n" for at, to in renames.items()))
    return 0
