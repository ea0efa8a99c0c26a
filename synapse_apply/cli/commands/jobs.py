"""The commands of `jobs`: which jobs they list, show, follow, stop and report on."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from synapse_apply.cli import registry
from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import LazyGroup, manual_command
from synapse_apply.cli.params import option_parsing, options, param_types
from synapse_apply.model.errors import Exit, NotApproved
from synapse_apply.model.job import EXPANDABLE_FIELDS

if TYPE_CHECKING:
    from synapse_apply import Invocation
    from synapse_apply.model.job import Job, JobStatus


@click.group("jobs", cls=LazyGroup, entries=registry.JOBS)
def group() -> None:
    """Look at jobs, follow their logs, report on them.

    A job is one run of a plugin. Status words of both kinds of servers are understood (queued or
    PENDING, running, completed or SUCCEEDED, failed, stopped) and shown in one.
    """


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
def list_(
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
def get(*, console: Console, invocation: Invocation, job_id: str, expand: tuple[str, ...]) -> int:
    """Show a job. `status` is in the words of the API page, `raw` in JSON is the server's own."""
    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.cli.texts.jobs import print_job

    with open_command_target(invocation) as target:
        return print_job(console, target.jobs.read_job(job_id, expand=expand))


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
@options.add_json_lines_option
@options.add_target_options
@click.argument("job_id", metavar="ID")
@click.option("--tail", type=click.IntRange(min=0), metavar="N",
              help="Of the lines there are, only the last N.")  # fmt: skip
@options.add_follow_options
def logs(
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
def stop(*, console: Console, invocation: Invocation, job_id: str, yes: bool) -> int:
    """Stop a job that has not ended. What it has done so far stays.

    API v2 stops jobs, by the ids (UUIDs) that it knows them by, for their owner and for owners and
    administrators of the workspace. API v1 has no such call.
    """
    from synapse_apply.cli.flows.approval import ask_approval, require_approval_way
    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.cli.texts.jobs import build_job_document, format_job_status
    from synapse_apply.views.sanitize import sanitize

    require_approval_way(console, is_approved=yes, verb="jobs stop", flag="--yes")

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
def update(
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
        "metadata": param_types.require_json_object(metadata, "--metadata"),
    }
    if all(value is None for value in report.values()):
        raise click.UsageError("Say at least one of --status, --progress, --result, --metadata.")
    with open_command_target(invocation) as target:
        job = target.jobs.update_job(
            job_id, **report, warn=lambda finding: console.write_findings([finding])
        )
    return print_job(console, job)
