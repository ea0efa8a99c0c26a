"""`synapse-apply state init`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from synapse_apply.cli import options, parsing
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual

if TYPE_CHECKING:
    from synapse_apply.session.checks.offer import BackendOffer
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

    The backend is asked what it offers, where it can be: whether it lists plugins decides whether
    those that exist can be found. The state is made whatever it says.
    """
    from synapse_apply.cli.state.bound import binding_now
    from synapse_apply.session import states
    from synapse_apply.session.checks.offer import ask_for_offer
    from synapse_apply.session.context import open_state
    from synapse_apply.views.checkup import render_section
    from synapse_apply.views.safety import clean

    with open_state(where) as context:
        made = states.init(context, binding_now(context), where.environ, lineage)
        name, pinned = context.target.name, context.target.state.lineage
    offer = ask_for_offer(where)
    if face.as_json:
        face.document({"target": name, "lineage": made, "backend": _offer_document(offer)})
        return 0
    face.out(f"Made an empty state for target {name}, lineage {made}.\n")
    if not pinned:
        face.out(f"Pin it in the project file: targets.{name}.state.lineage: {made}\n")
    face.out("\n")
    if offer.rows:
        face.out(f"{render_section('Backend', offer.rows, color=face.color_out)}\n")
        face.out(f"{states.describe_protection(offer.listed, offer.unlisted)}\n")
        return 0
    face.out(f"The backend could not be asked what it offers: {clean(offer.unasked)}.\n\n")
    face.out(f"{states.PROTECTS}\n")
    return 0


def _offer_document(offer: BackendOffer) -> dict[str, Any]:
    """What the backend offers, in the form of `doctor --json`."""
    from synapse_apply.views.checkup import section_document

    return {
        "asked": not offer.unasked,
        "why_not": offer.unasked,
        "checks": section_document("Backend", offer.rows),
    }
