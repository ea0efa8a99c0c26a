"""The command `run`: how a run is started, followed and printed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synapse_apply.cli import completion
from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import Terminated, manual_command
from synapse_apply.cli.params import options, param_types

if TYPE_CHECKING:
    from synapse_apply.live.live_backend import LiveBackend
    from synapse_apply.operations.run import RunRequest, StartedRun
    from synapse_apply.workspace.invocation import Invocation


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
@options.add_json_options
@options.add_target_options
@click.argument("plugin", metavar="PLUGIN[@VERSION]", shell_complete=completion.complete_plugins)
@click.option("-p", "--param", "parameters", multiple=True, metavar="KEY=VALUE",
              callback=param_types.parse_key_value_options,
              help="A parameter: JSON where it is JSON, else a text; may be repeated.")  # fmt: skip
@click.option("--params-file", metavar="FILE",
              type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Parameters in a YAML or JSON file; those of -p come on top.")  # fmt: skip
@click.option("--context", multiple=True, metavar="KEY=VALUE",
              callback=param_types.parse_key_value_options,
              help="A value of the run's context; may be repeated.")  # fmt: skip
@click.option("--action", default="", metavar="NAME", help="The plugin's action to run.")
@click.option("--agent", type=int, metavar="ID", help="The agent to run it on.")
@click.option("--version", default="", metavar="VERSION", help="The same as @VERSION.")
@options.add_follow_options
def command(*, console: Console, invocation: Invocation, plugin: str, follow: bool,
            timeout: float | None, interval: float, **run_options: Any) -> int:  # fmt: skip
    """Run a plugin: print the id of its job at once, and with --follow its progress and its log.

    PLUGIN is a name or address that the state records, a code, or id=123; release/PLUGIN@VERSION is
    the same as PLUGIN@VERSION. The run is sent once and never again. --action, --agent and a
    version make the form of the real platform (`params`), without them it is that of the API page
    (`parameters`, `context`). Where there is a state, its `state history` shows the run.
    """
    from synapse_apply.live.live_backend import open_live_backend
    from synapse_apply.operations.run import audit_started_run, poll_run_result, start_run

    request = _build_run_request(plugin, run_options)
    with open_live_backend(invocation) as live_backend:
        started_run = start_run(live_backend, request)
        with _report_if_interrupted(console, started_run):
            _show_started_run(console, request, started_run, is_awaited=follow)
            if audit_warning := audit_started_run(live_backend, request, started_run):
                console.write_findings([audit_warning])
            if follow and started_run.has_result_ticket:
                started_run = poll_run_result(live_backend, started_run, interval, timeout)
                _show_started_run(console, request, started_run)
            if started_run.job is None or not follow:
                if console.as_json:
                    console.write_document(_build_run_document(started_run))
                return _choose_run_exit_code(started_run) if follow else 0
            return _follow_started_job(console, live_backend, started_run.job.id, interval, timeout)


@contextmanager
def _report_if_interrupted(console: Console, started_run: StartedRun) -> Iterator[None]:
    """On an interrupt, write the document with the job's id, and warn of a second run."""
    from synapse_apply.operations.run import explain_interruption

    with explain_interruption("The run was started; the same command would start another."):
        try:
            yield
        except (KeyboardInterrupt, Terminated):
            if console.as_json and not console.has_written_document:
                console.write_document(_build_run_document(started_run))
            raise


def _build_run_request(plugin: str, run_options: dict[str, Any]) -> RunRequest:
    from synapse_apply.cli.params.input_files import read_mapping_file
    from synapse_apply.operations.run import RunRequest

    name, separator, version = plugin.rpartition("@")
    if not separator:
        name, version = plugin, run_options["version"]
    if not name or (separator and not version) or (run_options["version"] not in ("", version)):
        raise click.UsageError("Say PLUGIN, or PLUGIN@VERSION with one version.")
    if name.startswith(_RELEASE_PREFIX) and not version:
        raise click.UsageError(
            f"Say {name}@VERSION, or {name.removeprefix(_RELEASE_PREFIX)} alone."
        )
    name = name.removeprefix(_RELEASE_PREFIX)
    file = run_options["params_file"]
    parameters = {**(read_mapping_file(file) if file else {}), **run_options["parameters"]}
    return RunRequest(
        name,
        parameters,
        run_options["context"],
        run_options["action"],
        run_options["agent"],
        version,
    )


def _show_started_run(
    console: Console, request: RunRequest, started_run: StartedRun, *, is_awaited: bool = False
) -> None:
    from synapse_apply.model.job import JobStatus
    from synapse_apply.views.sanitize import sanitize
    from synapse_apply.views.text.values import format_value_inline

    if started_run.job is not None:
        console.write_message_line(f"Job {sanitize(started_run.job.id)} started.")
        return
    name, status = sanitize(request.plugin), started_run.status
    if not status.has_ended:
        way = "there is nothing to follow it by"
        if started_run.has_result_ticket:
            way = "it is waited for" if is_awaited else "--follow waits for one"
        console.write_message_line(
            f"{name} was started, and answered without a job and without a result: {way}."
        )
    elif not console.as_json:
        bad = "" if status is JobStatus.COMPLETED else f" that it {status.value}"
        answer = format_value_inline(started_run.answer)
        console.write_message_line(f"{name} ran, and answered{bad or ' at once'}: {answer}")


def _choose_run_exit_code(started: StartedRun) -> int:
    """As for a followed job: 0 only where the run completed."""
    from synapse_apply.model.errors import Exit
    from synapse_apply.model.job import JobStatus

    return Exit.OK if started.status is JobStatus.COMPLETED else Exit.ERROR


def _build_run_document(started_run: StartedRun) -> dict[str, Any]:
    from synapse_apply.cli.texts.jobs import build_job_document

    if started_run.job is None:
        return {"job_id": None, "result": started_run.answer}
    return {"job_id": started_run.job.id, "job": build_job_document(started_run.job)}


def _follow_started_job(
    console: Console, live_backend: LiveBackend, job_id: str, interval: float, timeout: float | None
) -> int:
    from synapse_apply.cli.flows.job_follower import JobFollower, follow_job_log
    from synapse_apply.cli.texts.jobs import build_job_document
    from synapse_apply.operations.jobs import FollowSettings

    follower = JobFollower(console)
    job = follow_job_log(live_backend, job_id, FollowSettings(interval, timeout), follower)
    code = follower.print_job_end(job, timeout)
    if console.as_json:
        console.write_document({"job_id": job.id, "job": build_job_document(job)})
    return code
