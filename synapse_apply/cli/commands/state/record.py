"""The command `state record`: what it shows of an unsigned journal, and when it asks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options
from synapse_apply.model.errors import NotApproved

if TYPE_CHECKING:
    from synapse_apply import Invocation
    from synapse_apply.library import EndedCall, JournalContent
    from synapse_apply.model.state import Record

_UNSIGNED_FLAG = "--allow-unsigned"


@manual_command(
    "record",
    examples=[
        (
            "synapse-apply state record .synapse-apply/unrecorded-prod-5f1c.jsonl -t prod",
            "The disk has room again: record what was done.",
        ),
    ],
    exits=[
        ("0", "the state has everything that the file says"),
        ("1", "the file is not usable, or contradicts the state, or the answer was not `yes`"),
        ("6", "the state is locked by another run"),
    ],
)
@options.add_color_options
@options.add_target_options
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    _UNSIGNED_FLAG, is_flag=True, help="Do not ask before a file without a signature is used."
)
@options.add_lock_timeout_option
def command(*, console: Console, invocation: Invocation, file: Path, allow_unsigned: bool) -> int:
    """Record what a run did while its state could not be written.

    Such a run (a full disk, a database that went away) writes what it did to a file beside the
    project, unrecorded-TARGET-PLAN.jsonl, and names it in its report. What the state knows
    already is skipped; the file is removed when all of it is recorded.

    Each line is signed with the state key. A file that was changed is refused. One that the key
    in use did not sign, such as that of an earlier version or of a run without the key, is shown
    line by line, and recorded only after you agree.
    """
    from synapse_apply.cli.flows.approval import ask_approval, require_approval_or_person_to_ask
    from synapse_apply.cli.flows.command_target import open_command_target

    with open_command_target(invocation) as target:

        def show_and_confirm(journal: JournalContent) -> bool:
            _show_unsigned_journal(console, file, journal)
            require_approval_or_person_to_ask(
                console, is_approved=allow_unsigned, verb="state record", flag=_UNSIGNED_FLAG
            )
            question = f"Record this in the state of target {target.name}?"
            detail = "Only if the report of a run of yours named this file."
            return allow_unsigned or ask_approval(console, question, detail)

        try:
            recovered_calls = target.state.record_calls(file, confirm=show_and_confirm)
        except NotApproved:
            console.write_stderr("Nothing was changed.\n")
            return 1
    for intent in recovered_calls.recorded_intents:
        console.write_output(
            f"Recorded {intent.verb} of {intent.address} (id {intent.remote_id or 'none'}).\n"
        )
    console.write_output(
        f"Recorded: {len(recovered_calls.recorded_intents)}. Known before: "
        f"{len(recovered_calls.known_intents)}. Removed {file}.\n"
    )
    return 0


def _show_unsigned_journal(console: Console, file: Path, journal: JournalContent) -> None:
    """Print all that an unsigned journal says, before the user is asked about it."""
    console.write_output(f"{file} cannot be verified: {journal.reason}.\nIt says:\n")
    for number, ended_call in enumerate(journal.calls, start=1):
        console.write_output(
            f"\n{number}. {_format_ended_call(ended_call)}\n"
            f"{_render_record_left_by_call(console, ended_call.record)}"
        )


def _format_ended_call(ended_call: EndedCall) -> str:
    from synapse_apply.views.sanitize import sanitize

    intent = ended_call.intent
    call_text = f"{intent.verb} of {intent.address} (id {intent.remote_id or 'none'})"
    return sanitize(
        f"{call_text}: {intent.state.value}, sent {intent.sent_at}, by {ended_call.audit_entry.who}"
    )


def _render_record_left_by_call(console: Console, record: Record | None) -> str:
    """The record that the state gets from a call, as text, or that it gets none."""
    from synapse_apply.views.text.record import render_record

    if record is None:
        return "   No record is left of it.\n"
    return render_record(record, color=console.is_output_colored)
