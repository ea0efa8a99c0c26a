"""`synapse-apply jobs logs`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli import options
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual

if TYPE_CHECKING:
    from synapse_apply.session.where import Where


@manual(
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
@options.line_output
@options.place
@click.argument("job_id", metavar="ID")
@click.option("--tail", type=click.IntRange(min=0), metavar="N",
              help="Of the lines there are, only the last N.")  # fmt: skip
@options.following
def command(
    *,
    face: Face,
    where: Where,
    job_id: str,
    tail: int | None,
    follow: bool,
    timeout: float | None,
    interval: float,
) -> int:
    """Show the log of a job, each line once and in order.

    --follow listens to the backend where it can be listened to, else it looks again and again. A
    connection that breaks is made anew; no line is lost or shown twice by that.
    """
    from synapse_apply.cli.followed import Onlooker
    from synapse_apply.cli.followed import follow as follow_job
    from synapse_apply.session.jobs import Follow, show_log
    from synapse_apply.session.reach import open_backend

    told = Onlooker(face, quiet=True)
    with open_backend(where) as reach:
        if not follow:
            show_log(reach, job_id, told.watcher(), tail)
            return 0
        return told.end(follow_job(reach, job_id, Follow(interval, timeout), told, tail), timeout)
