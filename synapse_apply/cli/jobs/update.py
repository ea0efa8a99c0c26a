"""`synapse-apply jobs update`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from synapse_apply.cli import options, parsing, typed
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual

if TYPE_CHECKING:
    from synapse_apply.model.job import JobStatus
    from synapse_apply.session.where import Where


@manual(
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
        ("7", "nobody can tell whether it was updated"),
    ],
)
@options.output
@options.place
@click.argument("job_id", metavar="ID")
@click.option("--status", type=typed.STATUS, metavar="WORD", help="What it is now.")
@click.option("--progress", type=parsing.Number(0, 100), metavar="PERCENT", help="0 to 100.")
@click.option("--result", type=typed.JSON, metavar="JSON", help="What it gave: any JSON value.")
@click.option("--metadata", type=typed.JSON, metavar="JSON", help="More about it: a JSON object.")
def command(
    *,
    face: Face,
    where: Where,
    job_id: str,
    status: JobStatus | None,
    progress: float | None,
    result: Any,
    metadata: Any,
) -> int:
    """Report on a job: what its plugin would tell the backend. It starts and stops nothing.

    What is said goes out in the words that this backend uses.
    """
    from synapse_apply.cli.job_texts import show_job
    from synapse_apply.session.jobs import Report, update
    from synapse_apply.session.reach import open_backend

    given = Report(status, progress, result, typed.object_of(metadata, "--metadata"))
    if given == Report():
        raise click.UsageError("Say at least one of --status, --progress, --result, --metadata.")
    with open_backend(where) as reach:
        job, noted = update(reach, job_id, given)
        if noted:
            face.warn([noted])
        return show_job(face, job)
