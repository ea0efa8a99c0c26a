"""The command `state init`: what it warns of when it creates an empty state."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import option_parsing, options
from synapse_apply.model.coding.json_types import JsonDocument

if TYPE_CHECKING:
    from synapse_apply import Invocation
    from synapse_apply.library import BackendOffer, CreatedState


@manual_command(
    "init",
    examples=[
        ("synapse-apply state init -t prod", "A new target: nothing exists there yet."),
        (
            "synapse-apply state init -t prod --lineage 5f1c2d60-0000-4000-8000-0123456789ab",
            "Where the project file pins a lineage: make an empty state anyway.",
        ),
        (
            "synapse-apply state init -t prod --key-file /run/keys/prod.key",
            "A state that several machines share, from a script: where its key goes.",
        ),
    ],
    exits=[("0", "made"), ("1", "there is one already, a pin forbids it, or a key is missing")],
)
@options.add_json_options
@options.add_target_options
@click.option(
    "--lineage",
    default="",
    metavar="UUID",
    callback=option_parsing.parse_lineage_option_or_empty,
    help="The lineage to give it.",
)
@click.option(
    "--key-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to make the key of a state that several machines share.",
)
def command(
    *, console: Console, invocation: Invocation, lineage: str, key_file: Path | None
) -> int:
    """Create an empty state for a target.

    A state remembers which live object belongs to which address. Without it, apply could make
    second copies of what exists, so it is never made silently (target `embedded` aside).

    A state that several machines share is bound to an id in the project file, which is written
    there if it has none, and to a state key. Without a key one is made in your configuration folder
    (~/.config/synapse-apply), off a terminal only in --key-file. Every machine and job needs it.

    The backend is asked what it offers, where it can be: whether it lists plugins decides whether
    those that exist can be found. The state is made whatever it says.
    """
    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.views.sanitize import sanitize
    from synapse_apply.views.text.checkup import render_checkup_section

    with open_command_target(invocation) as target:
        created_state = target.state.create(lineage=lineage, key_file=key_file)
        offer = target.live.read_offer()
    name, new_lineage = created_state.target, created_state.lineage
    if console.as_json:
        console.write_or_keep_document(
            {
                "target": name,
                "lineage": new_lineage,
                **_build_sharing_document_or_empty(created_state),
                "backend": _build_offer_document(offer),
            }
        )
        return 0
    console.write_output(f"Made an empty state for target {name}, lineage {new_lineage}.\n")
    if not created_state.is_pinned:
        console.write_output(
            f"Pin it in the project file: targets.{name}.state.lineage: {new_lineage}\n"
        )
    for line in created_state.steps:
        console.write_output(f"{line}\n")
    console.write_output("\n")
    if offer.rows:
        console.write_output(
            f"{render_checkup_section('Backend', offer.rows, color=console.is_output_colored)}\n"
        )
    else:
        console.write_output(
            f"The backend could not be asked what it offers: {sanitize(offer.unasked)}.\n\n"
        )
    console.write_output(f"{offer.empty_state_risk}\n")
    return 0


def _build_sharing_document_or_empty(created_state: CreatedState) -> JsonDocument:
    project_id, key = created_state.project_id, created_state.key
    if key is None:
        return {}
    return {
        "project": {"id": project_id.text or None, "written": project_id.is_new},
        "key": {"id": key.key_id, "from": key.origin, "made": created_state.key_file is not None},
    }


def _build_offer_document(offer: BackendOffer) -> JsonDocument:
    """What the backend offers, in the form of `doctor --json`."""
    from synapse_apply.views.text.checkup import build_json_rows_of_section

    return {
        "asked": not offer.unasked,
        "why_not": offer.unasked,
        "checks": build_json_rows_of_section("Backend", offer.rows),
    }
