"""The command `jobs update`: which fields of a job to change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import option_parsing, options, param_types

if TYPE_CHECKING:
    from synapse_apply import Invocation
    from synapse_apply.model.job import JobStatus


@manual_command(
    "update",
    examples=[
        ("synapse-apply jobs update 789 --status running --progress 75", "How far it is."),
        (
            "synapse-apply jobs update 789 --status completed --result '{\"accuracy\": 0.95}'",
            "That it ended, and with what.",
        ),
    ],
    exits=[
        ("0", "updated"),
        ("1", "no such job, or the backend refuses it"),
        ("7", "it is not known whether it was updated"),
    ],
)
@options.add_json_options
@options.add_target_options
@click.argument("job_id", metavar="ID")
@click.option("--status", type=param_types.STATUS, metavar="WORD", help="What it is now.")
@click.option(
    "--progress", type=option_parsing.NumberType(0, 100), metavar="PERCENT", help="0 to 100."
)
@click.option("--result", type=param_types.JSON, metavar="JSON", help="Its result: any JSON value.")
@click.option(
    "--metadata", type=param_types.JSON, metavar="JSON", help="More about it: a JSON object."
)
def command(
    *,
    console: Console,
    invocation: Invocation,
    job_id: str,
    status: JobStatus | None,
    progress: float | None,
    result: Any,
    metadata: Any,
) -> int:
    """Report on a job: what its plugin would tell the backend. It starts and stops nothing.

    What is said goes out in the words that this backend uses.
    """
    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.cli.texts.jobs import print_job

    report = {
        "status": status,
        "progress": progress,
        "result": result,
        "metadata": param_types.require_json_object_or_none(metadata, "--metadata"),
    }
    if all(value is None for value in report.values()):
        raise click.UsageError("Say at least one of --status, --progress, --result, --metadata.")
    with open_command_target(invocation) as target:
        job = target.jobs.update_job(
            job_id, **report, warn=lambda finding: console.write_findings([finding])
        )
    return print_job(console, job)
