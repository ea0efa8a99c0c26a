"""`synapse-apply run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synapse_apply.cli import offers, options, typed
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual

if TYPE_CHECKING:
    from synapse_apply.session.reach import Reach
    from synapse_apply.session.run import Started, Wanted
    from synapse_apply.session.where import Where


_RELEASE = "release/"


@manual(
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
        ("7", "nobody can tell whether it started; the message says how to look"),
    ],
)
@options.output
@options.place
@click.argument("plugin", metavar="PLUGIN[@VERSION]", shell_complete=offers.plugins)
@click.option("-p", "--param", "parameters", multiple=True, metavar="KEY=VALUE",
              callback=typed.values,
              help="A parameter: JSON where it is JSON, else a text; may be repeated.")  # fmt: skip
@click.option("--params-file", metavar="FILE",
              type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Parameters in a YAML or JSON file; those of -p come on top.")  # fmt: skip
@click.option("--context", multiple=True, metavar="KEY=VALUE", callback=typed.values,
              help="A value of the run's context; may be repeated.")  # fmt: skip
@click.option("--action", default="", metavar="NAME", help="The plugin's action to run.")
@click.option("--agent", type=int, metavar="ID", help="The agent to run it on.")
@click.option("--version", default="", metavar="VERSION", help="The same as @VERSION.")
@options.following
def command(*, face: Face, where: Where, plugin: str, follow: bool, timeout: float | None,
            interval: float, **given: Any) -> int:  # fmt: skip
    """Run a plugin: say the id of its job at once, and with --follow its progress and its log.

    PLUGIN is a name or address that the state records, a code, or id=123; release/PLUGIN@VERSION is
    the same as PLUGIN@VERSION. The run is sent once and never again. --action, --agent and a
    version make the form of the real platform (`params`), without them it is that of the API page
    (`parameters`, `context`). Where there is a state, its `history` shows the run.
    """
    from synapse_apply.session.reach import open_backend
    from synapse_apply.session.run import await_result, remember, start

    wanted = _wanted(plugin, given)
    with open_backend(where) as reach:
        started = start(reach, wanted)
        _say(face, wanted, started, is_awaited=follow)
        if noted := remember(reach, wanted, started):
            face.warn([noted])
        if follow and started.can_be_asked_for:
            started = await_result(reach, started, interval, timeout)
            _say(face, wanted, started)
        if started.job is None or not follow:
            if face.as_json:
                face.document(_document(started))
            return _code_of(started) if follow else 0
        return _follow(face, reach, started.job.id, interval, timeout)


def _wanted(plugin: str, given: dict[str, Any]) -> Wanted:
    from synapse_apply.cli.inventories import mapping_of
    from synapse_apply.session.run import Wanted

    name, at, version = plugin.rpartition("@")
    if not at:
        name, version = plugin, given["version"]
    if not name or (at and not version) or (given["version"] not in ("", version)):
        raise click.UsageError("Say PLUGIN, or PLUGIN@VERSION with one version.")
    if name.startswith(_RELEASE) and not version:
        raise click.UsageError(f"Say {name}@VERSION, or {name.removeprefix(_RELEASE)} alone.")
    name = name.removeprefix(_RELEASE)
    file = given["params_file"]
    parameters = {**(mapping_of(file) if file else {}), **given["parameters"]}
    return Wanted(name, parameters, given["context"], given["action"], given["agent"], version)


def _say(face: Face, wanted: Wanted, started: Started, *, is_awaited: bool = False) -> None:
    from synapse_apply.model.job import JobStatus
    from synapse_apply.views.literals import inline
    from synapse_apply.views.safety import clean

    if started.job is not None:
        face.say(f"Job {clean(started.job.id)} started.")
        return
    name, status = clean(wanted.plugin), started.status
    if not status.ended:
        way = "there is nothing to follow it by"
        if started.can_be_asked_for:
            way = "it is waited for" if is_awaited else "--follow waits for one"
        face.say(f"{name} was started, and answered without a job and without a result: {way}.")
    elif not face.as_json:
        bad = "" if status is JobStatus.COMPLETED else f" that it {status.value}"
        face.say(f"{name} ran, and answered{bad or ' at once'}: {inline(started.answer)}")


def _code_of(started: Started) -> int:
    """As for a job that is followed: only one that ended well is fine."""
    from synapse_apply.model.errors import Exit
    from synapse_apply.model.job import JobStatus

    return Exit.OK if started.status is JobStatus.COMPLETED else Exit.ERROR


def _document(started: Started) -> dict[str, Any]:
    from synapse_apply.cli.job_texts import job_document

    if started.job is None:
        return {"job_id": None, "result": started.answer}
    return {"job_id": started.job.id, "job": job_document(started.job)}


def _follow(face: Face, reach: Reach, job_id: str, interval: float, timeout: float | None) -> int:
    from synapse_apply.cli.followed import Onlooker, follow
    from synapse_apply.cli.job_texts import job_document
    from synapse_apply.session.jobs import Follow

    told = Onlooker(face)
    job = follow(reach, job_id, Follow(interval, timeout), told)
    code = told.end(job, timeout)
    if face.as_json:
        face.document({"job_id": job.id, "job": job_document(job)})
    return code
