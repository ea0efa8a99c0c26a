"""`synapse-apply jobs stop`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli import options
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual
from synapse_apply.model.errors import Exit

if TYPE_CHECKING:
    from synapse_apply.session.where import Where

_ID = "0b5e0f3c-1d2e-4f50-8a6b-7c8d9e0f1a2b"


@manual(
    "stop",
    examples=[
        (f"synapse-apply jobs stop {_ID}", "Show the job, ask, then stop it."),
        (f"synapse-apply jobs stop {_ID} --yes", "The same in a script."),
    ],
    exits=[
        ("0", "stopped, or told to stop"),
        ("1", "no such job, it has ended, the backend refuses it, or the answer was not `yes`"),
        ("7", "nobody can tell whether it was stopped"),
    ],
)
@options.output
@options.place
@click.argument("job_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(*, face: Face, where: Where, job_id: str, yes: bool) -> int:
    """Stop a job that has not ended. What it has done so far stays.

    API v2 stops jobs, by the ids (UUIDs) that it knows them by, for their owner and for owners and
    administrators of the workspace. API v1 has no such call.
    """
    from synapse_apply.cli.approval import ask, need_approval
    from synapse_apply.cli.job_texts import job_document, standing
    from synapse_apply.session.jobs_stop import find_running, stop
    from synapse_apply.session.reach import open_backend
    from synapse_apply.views.safety import clean

    need_approval(face, given=yes, verb="jobs stop", flag="--yes")
    with open_backend(where) as reach:
        job = find_running(reach, job_id)
        name = f"job {clean(job.id)}"
        detail = f"It is {clean(standing(job))}; nothing starts it again."
        if not yes and not ask(face, f"Stop {name}?", detail):
            face.err("Nothing was stopped.\n")
            return Exit.ERROR
        stopped, noted = stop(reach, job)
        if noted:
            face.warn([noted])
    if face.as_json:
        face.document(job_document(stopped))
    elif stopped.status.ended:
        face.out(f"Job {clean(job.id)} {clean(standing(stopped))}.\n")
    else:
        face.out(f"Job {clean(job.id)} was told to stop; it is {clean(standing(stopped))} now.\n")
    return Exit.OK
