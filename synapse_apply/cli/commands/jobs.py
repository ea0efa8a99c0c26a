"""The commands `run` and `jobs`: how a job is started, followed, stopped and reported on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synapse_apply import cli
from synapse_apply.cli import options, registry, typed
from synapse_apply.cli.console import Console, is_approved, require_approval_way
from synapse_apply.cli.help_pages import LazyGroup, manual_command
from synapse_apply.model.errors import Exit
from synapse_apply.model.job import Job, JobStatus
from synapse_apply.model.json_types import JsonDocument
from synapse_apply.views.sanitize import sanitize

if TYPE_CHECKING:
    from synapse_apply import Invocation


_RELEASE_PREFIX = "release/"


@manual_command(
    "run",
    examples=[
        ("synapse-apply run yolo -p threshold=0.8 --follow", "Run a plugin and watch its job."),
        ("synapse-apply run id=123 --params-file run.yaml", "By id, with parameters of a file."),
        (
            "synapse-apply run yolo@1.2.0 --action train --agent 4 -p epochs=3",
            "A version, an action and an agent: the platform's form.",
        ),
        ("synapse-apply run yolo --json", "Start it and print the job, for a script."),
    ],
    exits=[
        ("0", "started; with --follow: it completed"),
        ("1", "not started; with --follow: it failed, was stopped, or has not ended in time"),
        ("7", "it is not known whether it started; the message says how to check"),
    ],
)
@options.use("json", "target")
@click.argument("plugin", metavar="PLUGIN[@VERSION]", shell_complete=typed.complete_plugins)
@click.option("-p", "--param", "parameters", multiple=True, metavar="KEY=VALUE",
              callback=typed.parse_key_value_options,
              help="A parameter: JSON where it is JSON, else a text; may be repeated.")  # fmt: skip
@click.option("--params-file", metavar="FILE",
              type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Parameters in a YAML or JSON file; those of -p come on top.")  # fmt: skip
@click.option("--context", multiple=True, metavar="KEY=VALUE",
              callback=typed.parse_key_value_options,
              help="A value of the run's context; may be repeated.")  # fmt: skip
@click.option("--action", default="", metavar="NAME", help="The plugin's action to run.")
@click.option("--agent", type=int, metavar="ID", help="The agent to run it on.")
@click.option("--version", default="", metavar="VERSION", hidden=True)  # as @VERSION
@options.use("follow")
def run(*, console: Console, invocation: Invocation, plugin: str, follow: bool,
            timeout: float | None, interval: float, **run_options: Any) -> int:  # fmt: skip
    """Run a plugin: print the id of its job at once, and with --follow its progress and its log.

    PLUGIN is a name or address that the state records, a code, or id=123; release/PLUGIN@VERSION is
    the same as PLUGIN@VERSION. The run is sent once and never again. --action, --agent and a
    version make the form of the real platform (`params`), without them it is that of the API page
    (`parameters`, `context`). Where there is a state, its `state history` shows the run.
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
        raise click.UsageError("Say PLUGIN, or PLUGIN@VERSION with one version.")
    if name.startswith(_RELEASE_PREFIX) and not version:
        raise click.UsageError(
            f"Say {name}@VERSION, or {name.removeprefix(_RELEASE_PREFIX)} alone."
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
    """Follow the log of a job, or stop it; `get jobs` lists jobs, `get job ID` shows one.

    A job is one run of a plugin. Status words of both kinds of servers are understood (queued or
    PENDING, running, completed or SUCCEEDED, failed, stopped) and shown in one.
    """


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
@options.use("json_lines", "target")
@click.argument("job_id", metavar="ID")
@click.option("--tail", type=click.IntRange(min=0), metavar="N",
              help="Of the lines there are, only the last N.")  # fmt: skip
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

    --follow reads the log every second at first, and more seldom as it grows.
    A call that fails is made again; no line is lost or shown twice by that.
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
    examples=[
        (f"synapse-apply jobs stop {_EXAMPLE_JOB_ID}", "Show the job, ask, then stop it."),
        (f"synapse-apply jobs stop {_EXAMPLE_JOB_ID} --auto-approve", "The same in a script."),
    ],
    exits=[
        ("0", "stopped, or told to stop"),
        ("1", "no such job, it has ended, the backend refuses it, or the answer was not `yes`"),
        ("7", "it is not known whether it was stopped"),
    ],
)
@options.use("json", "target")
@click.argument("job_id", metavar="ID")
@click.option("--auto-approve", is_flag=True, help="Do not ask.")
def stop(*, console: Console, invocation: Invocation, job_id: str, auto_approve: bool) -> int:
    """Stop a job that has not ended. What it has done so far stays.

    API v2 stops jobs, by the ids (UUIDs) that it knows them by, for their owner and for owners and
    administrators of the workspace. API v1 has no such call.
    """
    require_approval_way(console, is_approved=auto_approve, verb="jobs stop")

    def confirm_stop(job: Job) -> bool:
        detail = f"It is {sanitize(cli.jobs.format_job_status(job))}; nothing starts it again."
        question = f"Stop job {sanitize(job.id)}?"
        return is_approved(console, question, detail, given=auto_approve, verb="jobs stop")

    with options.open_target(invocation, declined="Nothing was stopped.") as target:
        job = target.jobs.stop_job(
            job_id, confirm=confirm_stop, warn=lambda finding: console.write_findings([finding])
        )
    status = sanitize(cli.jobs.format_job_status(job))
    text = f"{status}." if job.status.has_ended else f"was told to stop; it is {status} now."
    console.show(cli.jobs.build_job_document(job), f"Job {sanitize(job.id)} {text}\n")
    return Exit.OK
