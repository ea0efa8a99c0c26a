"""The command `state unlock`: which lock it removes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options

if TYPE_CHECKING:
    from synapse_apply import Invocation


class _LockIdType(click.types.StringParamType):
    """A text; where it is missing the error says what shows it."""

    def get_missing_message(self, param: click.Parameter, ctx: click.Context | None) -> str:
        """Where the id of a lock is shown."""
        del param, ctx
        return "The message about the lock shows it, and `doctor`."


@manual_command(
    "unlock",
    examples=[
        (
            "synapse-apply state unlock 7-3f2a9c -t prod",
            "The run that held the state is gone.",
        ),
    ],
    exits=[("0", "removed"), ("1", "there is no lock, or it has another id")],
)
@options.add_color_options
@options.add_target_options
@click.argument("lock_id", metavar="ID", type=_LockIdType())
def command(*, console: Console, invocation: Invocation, lock_id: str) -> int:
    """Remove the lock of a run that is gone; the message about the lock and `doctor` show its ID.

    Rarely needed: a run that died on this machine is noticed at once, one elsewhere after one
    lease. A run that only seemed gone can write nothing afterwards.
    """
    from synapse_apply.cli.flows.command_target import open_command_target

    with open_command_target(invocation) as target:
        target.state.unlock(lock_id)
        name = target.name
    console.write_output(f"Removed lock {lock_id} of target {name}.\n")
    return 0
