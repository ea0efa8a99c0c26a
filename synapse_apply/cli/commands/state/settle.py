"""`synapse-apply state settle`."""

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
        ("synapse-apply state settle plugin/yolo --absent", "You looked: it was not made."),
        (
            "synapse-apply state settle release/yolo@1.1.0 --job 12",
            "You looked: job 12 is the run.",
        ),
    ],
    exits=[
        ("0", "closed"),
        ("1", "no call of this address is open, or a file tells that it was done"),
    ],
)
@options.add_color_options
@options.add_target_options
@click.argument("name", type=RECORDED_NAME, metavar="ADDRESS")
@click.option("--absent", is_flag=True, help="The call was not done; you looked.")
@click.option("--job", metavar="ID", help="The run was started, and this is its job; you looked.")
@options.add_lock_timeout_option
def command(
    *, console: Console, invocation: Invocation, name: str, absent: bool, job: str | None
) -> int:
    """Say what became of a call of unknown outcome.

    Needed only where the backend cannot tell, and plan refuses the resource for that. If the
    object was made after all, `synapse-apply import ADDRESS ID` is the right command; if a run
    was started, its job is given with --job, and the next apply follows it. What a run did and
    could not record is recorded with `synapse-apply state recover FILE`.
    """
    from synapse_apply.model.verification import RUN_VERB
    from synapse_apply.operations import state
    from synapse_apply.workspace.selection import build_state_selectable, choose_address
    from synapse_apply.workspace.target_session import open_state

    if absent == bool(job):
        raise click.UsageError("Say --absent if it was not done, --job ID for a run that was; "
                               "else import it.")  # fmt: skip
    with open_state(invocation) as session:
        address, moment = (
            choose_address(build_state_selectable(session.store.read_state()), name),
            session.clock.utc_now(),
        )
        if job:
            state.settle_with_job(session, address, job, moment=moment)
            console.write_output(
                f"Settled {address}: its run is job {job}. The next apply follows it.\n"
            )
            return 0
        intent = state.settle_as_not_done(session, address, moment=moment)
    next_action = "start it" if intent.verb == RUN_VERB else "make it"
    console.write_output(f"Settled {address}: not done. The next apply may {next_action}.\n")
    return 0
