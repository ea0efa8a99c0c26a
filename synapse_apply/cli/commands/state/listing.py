"""The command `state list`: which columns of records and open calls it prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options

if TYPE_CHECKING:
    from synapse_apply import Invocation


@manual_command(
    "list",
    examples=[
        ("synapse-apply state list", "A line for each record."),
        ("synapse-apply state list --json", "The same for a script."),
    ],
)
@options.add_json_options
@options.add_several_target_options
def command(*, console: Console, invocation: Invocation) -> int:
    """List what is recorded: address, id of the live object, API version, last write.

    Calls of unknown outcome are listed, too, and files that hold calls which the state does not
    have (`state record` records these).
    """
    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.model.command import name_target_in_commands
    from synapse_apply.views.text.record import record_document
    from synapse_apply.views.text.tables import render_table

    with open_command_target(invocation) as target:
        state, open_calls = target.state.read_with_open_calls()
    records = [record for _, record in sorted(state.records.items())]
    console.write_findings(open_calls.findings)
    if console.as_json:
        console.write_or_keep_document(
            {
                "lineage": state.lineage,
                "serial": state.serial,
                "records": [record_document(record) for record in records],
                "open": [str(call.intent.address) for call in open_calls.calls],
                "diagnostics": [finding.to_json() for finding in open_calls.findings],
            }
        )
        return 0
    if records:
        rows = [
            (
                listed_record.address,
                listed_record.remote_id,
                listed_record.api,
                listed_record.updated_at[:19] + "Z",
            )
            for listed_record in records
        ]
        console.write_output(
            render_table(("address", "id", "api", "updated"), rows, color=console.is_output_colored)
        )
    else:
        console.write_stderr("Nothing is recorded.\n")
    for call in open_calls.calls:
        advice = name_target_in_commands(call.advice, console.typed_target)
        console.write_stderr(f"Outcome unknown: {call.intent.address}. {advice}.\n")
    return 0
