"""`synapse-apply unlock`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli import options
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual

if TYPE_CHECKING:
    from synapse_apply.session.where import Where


@manual(
    "unlock",
    examples=[
        ("synapse-apply unlock 7-3f2a9c -t prod", "The run that held the state is gone for good."),
    ],
    exits=[("0", "removed"), ("1", "there is no lock, or it has another id")],
)
@options.text_output
@options.place
@click.argument("lock_id", metavar="ID")
def command(*, face: Face, where: Where, lock_id: str) -> int:
    """Remove the lock of a run that is gone; the message about the lock tells its ID.

    Rarely needed: a run that died on this machine is noticed at once, one elsewhere after one
    lease. A run that only seemed gone can write nothing afterwards.
    """
    from synapse_apply.session.context import open_state

    with open_state(where) as context:
        context.store.unlock(lock_id)
        name = context.target.name
    face.out(f"Removed lock {lock_id} of target {name}.\n")
    return 0
