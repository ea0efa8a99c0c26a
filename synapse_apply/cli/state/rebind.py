"""`synapse-apply state rebind`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli import options
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual

if TYPE_CHECKING:
    from synapse_apply.session.where import Where


@manual(
    "rebind",
    examples=[("synapse-apply state rebind -t prod", "The backend moved to another url.")],
    exits=[("0", "bound"), ("1", "error, or the answer was not `yes`")],
)
@options.text_output
@options.place
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.patience
def command(*, face: Face, where: Where, yes: bool) -> int:
    """Bind the state to the target's url and tenant as they are now.

    Only right when it is the same backend under another name: ids in the state are taken for
    ids there.
    """
    from synapse_apply.cli.approval import ask, need_approval
    from synapse_apply.cli.state.bound import binding_now
    from synapse_apply.session import states
    from synapse_apply.session.context import open_state
    from synapse_apply.session.state_file import describe

    need_approval(face, given=yes, verb="state rebind", flag="--yes")
    with open_state(where) as context:
        now, before = binding_now(context), context.store.binding()
        if now == before:
            face.out(f"It is bound to {describe(now)} already.\n")
            return 0
        question = f"Bind the state of {describe(before)} to {describe(now)}?"
        if not yes and not ask(face, question, "It must be the same backend."):
            face.err("Nothing was changed.\n")
            return 1
        old, new = states.rebind(context, now)
    face.out(f"Was bound to {old}, is bound to {new}.\n")
    return 0
