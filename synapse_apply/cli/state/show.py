"""`synapse-apply state show`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli import options
from synapse_apply.cli.addresses import RECORDED_NAME
from synapse_apply.cli.face import Console
from synapse_apply.cli.manual import manual_command

if TYPE_CHECKING:
    from synapse_apply.session.where import Invocation


@manual_command(
    "show",
    examples=[
        ("synapse-apply state show plugin/yolo", "What was sent, and when."),
        ("synapse-apply state show plugin/yolo --json", "The same for a script."),
    ],
    exits=[("0", "shown"), ("1", "there is no such record")],
)
@options.add_json_options
@options.add_target_options
@click.argument("name", type=RECORDED_NAME, metavar="ADDRESS")
def command(*, console: Console, invocation: Invocation, name: str) -> int:
    """Show one record. Secrets are not in it."""
    from synapse_apply.session import states
    from synapse_apply.session.context import open_state
    from synapse_apply.session.select import build_state_selectable, choose_address
    from synapse_apply.views.record import record_document, render_record

    with open_state(invocation) as session:
        record = states.require_record(
            session, choose_address(build_state_selectable(session.store.read_state()), name)
        )
    if console.as_json:
        console.write_document(record_document(record))
    else:
        console.write_output(
            render_record(record, color=console.is_output_colored, width=console.terminal_width)
        )
    return 0
