"""The command `jobs get`: which fields to expand and print."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options
from synapse_apply.model.job import EXPANDABLE_FIELDS

if TYPE_CHECKING:
    from synapse_apply import Invocation


def _parse_expand_options(
    _ctx: click.Context, _param: click.Parameter, texts: tuple[str, ...]
) -> tuple[str, ...]:
    """`logs,result` as names; a usage error for one that a job has not."""
    names = tuple(dict.fromkeys(part.strip() for text in texts for part in text.split(",")))
    for name in names:
        if name not in EXPANDABLE_FIELDS:
            raise click.BadParameter(f"{name!r} is none of {', '.join(EXPANDABLE_FIELDS)}.")
    return names


@manual_command(
    "get",
    examples=[
        ("synapse-apply jobs get 789", "What the backend says of a job."),
        ("synapse-apply jobs get 789 --expand logs,result", "With its log and its result."),
        ("synapse-apply jobs get 789 --json", "The same for a script."),
    ],
    exits=[("0", "shown, however the job stands"), ("1", "there is no such job")],
)
@options.add_json_options
@options.add_target_options
@click.argument("job_id", metavar="ID")
@click.option("--expand", multiple=True, metavar="NAMES", callback=_parse_expand_options,
              help="Ask for more of it: logs, metrics, result.")  # fmt: skip
def command(
    *, console: Console, invocation: Invocation, job_id: str, expand: tuple[str, ...]
) -> int:
    """Show a job. `status` is in the words of the API page, `raw` in JSON is the server's own."""
    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.cli.texts.jobs import print_job

    with open_command_target(invocation) as target:
        return print_job(console, target.jobs.read_job(job_id, expand=expand))
