"""The command `state list`: which columns of records and open calls it prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from synapse_apply.model.state import Intent
    from synapse_apply.workspace.invocation import Invocation
    from synapse_apply.workspace.recovery_journal import JournalFile


@manual_command(
    "list",
    examples=[
        ("synapse-apply state list", "A line for each record."),
        ("synapse-apply state list --json", "The same for a script."),
    ],
)
@options.add_json_options
@options.add_target_options
def command(*, console: Console, invocation: Invocation) -> int:
    """List what is recorded: address, id of the live object, API version, last write.

    Calls of unknown outcome are told, too, and files that know of calls the state does not.
    """
    from synapse_apply.operations import state as states
    from synapse_apply.views.text.record import record_document
    from synapse_apply.views.text.tables import render_table
    from synapse_apply.workspace.recovery_journal import (
        build_journal_warnings,
        find_calls_recorded_as_done,
    )
    from synapse_apply.workspace.target_session import open_state

    with open_state(invocation) as session:
        state, project_and_target = states.read_state(session), (session.project, session.target)
        keys = session.state_keys
    journal_findings, journal_files = (
        build_journal_warnings(*project_and_target, keys, state.lineage),
        find_calls_recorded_as_done(*project_and_target, state, keys),
    )
    records = [record for _, record in sorted(state.records.items())]
    open_calls = sorted(state.open_intents, key=lambda intent: intent.address)
    console.write_findings(journal_findings)
    if console.as_json:
        console.write_document(
            {
                "lineage": state.lineage,
                "serial": state.serial,
                "records": [record_document(record) for record in records],
                "open": [str(intent.address) for intent in open_calls],
                "diagnostics": [finding.to_json() for finding in journal_findings],
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
    for intent in open_calls:
        console.write_stderr(
            f"Outcome unknown: {intent.address}. "
            f"{_format_settlement_hint(intent, journal_files, console.typed_target)}.\n"
        )
    return 0


def _format_settlement_hint(
    intent: Intent, journal_files: Mapping[str, JournalFile], typed_target: str
) -> str:
    """Which command says how an open call ended."""
    from synapse_apply.model.command import Command, Text, join_texts, name_target
    from synapse_apply.operations.state import can_look_up_outcome
    from synapse_apply.planning.open_call_refusals import build_outcome_unknown_refusal

    if intent.id in journal_files:
        return journal_files[intent.id].recovery_hint
    if can_look_up_outcome(intent):
        return "The next apply looks it up"
    hint = Text(
        "Not every backend can tell: ",
        Command("state settle", intent.address),
        " asks this one. If it cannot: ",
        join_texts("; ", build_outcome_unknown_refusal(intent).ways_out),
    )
    return name_target(hint, typed_target)
