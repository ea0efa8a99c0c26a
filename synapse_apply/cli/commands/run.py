"""The command `run`: how a run is started, followed and printed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synapse_apply.cli import completion
from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import Terminated, interruption_advice, manual_command
from synapse_apply.cli.params import options, param_types
from synapse_apply.model.coding.json_types import JsonDocument

if TYPE_CHECKING:
    from synapse_apply import Invocation
    from synapse_apply.library import StartedRun


_RELEASE_PREFIX = "release/"
_STARTED_ADVICE = "The run was started; the same command would start another."


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
    from synapse_apply.cli.flows.command_target import open_command_target

    run_keywords = _run_keywords(plugin, run_options)
    display = _RunDisplay(console, str(run_keywords["plugin"]), is_awaited=follow)
    with open_command_target(invocation) as target, display.advise_if_interrupted():
        started_run = target.jobs.run_plugin(
            **run_keywords,
            on_start=display.show_started_run,
            warn=lambda finding: console.write_findings([finding]),
        )
        if follow and started_run.has_result_ticket:
            started_run = target.jobs.wait_for_result(
                started_run, interval=interval, timeout=timeout
            )
            display.show_result(started_run)
        if started_run.job is None or not follow:
            if console.as_json:
                console.write_or_keep_document(_build_run_document(started_run))
            return _followed_code(started_run) if follow else 0
        from synapse_apply.cli.flows.job_follower import JobFollower
        from synapse_apply.cli.texts.jobs import build_job_document

        follower = JobFollower(console)
        job = follower.follow_log(
            target.jobs, started_run.job.id, interval=interval, timeout=timeout
        )
        code = follower.print_job_end(job, timeout)
        if console.as_json:
            console.write_or_keep_document({"job_id": job.id, "job": build_job_document(job)})
        return code


@dataclass
class _RunDisplay:
    """Prints what became of a run of a plugin: its job, or its answer."""

    console: Console
    plugin: str
    is_awaited: bool
    started_run: StartedRun | None = None

    def show_started_run(self, started_run: StartedRun) -> None:
        """Print the job's id, or what the server answered in place of a job."""
        self.started_run = started_run
        _show_started_run(self.console, self.plugin, started_run, is_awaited=self.is_awaited)

    def show_result(self, started_run: StartedRun) -> None:
        """Print the result of a run without a job, or that none is there."""
        self.started_run = started_run
        _show_started_run(self.console, self.plugin, started_run)

    @contextmanager
    def advise_if_interrupted(self) -> Iterator[None]:
        """On an interrupt after the start, write the document with the job's id."""
        try:
            yield
        except (KeyboardInterrupt, Terminated) as interruption:
            if self.started_run is not None:
                if not interruption_advice(interruption):
                    interruption.add_note(_STARTED_ADVICE)
                if self.console.as_json and not self.console.has_written_document:
                    self.console.write_or_keep_document(_build_run_document(self.started_run))
            raise


def _run_keywords(plugin: str, run_options: dict[str, Any]) -> JsonDocument:
    """The typed options as keywords of `TargetJobs.run_plugin`."""
    from synapse_apply.cli.params.input_files import read_mapping_file

    name, separator, version = plugin.rpartition("@")
    if not separator:
        name, version = plugin, run_options["version"]
    if not name or (separator and not version) or (run_options["version"] not in ("", version)):
        raise click.UsageError("Say PLUGIN, or PLUGIN@VERSION with one version.")
    if name.startswith(_RELEASE_PREFIX) and not version:
        raise click.UsageError(
            f"Say {name}@VERSION, or {name.removeprefix(_RELEASE_PREFIX)} alone."
        )
    file = run_options["params_file"]
    return {
        "plugin": name.removeprefix(_RELEASE_PREFIX),
        "version": version,
        "parameters": {**(read_mapping_file(file) if file else {}), **run_options["parameters"]},
        "context": run_options["context"],
        "action": run_options["action"],
        "agent": run_options["agent"],
    }


def _show_started_run(
    console: Console, plugin: str, started_run: StartedRun, *, is_awaited: bool = False
) -> None:
    from synapse_apply.model.job import JobStatus
    from synapse_apply.views.sanitize import sanitize
    from synapse_apply.views.text.values import format_value_inline

    if started_run.job is not None:
        console.write_note(f"Job {sanitize(started_run.job.id)} started.")
        return
    name, status = sanitize(plugin), started_run.status
    if not status.has_ended:
        way = "there is nothing to follow it by"
        if started_run.has_result_ticket:
            way = "it is waited for" if is_awaited else "--follow waits for one"
        console.write_note(
            f"{name} was started, and answered without a job and without a result: {way}."
        )
    elif not console.as_json:
        bad = "" if status is JobStatus.COMPLETED else f" that it {status.value}"
        answer = format_value_inline(started_run.answer)
        console.write_note(f"{name} ran, and answered{bad or ' at once'}: {answer}")


def _followed_code(started: StartedRun) -> int:
    """As for a followed job: 0 only where the run completed."""
    from synapse_apply.model.errors import Exit
    from synapse_apply.model.job import JobStatus

    return Exit.OK if started.status is JobStatus.COMPLETED else Exit.ERROR


def _build_run_document(started_run: StartedRun) -> JsonDocument:
    from synapse_apply.cli.texts.jobs import build_job_document

    if started_run.job is None:
        return {"job_id": None, "result": started_run.answer}
    return {"job_id": started_run.job.id, "job": build_job_document(started_run.job)}
