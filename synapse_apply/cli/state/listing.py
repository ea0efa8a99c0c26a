"""`synapse-apply state list`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synapse_apply.cli import options
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual

if TYPE_CHECKING:
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
    """List what is recorded: address, id of the live object, API version, last write."""
    from synapse_apply.session import states
    from synapse_apply.session.context import open_state
    from synapse_apply.views.record import record_document
    from synapse_apply.views.tables import render_table

    with open_state(where) as context:
        state = states.read(context)
    records = [record for _, record in sorted(state.records.items())]
    open_calls = sorted(str(intent.address) for intent in state.open_intents)
    if face.as_json:
        face.document(
            {
                "lineage": state.lineage,
                "serial": state.serial,
                "records": [record_document(record) for record in records],
                "open": open_calls,
            }
        )
        return 0
    if records:
        rows = [(r.address, r.remote_id, r.api, r.updated_at[:19] + "Z") for r in records]
        face.out(render_table(("address", "id", "api", "updated"), rows, color=face.color_out))
    else:
        face.err("Nothing is recorded.\n")
    for address in open_calls:
        face.err(f"Outcome unknown: {address}. The next apply looks it up.\n")
    return 0
