"""The command `jobs stop`: when it asks, and what it prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options
from synapse_apply.model.errors import Exit

if TYPE_CHECKING:
    from synapse_apply.workspace.invocation import Invocation

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
    from synapse_apply.cli.flows.approval import ask_approval, require_approval
    from synapse_apply.cli.texts.jobs import build_job_document, format_job_status
    from synapse_apply.live.live_backend import open_live_backend
    from synapse_apply.operations.stop_job import require_stoppable_job, stop_job
    from synapse_apply.views.sanitize import sanitize

    require_approval(console, is_approved=yes, verb="jobs stop", flag="--yes")
    with open_live_backend(invocation) as live_backend:
        job = require_stoppable_job(live_backend, job_id)
        name = f"job {sanitize(job.id)}"
        detail = f"It is {sanitize(format_job_status(job))}; nothing starts it again."
        if not yes and not ask_approval(console, f"Stop {name}?", detail):
            console.write_stderr("Nothing was stopped.\n")
            return Exit.ERROR
        stopped_job, audit_warning = stop_job(live_backend, job)
        if audit_warning:
            console.write_findings([audit_warning])
    if console.as_json:
        console.write_document(build_job_document(stopped_job))
    elif stopped_job.status.has_ended:
        console.write_output(
            f"Job {sanitize(job.id)} {sanitize(format_job_status(stopped_job))}.\n"
        )
    else:
        console.write_output(
            f"Job {sanitize(job.id)} was told to stop; it is "
            f"{sanitize(format_job_status(stopped_job))} now.\n"
        )
    return Exit.OK
