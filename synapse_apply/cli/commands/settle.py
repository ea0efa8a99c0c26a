"""`synapse-apply settle`."""

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
    "settle",
    examples=[
        ("synapse-apply settle -t prod", "Look up every call whose end nobody saw."),
        ("synapse-apply settle storage/raw-data", "Only this one."),
        ("synapse-apply settle -t prod --wait", "After a kill: come back when all is certain."),
        ("synapse-apply settle --json", "What became of each, for a script."),
    ],
    exits=[
        ("0", "nothing is open any more"),
        ("1", "error, or no call of this address is open"),
        ("6", "the state is locked by another run"),
        ("7", "something is still open; the words say what to do"),
    ],
)
@options.output
@options.place
@options.variables
@click.argument("names", nargs=-1, type=RECORDED_NAME, metavar="[ADDRESS]...")
@options.wait
@options.patience
def command(*, face: Face, where: Where, names: tuple[str, ...], wait: bool) -> int:
    """Find out how calls ended whose answer was lost, and record it; nothing is changed.

    A run that was killed, or whose connection broke, leaves its calls open. Each is looked up on
    the backend. `apply` does this by itself before anything else; this command does only this.

    That a call was not done is certain only when it can no longer arrive: --wait waits for that,
    without holding the state.
    """
    from synapse_apply.cli.settling import tell, wait_for
    from synapse_apply.session.context import open_context
    from synapse_apply.session.settle import chosen_open, settle
    from synapse_apply.session.unrecorded import all_files, told_done

    with open_context(where) as context:
        settled = settle(context, chosen_open(context.store.read(), names))
        if wait:
            settled = wait_for(face, context, settled)
        state, at = context.store.read(), (context.project, context.target)
        keys = context.signer.keys
        kept = all_files(*at, keys, state.lineage)
        return tell(face, settled, told_done(*at, state, keys), kept)
