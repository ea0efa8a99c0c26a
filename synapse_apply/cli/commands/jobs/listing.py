"""The command `jobs list`: by which filters jobs are listed."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options, param_types

if TYPE_CHECKING:
    from synapse_apply import Invocation
    from synapse_apply.model.job import JobStatus


@manual_command(
    "list",
    examples=[
        ("synapse-apply jobs list --status running", "Jobs that are running."),
        ("synapse-apply jobs list --plugin yolo --created-after 7d", "A plugin's, of a week."),
        ("synapse-apply jobs list --limit 20 --json", "The newest ones, for a script."),
    ],
    exits=[
        ("0", "listed, also where there is none"),
        ("1", "there is no such plugin, or they could not be read"),
    ],
)
@options.add_json_options
@options.add_target_options
@click.option(
    "--status",
    type=param_types.STATUS,
    metavar="WORD",
    help="Only jobs of this status: queued, running, completed, failed or stopped.",
)
@click.option("--plugin", default="", metavar="PLUGIN",
              help="Only jobs of this plugin: a recorded name, a code, or id=123.")  # fmt: skip
@click.option("--created-after", type=param_types.MOMENT, metavar="DATE|SPAN",
              help="Only jobs made since a date, a time, or a span ago: 7d, 12h.")  # fmt: skip
@click.option("--user", default="", metavar="ID", help="Only jobs of this user.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many.")
def command(
    *,
    console: Console,
    invocation: Invocation,
    status: JobStatus | None,
    plugin: str,
    created_after: datetime | None,
    user: str,
    limit: int | None,
) -> int:
    """List jobs in the backend's order, page after page, all of them unless --limit says less."""
    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.cli.texts.jobs import print_jobs_table

    with open_command_target(invocation) as target:
        return print_jobs_table(
            console,
            target.jobs.iter_jobs(
                status=status, plugin=plugin, created_after=created_after, user=user, limit=limit
            ),
            "There is no such job of this plugin, or no such plugin."
            if plugin
            else "There is no such job.",
        )
