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
    from synapse_apply.operations.checks.offered_operations import BackendOffer
    from synapse_apply.operations.create_state import CreatedState
    from synapse_apply.workspace.invocation import Invocation


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
    callback=option_parsing.parse_lineage_option,
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
    from synapse_apply.operations import state
    from synapse_apply.operations.checks.offered_operations import read_backend_offer
    from synapse_apply.operations.create_state import create_state, list_place_notes
    from synapse_apply.views.sanitize import sanitize
    from synapse_apply.views.text.checkup import render_checkup_section
    from synapse_apply.workspace.target_session import open_state

    with open_state(invocation) as session:
        identity = state.build_current_identity(session)
        key_path = invocation.directory / key_file if key_file is not None else None
        created_state = create_state(session, identity, lineage, key_path)
        name, pinned = session.target.name, session.target.state.lineage
        place_notes = list_place_notes(session.store.where)
    new_lineage = created_state.lineage
    offer = read_backend_offer(invocation)
    if console.as_json:
        console.write_document(
            {
                "target": name,
                "lineage": new_lineage,
                **_build_sharing_document(created_state),
                "backend": _build_offer_document(offer),
            }
        )
        return 0
    console.write_output(f"Made an empty state for target {name}, lineage {new_lineage}.\n")
    if not pinned:
        console.write_output(
            f"Pin it in the project file: targets.{name}.state.lineage: {new_lineage}\n"
        )
    for line in (*_list_sharing_lines(created_state, name), *place_notes):
        console.write_output(f"{line}\n")
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


def _list_sharing_lines(created_state: CreatedState, target_name: str) -> list[str]:
    """What is to be done so that other machines can use a shared state; [] for any other."""
    from synapse_apply.cli.texts.shared_keys import list_new_key_lines
    from synapse_apply.model.command import Command

    project_id, key = created_state.project_id, created_state.key
    if key is None:
        return []
    lines: list[str] = []
    if project_id.is_new:
        lines.append(
            f"Wrote project.id {project_id.text} into the project file: commit it. A project file "
            "without it cannot use this state."
        )
    elif not project_id.text:
        rebind_command = Command("state rebind", target=target_name)
        lines.append(
            f"It is bound to no project, since the project file has no id: {rebind_command}, where "
            "you can commit it."
        )
    if created_state.key_file is None:
        return [*lines, f"It is bound to state key {key.key_id}, from {key.origin}."]
    return [
        *lines,
        *list_new_key_lines(
            key.key_id,
            created_state.key_file,
            target_name,
            is_found=created_state.is_key_found,
        ),
    ]


def _build_sharing_document(created_state: CreatedState) -> JsonDocument:
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
