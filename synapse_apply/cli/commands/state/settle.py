"""The command `state settle`: whether to look open calls up, or to close one by hand."""

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
    "settle",
    examples=[
        ("synapse-apply state settle -t prod", "Look up every call of unknown outcome."),
        ("synapse-apply state settle storage/raw-data", "Only this one."),
        ("synapse-apply state settle -t prod --wait", "After a kill: return when all is certain."),
        ("synapse-apply state settle --json", "What became of each, for a script."),
        ("synapse-apply state settle plugin/yolo --absent", "You checked: it was not created."),
        (
            "synapse-apply state settle release/yolo@1.1.0 --job 12",
            "You checked: job 12 is the run.",
        ),
    ],
    exits=[
        ("0", "nothing is open any more; with --absent or --job: closed"),
        ("1", "error, or no call of this address is open"),
        ("6", "the state is locked by another run"),
        ("7", "something is still open; the output says what to do"),
    ],
)
@options.add_json_options
@options.add_target_options
@options.add_variable_options
@click.argument("names", nargs=-1, type=RECORDED_NAME, metavar="[ADDRESS]...")
@options.add_wait_option
@click.option(
    "--absent", is_flag=True, help="Do not look it up: you checked that the call was not done."
)
@click.option(
    "--job",
    metavar="ID",
    help="Do not look it up: you checked that the run was started, and this is its job.",
)
@options.add_lock_timeout_option
def command(
    *,
    console: Console,
    invocation: Invocation,
    names: tuple[str, ...],
    wait: bool,
    absent: bool,
    job: str | None,
) -> int:
    """Look up calls of unknown outcome, and record how they ended; no object is changed.

    A run that was killed, or whose connection broke, leaves its calls open. Each is looked up on
    the backend. `apply` does this by itself before anything else; this command does only this.

    That a call was not done is certain only when it can no longer arrive: --wait waits for that,
    without holding the state.

    Where the backend cannot tell, plan refuses the resource, and you say what became of its call:
    --absent if it was not done, --job for a run that was started, which the next apply follows. If
    the object was made after all, `synapse-apply import ADDRESS ID` is the right command. What a
    run did and could not record is recorded with `synapse-apply state record FILE`.
    """
    if absent or job:
        if len(names) != 1 or (absent and job) or wait or console.as_json:
            raise click.UsageError(
                "--absent and --job settle one ADDRESS, without --wait, --json or each other."
            )
        return _settle_call_with_job_or_as_not_done_and_print(console, invocation, names[0], job)
    return _settle_open_calls_by_look_up_and_print(console, invocation, names, should_wait=wait)


def _settle_open_calls_by_look_up_and_print(
    console: Console, invocation: Invocation, names: tuple[str, ...], *, should_wait: bool
) -> int:
    import time

    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.cli.flows.countdown import build_wait_callback
    from synapse_apply.cli.texts.settle import print_settled_calls

    wait = build_wait_callback(console, time.sleep) if should_wait else None
    with open_command_target(invocation) as target:
        return print_settled_calls(console, target.state.settle(names, wait=wait))


def _settle_call_with_job_or_as_not_done_and_print(
    console: Console, invocation: Invocation, name: str, job: str | None
) -> int:
    from synapse_apply.cli.flows.command_target import open_command_target

    with open_command_target(invocation) as target:
        if job:
            address = target.state.settle_with_job(name, job).address
            console.write_output(
                f"Settled {address}: its run is job {job}. The next apply follows it.\n"
            )
            return 0
        intent = target.state.settle_as_not_done(name)
    console.write_output(
        f"Settled {intent.address}: {intent.verb} was not done. The next apply may do it.\n"
    )
    return 0
