"""The command `jobs stop`: when it asks, and what it prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options
from synapse_apply.model.errors import Exit, NotApproved

if TYPE_CHECKING:
    from synapse_apply import Invocation
    from synapse_apply.model.job import Job

_EXAMPLE_JOB_ID = "0b5e0f3c-1d2e-4f50-8a6b-7c8d9e0f1a2b"


@manual_command(
    "stop",
    examples=[
        (f"synapse-apply jobs stop {_EXAMPLE_JOB_ID}", "Show the job, ask, then stop it."),
        (f"synapse-apply jobs stop {_EXAMPLE_JOB_ID} --yes", "The same in a script."),
    ],
    exits=[
        ("0", "stopped, or told to stop"),
        ("1", "no such job, it has ended, the backend refuses it, or the answer was not `yes`"),
        ("7", "it is not known whether it was stopped"),
    ],
)
@options.add_json_options
@options.add_target_options
@click.argument("job_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(*, console: Console, invocation: Invocation, job_id: str, yes: bool) -> int:
    """Stop a job that has not ended. What it has done so far stays.

    API v2 stops jobs, by the ids (UUIDs) that it knows them by, for their owner and for owners and
    administrators of the workspace. API v1 has no such call.
    """
    from synapse_apply.cli.flows.approval import ask_approval, require_approval_or_person_to_ask
    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.cli.texts.jobs import build_job_document, format_job_status
    from synapse_apply.views.sanitize import sanitize

    require_approval_or_person_to_ask(console, is_approved=yes, verb="jobs stop", flag="--yes")

    def confirm_stop(job: Job) -> bool:
        detail = f"It is {sanitize(format_job_status(job))}; nothing starts it again."
        return yes or ask_approval(console, f"Stop job {sanitize(job.id)}?", detail)

    with open_command_target(invocation) as target:
        try:
            job = target.jobs.stop_job(
                job_id, confirm=confirm_stop, warn=lambda finding: console.write_findings([finding])
            )
        except NotApproved:
            console.write_stderr("Nothing was stopped.\n")
            return Exit.ERROR
    name, status = f"Job {sanitize(job.id)}", sanitize(format_job_status(job))
    if console.as_json:
        console.write_or_keep_document(build_job_document(job))
    elif job.status.has_ended:
        console.write_output(f"{name} {status}.\n")
    else:
        console.write_output(f"{name} was told to stop; it is {status} now.\n")
    return Exit.OK
