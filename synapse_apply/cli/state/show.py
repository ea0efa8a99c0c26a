"""`synapse-apply state show`."""

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
    "show",
    examples=[
        ("synapse-apply state show plugin/yolo", "What was sent, and when."),
        ("synapse-apply state show plugin/yolo --json", "The same for a script."),
    ],
    exits=[("0", "shown"), ("1", "there is no such record")],
)
@options.output
@options.place
@click.argument("name", type=RECORDED_NAME, metavar="ADDRESS")
def command(*, face: Face, where: Where, name: str) -> int:
    """Show one record. Secrets are not in it."""
    from synapse_apply.session import states
    from synapse_apply.session.context import open_state
    from synapse_apply.session.select import choose_one, in_state
    from synapse_apply.views.record import record_document, render_record

    with open_state(where) as context:
        record = states.show(context, choose_one(in_state(context.store.read()), name))
    if face.as_json:
        face.document(record_document(record))
    else:
        face.out(render_record(record, color=face.color_out, width=face.width))
    return 0
