"""The command `jobs update`: which fields of a job to change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import option_parsing, options, param_types

if TYPE_CHECKING:
    from synapse_apply.model.job import JobStatus
    from synapse_apply.workspace.invocation import Invocation


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
    from synapse_apply.cli.texts.jobs import print_job
    from synapse_apply.live.live_backend import open_live_backend
    from synapse_apply.operations.jobs import JobReport, update_job

    job_report = JobReport(
        status, progress, result, param_types.require_json_object(metadata, "--metadata")
    )
    if job_report == JobReport():
        raise click.UsageError("Say at least one of --status, --progress, --result, --metadata.")
    with open_live_backend(invocation) as live_backend:
        job, audit_warning = update_job(live_backend, job_id, job_report)
        if audit_warning:
            console.write_findings([audit_warning])
        return print_job(console, job)
