"""`synapse-apply settle`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options
from synapse_apply.cli.params.addresses import RECORDED_NAME

if TYPE_CHECKING:
    from synapse_apply.workspace.invocation import Invocation


@manual_command(
    "settle",
    examples=[
        ("synapse-apply settle -t prod", "Look up every call whose end nobody saw."),
        ("synapse-apply settle storage/raw-data", "Only this one."),
        ("synapse-apply settle -t prod --wait", "After a kill: come back when all is certain."),
        ("synapse-apply settle --json", "What became of each, for a script."),
    ],
    exits=[
        ("0", "nothing is open any more"),
        ("1", "error, or no call of this address is open"),
        ("6", "the state is locked by another run"),
        ("7", "something is still open; the words say what to do"),
    ],
)
@options.add_json_options
@options.add_target_options
@options.add_variable_options
@click.argument("names", nargs=-1, type=RECORDED_NAME, metavar="[ADDRESS]...")
@options.add_wait_option
@options.add_lock_timeout_option
def command(*, console: Console, invocation: Invocation, names: tuple[str, ...], wait: bool) -> int:
    """Find out how calls ended whose answer was lost, and record it; nothing is changed.

    A run that was killed, or whose connection broke, leaves its calls open. Each is looked up on
    the backend. `apply` does this by itself before anything else; this command does only this.

    That a call was not done is certain only when it can no longer arrive: --wait waits for that,
    without holding the state.
    """
    from synapse_apply.cli.texts.settle import show_resolved_intents, wait_for_resolution
    from synapse_apply.operations.settle import choose_open_calls, settle_open_calls
    from synapse_apply.workspace.recovery_journal import build_journal_warnings, find_done_calls
    from synapse_apply.workspace.target_session import open_context

    with open_context(invocation) as session:
        resolved_intents = settle_open_calls(
            session, choose_open_calls(session.store.read_state(), names)
        )
        if wait:
            resolved_intents = wait_for_resolution(console, session, resolved_intents)
        state, project_and_target = session.store.read_state(), (session.project, session.target)
        keys = session.state_keys
        journal_findings = build_journal_warnings(*project_and_target, keys, state.lineage)
        return show_resolved_intents(
            console,
            resolved_intents,
            find_done_calls(*project_and_target, state, keys),
            journal_findings,
        )
