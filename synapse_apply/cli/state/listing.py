"""`synapse-apply state list`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synapse_apply.cli import options
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual

if TYPE_CHECKING:
    from collections.abc import Mapping

    from synapse_apply.model.state import Intent
    from synapse_apply.session.unrecorded import Told
    from synapse_apply.session.where import Where


@manual(
    "list",
    examples=[
        ("synapse-apply state list", "A line for each record."),
        ("synapse-apply state list --json", "The same for a script."),
    ],
)
@options.output
@options.place
def command(*, face: Face, where: Where) -> int:
    """List what is recorded: address, id of the live object, API version, last write.

    Calls of unknown outcome are told, too, and files that know of calls the state does not.
    """
    from synapse_apply.session import states
    from synapse_apply.session.context import open_state
    from synapse_apply.session.unrecorded import all_files, told_done
    from synapse_apply.views.record import record_document
    from synapse_apply.views.tables import render_table

    with open_state(where) as context:
        state, at = states.read(context), (context.project, context.target)
        keys = context.keys()
    kept, told = all_files(*at, keys, state.lineage), told_done(*at, state, keys)
    records = [record for _, record in sorted(state.records.items())]
    open_calls = sorted(state.open_intents, key=lambda intent: intent.address)
    face.warn(kept)
    if face.as_json:
        face.document(
            {
                "lineage": state.lineage,
                "serial": state.serial,
                "records": [record_document(record) for record in records],
                "open": [str(intent.address) for intent in open_calls],
                "diagnostics": [finding.to_json() for finding in kept],
            }
        )
        return 0
    if records:
        rows = [(r.address, r.remote_id, r.api, r.updated_at[:19] + "Z") for r in records]
        face.out(render_table(("address", "id", "api", "updated"), rows, color=face.color_out))
    else:
        face.err("Nothing is recorded.\n")
    for intent in open_calls:
        face.err(f"Outcome unknown: {intent.address}. {_settled_by(intent, told, face.aim)}.\n")
    return 0


def _settled_by(intent: Intent, told: Mapping[str, Told], aim: str) -> str:
    """What will say how an open call ended."""
    from synapse_apply.model.aim import aimed
    from synapse_apply.planning.refusals import outcome_unknown
    from synapse_apply.session.states import can_be_looked_up

    if intent.id in told:
        return told[intent.id].way_out
    if can_be_looked_up(intent):
        return "The next apply looks it up"
    ways = "; ".join(outcome_unknown(intent).ways_out)
    settle = f"`synapse-apply settle {intent.address}`"
    return aimed(f"Not every backend can tell: {settle} asks this one. If it cannot: {ways}", aim)
