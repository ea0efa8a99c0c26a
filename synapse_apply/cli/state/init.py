"""`synapse-apply state init`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli import options, parsing
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual

if TYPE_CHECKING:
    from synapse_apply.session.where import Where


@manual(
    "init",
    examples=[
        ("synapse-apply state init -t prod", "A new target: nothing exists there yet."),
        (
            "synapse-apply state init -t prod --lineage 5f1c2d60-0000-4000-8000-0123456789ab",
            "Where the project file pins a lineage: make an empty state anyway.",
        ),
    ],
    exits=[("0", "made"), ("1", "there is one already, or a pin forbids it")],
)
@options.output
@options.place
@click.option(
    "--lineage",
    default="",
    metavar="UUID",
    callback=parsing.lineage,
    help="The lineage to give it.",
)
def command(*, face: Face, where: Where, lineage: str) -> int:
    """Make an empty state for a target.

    A state remembers which live object belongs to which address. Without it, apply could make
    second copies of what exists, so it is never made silently (target `embedded` aside).
    """
    from synapse_apply.cli.state.bound import binding_now
    from synapse_apply.session import states
    from synapse_apply.session.context import open_state

    with open_state(where) as context:
        made = states.init(context, binding_now(context), where.environ, lineage)
        name = context.target.name
    if face.as_json:
        face.document({"target": name, "lineage": made})
        return 0
    face.out(
        f"Made an empty state for target {name}, lineage {made}.\n"
        f"Pin it in the project file: targets.{name}.state.lineage: {made}\n\n"
    )
    face.out(f"{states.PROTECTS}\n")
    return 0
