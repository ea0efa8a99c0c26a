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
        (
            "synapse-apply state accept storage/raw-data --undo",
            "Show the difference in plans again.",
        ),
    ],
    exits=[
        ("0", "recorded"),
        ("1", "not declared, not recorded, not live, or the answer was not `yes`"),
        ("6", "the state is locked by another run"),
    ],
)
@options.text_output
@options.place
@options.files
@options.variables
@click.argument("name", type=RECORDED_NAME, metavar="ADDRESS")
@click.option("--undo", is_flag=True, help="Take back what was accepted of this resource.")
@click.option("--auto-approve", is_flag=True, help="Do not ask.")
@options.parallelism
@options.patience
def command(*, face: Face, where: Where, name: str, undo: bool, auto_approve: bool) -> int:
    """Take the live object as it is for settled: what is declared counts as applied.

    For changes that the API cannot make: change the object in the product and the manifest in
    Git, then accept. What still differs is listed first, and accepted only when you say so. From
    then on it is no change and no drift until one of the two sides moves: `plan`, `drift`,
    `doctor` and `show` count it as an accepted difference.

    With --undo the state remembers again what it did before, so that plans show the difference;
    neither manifests nor backend are needed for that.
    """
    if undo:
        return _undo(face, where, name)
    from synapse_apply.cli.approval import ask, need_approval
    from synapse_apply.planning.situation import Choices
    from synapse_apply.session.accept import accept, acceptable
    from synapse_apply.session.context import open_context
    from synapse_apply.session.plan import plan
    from synapse_apply.session.select import choose_one
    from synapse_apply.views.accepted import render_differing
    from synapse_apply.views.grammar import plural

    with open_context(where) as context:
        address = choose_one(context, name)
        planned = plan(context, Choices().under(context.target))
        chosen = acceptable(planned, address)
        sides = (chosen.differing, chosen.accepted, chosen.notes)
        face.out(render_differing(address, *sides, color=face.color_out, width=face.width))
        count = plural(len(chosen.differing), "difference")
        if chosen.differing:
            need_approval(face, given=auto_approve, verb="state accept")
            question = f"Accept {count} of {address}?"
            detail = "Nothing is sent. Plans no longer show it until one of the two sides moves."
            if not auto_approve and not ask(face, question, detail):
                face.err("Nothing was changed.\n")
                return 1
        accept(context, planned, chosen)
    face.out(f"Accepted {address} as it is live: {count if chosen.differing else 'no difference'}"
             f"{' that was not accepted before' if chosen.accepted else ''}.\n")  # fmt: skip
    return 0


def _undo(face: Face, where: Where, name: str) -> int:
    from synapse_apply.session.accept import undo
    from synapse_apply.session.context import open_state
    from synapse_apply.session.select import choose_one, in_state
    from synapse_apply.views.findings import dotted
    from synapse_apply.views.safety import clean

    with open_state(where) as context:
        address = choose_one(in_state(context.store.read()), name)
        accepted = undo(context, address)
    names = ", ".join(clean(dotted(path)) for path in accepted.paths)
    face.out(f"No longer accepted of {address}: {names}. The next plan shows what differs.\n")
    return 0
