"""`synapse-apply jobs get`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli import options
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual

if TYPE_CHECKING:
    from synapse_apply.session.where import Where


def _names(_ctx: click.Context, _param: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """`logs,result` as names; a usage error for one that a job has not."""
    names = tuple(dict.fromkeys(part.strip() for text in given for part in text.split(",")))
    if names:
        from synapse_apply.session.jobs import EXPANDABLE

        for name in names:
            if name not in EXPANDABLE:
                raise click.BadParameter(f"{name!r} is none of {', '.join(EXPANDABLE)}.")
    return names


@manual(
    "get",
    examples=[
        ("synapse-apply jobs get 789", "What the backend says of a job."),
        ("synapse-apply jobs get 789 --expand logs,result", "With its log and its result."),
        ("synapse-apply jobs get 789 --json", "The same for a script."),
    ],
    exits=[("0", "shown, however the job stands"), ("1", "there is no such job")],
)
@options.output
@options.place
@click.argument("job_id", metavar="ID")
@click.option("--expand", multiple=True, metavar="NAMES", callback=_names,
              help="Ask for more of it: logs, metrics, result.")  # fmt: skip
def command(*, face: Face, where: Where, job_id: str, expand: tuple[str, ...]) -> int:
    """Show a job. `status` is in the words of the API page, `raw` in JSON is the server's own."""
    from synapse_apply.cli.job_texts import show_job
    from synapse_apply.session.jobs import get
    from synapse_apply.session.reach import open_backend

    with open_backend(where) as reach:
        return show_job(face, get(reach, job_id, expand))
