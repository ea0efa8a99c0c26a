"""The command `jobs logs`: how much of a log to print, and how long to follow it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options

if TYPE_CHECKING:
    from synapse_apply import Invocation


@manual_command(
    "logs",
    examples=[
        ("synapse-apply jobs logs 789 --tail 10", "The last lines of a job's log."),
        ("synapse-apply jobs logs 789 --follow", "All of it, and what it writes until it ends."),
        ("synapse-apply jobs logs 789 --json", "A JSON object a line, for a script."),
    ],
    exits=[
        ("0", "shown; with --follow: the job completed"),
        ("1", "no such job; with --follow: it failed, was stopped, or has not ended in time"),
    ],
)
@options.add_json_per_line_options
@options.add_target_options
@click.argument("job_id", metavar="ID")
@click.option("--tail", type=click.IntRange(min=0), metavar="N",
              help="Of the lines there are, only the last N.")  # fmt: skip
@options.add_follow_options
def command(
    *,
    console: Console,
    invocation: Invocation,
    job_id: str,
    tail: int | None,
    follow: bool,
    timeout: float | None,
    interval: float,
) -> int:
    """Show the log of a job, each line once and in order.

    --follow reads the log every second at first, and more seldom as it grows.
    A call that fails is made again; no line is lost or shown twice by that.
    """
    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.cli.flows.job_follower import JobFollower

    follower = JobFollower(console, log_only=True)
    with open_command_target(invocation) as target:
        if not follow:
            target.jobs.show_log(
                job_id, follower.write_log_line, on_note=follower.show_note, tail=tail
            )
            return 0
        job = follower.follow_log(
            target.jobs, job_id, interval=interval, timeout=timeout, tail=tail
        )
        return follower.print_job_end(job, timeout)
