"""The command `state init`: what it warns of when it creates an empty state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import option_parsing, options

if TYPE_CHECKING:
    from synapse_apply.operations.checks.offered_operations import BackendOffer
    from synapse_apply.workspace.invocation import Invocation


@manual_command(
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
@options.add_json_options
@options.add_target_options
@click.option(
    "--lineage",
    default="",
    metavar="UUID",
    callback=option_parsing.parse_lineage_option,
    help="The lineage to give it.",
)
def command(*, console: Console, invocation: Invocation, lineage: str) -> int:
    """Create an empty state for a target.

    A state remembers which live object belongs to which address. Without it, apply could make
    second copies of what exists, so it is never made silently (target `embedded` aside).

    The backend is asked what it offers, where it can be: whether it lists plugins decides whether
    those that exist can be found. The state is made whatever it says.
    """
    from synapse_apply.operations import state
    from synapse_apply.operations.checks.offered_operations import read_backend_offer
    from synapse_apply.views.sanitize import sanitize
    from synapse_apply.views.text.checkup import render_checkup_section
    from synapse_apply.workspace.target_session import open_state

    with open_state(invocation) as session:
        new_lineage = state.create_state(session, state.build_current_identity(session), lineage)
        name, pinned = session.target.name, session.target.state.lineage
    offer = read_backend_offer(invocation)
    if console.as_json:
        console.write_document(
            {"target": name, "lineage": new_lineage, "backend": _build_offer_document(offer)}
        )
        return 0
    console.write_output(f"Made an empty state for target {name}, lineage {new_lineage}.\n")
    if not pinned:
        console.write_output(
            f"Pin it in the project file: targets.{name}.state.lineage: {new_lineage}\n"
        )
    console.write_output("\n")
    if offer.rows:
        console.write_output(
            f"{render_checkup_section('Backend', offer.rows, color=console.is_output_colored)}\n"
        )
        console.write_output(f"{state.describe_empty_state_risk(offer.listed, offer.unlisted)}\n")
        return 0
    console.write_output(
        f"The backend could not be asked what it offers: {sanitize(offer.unasked)}.\n\n"
    )
    console.write_output(f"{state.EMPTY_STATE_WARNING}\n")
    return 0


def _build_offer_document(offer: BackendOffer) -> dict[str, Any]:
    """What the backend offers, in the form of `doctor --json`."""
    from synapse_apply.views.text.checkup import build_section_rows

    return {
        "asked": not offer.unasked,
        "why_not": offer.unasked,
        "checks": build_section_rows("Backend", offer.rows),
    }
