"""The commands `run` and `jobs`: how a job is started, followed, stopped and reported on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synapse_apply import cli
from synapse_apply.cli import options, registry, typed
from synapse_apply.cli.console import Console, is_approved, require_approval_way
from synapse_apply.cli.help_pages import LazyGroup, manual_command
from synapse_apply.cli.options import option
from synapse_apply.model.errors import Exit
from synapse_apply.model.job import Job, JobStatus
from synapse_apply.model.json_types import JsonDocument
from synapse_apply.views.sanitize import sanitize

if TYPE_CHECKING:
    from synapse_apply import Invocation


_RELEASE_PREFIX = "release/"


@manual_command(
    "run",
    examples={
        "run yolo -p threshold=0.8 --follow": "Run a plugin and follow its job.",
        "run id=123 --params-file run.yaml": "Run a plugin by its id, with parameters from a file.",
        "run yolo@1.2.0 --action train --agent 4 -p epochs=3": (
            "Run an action of a version on an agent, as the platform's own form does."
        ),
        "run yolo --json": "Start a run and print its job for a script.",
    },
    exits={
        "0": "the run started; with --follow: it completed",
        "1": "the run did not start; with --follow: it failed, was stopped, or timed out",
        "7": "it is unknown whether the run started; the message says how to check",
    },
)
@options.use("json", "target")
@click.argument("plugin", metavar="PLUGIN[@VERSION]", shell_complete=typed.complete_plugins)
@option(
    "-p, --param KEY=VALUE",
    "A parameter. A value that is valid JSON is sent as JSON, and any other value as text. "
    "Repeatable.",
    name="parameters",
    multiple=True,
    callback=typed.parse_key_value_options,
)
@option(
    "--params-file FILE",
    "Read parameters from a YAML or JSON file; -p overrides them.",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@option(
    "--context KEY=VALUE",
    "A value for the run's context. Repeatable.",
    multiple=True,
    callback=typed.parse_key_value_options,
)
@option("--action NAME", "The plugin's action to run.", default="")
@option("--agent ID", "The agent that runs the plugin.", type=int)
@click.option("--version", default="", metavar="VERSION", hidden=True)  # as @VERSION
@options.use("follow")
def run(*, console: Console, invocation: Invocation, plugin: str, follow: bool,
            timeout: float | None, interval: float, **run_options: Any) -> int:  # fmt: skip
    """Run a plugin and print the id of its job. With --follow, show its progress and its log.

    PLUGIN is a name or address that the state records, a code, or id=123. release/PLUGIN@VERSION is
    the same as PLUGIN@VERSION. The command sends the run once and never repeats it. With --action,
    --agent or a version, the request has the form of the real platform (`params`). Otherwise it has
    the form of the API page (`parameters`, `context`). If the target has a state, `state history`
    shows the run.
    """
    run_keywords = _run_keywords(plugin, run_options)
    display = cli.jobs.RunDisplay(console, str(run_keywords["plugin"]), is_awaited=follow)
    with options.open_target(invocation) as target, display.advise_if_interrupted():
        started_run = target.jobs.run_plugin(
            **run_keywords,
            on_start=display.show,
            warn=lambda finding: console.write_findings([finding]),
        )
        timing: dict[str, Any] = {"interval": interval, "timeout": timeout}
        if follow and started_run.has_result_ticket:
            started_run = target.jobs.wait_for_result(started_run, **timing)
            display.is_awaited = False
            display.show(started_run)
        if started_run.job is None or not follow:
            if console.as_json:
                console.write_or_keep_document(cli.jobs.build_run_document(started_run))
            # As for a followed job: 0 only where the run completed.
            is_done = not follow or started_run.status is JobStatus.COMPLETED
            return Exit.OK if is_done else Exit.ERROR
        follower = cli.jobs.JobFollower(console)
        job = follower.follow_log(target.jobs, started_run.job.id, **timing)
        code = follower.print_job_end(job, timeout)
        if console.as_json:
            document = cli.jobs.build_job_document(job)
            console.write_or_keep_document({"job_id": job.id, "job": document})
        return code


def _run_keywords(plugin: str, run_options: dict[str, Any]) -> JsonDocument:
    """The typed options as keywords of `TargetJobs.run_plugin`."""
    name, separator, version = plugin.rpartition("@")
    if not separator:
        name, version = plugin, run_options["version"]
    if not name or (separator and not version) or (run_options["version"] not in ("", version)):
        raise click.UsageError("Give PLUGIN, or PLUGIN@VERSION with one version.")
    if name.startswith(_RELEASE_PREFIX) and not version:
        raise click.UsageError(
            f"Give {name}@VERSION, or only {name.removeprefix(_RELEASE_PREFIX)}."
        )
    file = run_options.pop("params_file")
    given = typed.read_mapping_file(file) if file else {}
    return {
        **run_options,
        "plugin": name.removeprefix(_RELEASE_PREFIX),
        "version": version,
        "parameters": {**given, **run_options["parameters"]},
    }


@click.group("jobs", cls=LazyGroup, entries=registry.JOBS)
def group() -> None:
    """Follow the log of a job, or stop it. `get jobs` lists jobs, and `get job ID` shows one job.

    A job is one run of a plugin. The commands accept the status values of both kinds of servers
    and show them as queued (PENDING), running, completed (SUCCEEDED), failed or stopped.
    """


@manual_command(
    "logs",
    examples={
        "jobs logs 789 --tail 10": "Show the last ten lines of a job's log.",
        "jobs logs 789 --follow": "Show the whole log, and new lines until the job ends.",
        "jobs logs 789 --json": "Print one JSON object per line for a script.",
    },
    exits={
        "0": "success; with --follow: the job completed",
        "1": ("the job does not exist; with --follow: it failed, was stopped, or timed out"),
    },
)
@options.use("json_lines", "target")
@click.argument("job_id", metavar="ID")
@option("--tail N", "Show only the last N of the existing lines.", type=click.IntRange(min=0))
@options.use("follow")
def logs(
    *,
    console: Console,
    invocation: Invocation,
    job_id: str,
    tail: int | None,
    follow: bool,
    **timing: Any,
) -> int:
    """Show the log of a job, each line once and in order.

    With --follow, the command reads the log every second at first, and less often as the log grows.
    It retries a call that fails, without losing or repeating a line.
    """
    follower = cli.jobs.JobFollower(console, log_only=True)
    with options.open_target(invocation) as target:
        if not follow:
            target.jobs.show_log(
                job_id, follower.write_log_line, on_note=follower.show_note, tail=tail
            )
            return 0
        job = follower.follow_log(target.jobs, job_id, tail=tail, **timing)
        return follower.print_job_end(job, timing["timeout"])


_EXAMPLE_JOB_ID = "0b5e0f3c-1d2e-4f50-8a6b-7c8d9e0f1a2b"


@manual_command(
    "stop",
    examples={
        f"jobs stop {_EXAMPLE_JOB_ID}": "Show the job, ask for confirmation, and stop it.",
        f"jobs stop {_EXAMPLE_JOB_ID} --auto-approve": "Do the same in a script, without asking "
        "for confirmation.",
    },
    exits={
        "0": "the job is stopped or is stopping",
        "1": (
            "the job does not exist or has ended, the backend refused, or the answer was not `yes`"
        ),
        "7": "it is unknown whether the job was stopped",
    },
)
@options.use("json", "target")
@click.argument("job_id", metavar="ID")
@option("--auto-approve", "Do not ask for approval.")
def stop(*, console: Console, invocation: Invocation, job_id: str, auto_approve: bool) -> int:
    """Stop a job that has not ended. The job keeps its results so far.

    API v2 stops jobs by their v2 ids (UUIDs). You must own the job, or be an owner or administrator
    of the workspace. API v1 cannot stop jobs.
    """
    require_approval_way(console, is_approved=auto_approve, verb="jobs stop")

    def confirm_stop(job: Job) -> bool:
        detail = (
            f"It is {sanitize(cli.jobs.format_job_status(job))}. You cannot start a "
            "stopped job again."
        )
        question = f"Stop job {sanitize(job.id)}?"
        return is_approved(console, question, detail, given=auto_approve, verb="jobs stop")

    with options.open_target(invocation, declined="The job was not stopped.") as target:
        job = target.jobs.stop_job(
            job_id, confirm=confirm_stop, warn=lambda finding: console.write_findings([finding])
        )
    status = sanitize(cli.jobs.format_job_status(job))
    text = (
        f"{status}."
        if job.status.has_ended
        else (f"received the request to stop. Its status is {status}.")
    )
    console.show(cli.jobs.build_job_document(job), f"Job {sanitize(job.id)} {text}\n")
    return Exit.OK
