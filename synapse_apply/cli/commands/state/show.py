"""The command `state show`: how one record is printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options
from synapse_apply.cli.params.addresses import RECORDED_NAME

if TYPE_CHECKING:
    from synapse_apply import Invocation


@manual_command(
    "show",
    examples=[
        ("synapse-apply state show plugin/yolo", "What was sent, and when."),
        ("synapse-apply state show plugin/yolo --json", "The same for a script."),
    ],
    exits=[("0", "shown"), ("1", "there is no such record")],
)
@options.add_json_options
@options.add_several_target_options
@click.argument("name", type=RECORDED_NAME, metavar="ADDRESS")
def command(*, console: Console, invocation: Invocation, name: str) -> int:
    """Show one record, and which earlier calls of it may still act. Secrets are not in it."""
    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.views.text.record import record_document, render_record

    with open_command_target(invocation) as target:
        record = target.state.find_record(name)
        _, open_calls = target.state.read_with_open_calls()
    findings = [one for one in open_calls.findings if one.address == str(record.address)]
    console.write_findings(findings)
    if console.as_json:
        diagnostics = [finding.to_json() for finding in findings]
        console.write_or_keep_document({**record_document(record), "diagnostics": diagnostics})
    else:
        console.write_output(
            render_record(record, color=console.is_output_colored, width=console.terminal_width)
        )
    return 0
