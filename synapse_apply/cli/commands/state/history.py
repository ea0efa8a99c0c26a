"""The command `state history`: whether to list runs or print one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options

if TYPE_CHECKING:
    from synapse_apply import Invocation


@manual_command(
    "history",
    examples=[
        ("synapse-apply state history -t prod", "The newest runs that changed anything."),
        (
            "synapse-apply state history show 5f1c2d",
            "Every call of one, by the beginning of its plan.",
        ),
        (
            "synapse-apply state history --limit 1 --json",
            "The newest run with its calls, in JSON.",
        ),
    ],
    exits=[("0", "shown"), ("1", "no such plan, or there is no state")],
)
@options.add_json_options
@options.add_several_target_options
@click.argument("words", nargs=-1, metavar="[show PLAN_ID]")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    metavar="N",
    help="How many runs to list.",
)
def command(*, console: Console, invocation: Invocation, words: tuple[str, ...], limit: int) -> int:
    """List what was done on a target: when, by whom, in which CI run, by which plan.

    `state history show PLAN_ID` lists every mutating call of one plan: address, verb, id of the
    object, the server's request id, a digest of what was sent, and how it ended. There is never a
    value.
    Changes to the state alone are listed as well: moves, imports, what was adopted or forgotten.
    """
    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.cli.texts.history import print_run_with_calls, print_runs_table

    if words and (words[0] != "show" or len(words) != 2):
        raise click.UsageError("It is `state history`, or `state history show PLAN_ID`.")
    with open_command_target(invocation) as target:
        if words:
            return print_run_with_calls(console, target.find_run(words[1]))
        return print_runs_table(console, target.history(limit))
