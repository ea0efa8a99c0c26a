"""`synapse-apply state settle`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli import options
from synapse_apply.cli.addresses import RECORDED_NAME
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual

if TYPE_CHECKING:
    from synapse_apply.session.where import Where


@manual(
    "settle",
    examples=[
        ("synapse-apply state settle plugin/yolo --absent", "You looked: it was not made."),
        (
            "synapse-apply state settle release/yolo@1.1.0 --job 12",
            "You looked: job 12 is the run.",
        ),
    ],
    exits=[
        ("0", "closed"),
        ("1", "no call of this address is open, or a file tells that it was done"),
    ],
)
@options.text_output
@options.place
@click.argument("name", type=RECORDED_NAME, metavar="ADDRESS")
@click.option("--absent", is_flag=True, help="The call was not done; you looked.")
@click.option("--job", metavar="ID", help="The run was started, and this is its job; you looked.")
@options.patience
def command(*, face: Face, where: Where, name: str, absent: bool, job: str | None) -> int:
    """Say what became of a call of unknown outcome.

    Needed only where the backend cannot tell, and plan refuses the resource for that. If the
    object was made after all, `synapse-apply import ADDRESS ID` is the right command; if a run
    was started, its job is given with --job, and the next apply follows it. What a run did and
    could not record is recorded with `synapse-apply state recover FILE`.
    """
    from synapse_apply.model.verification import RUN
    from synapse_apply.session import states
    from synapse_apply.session.context import open_state
    from synapse_apply.session.select import choose_one, in_state

    if absent == bool(job):
        raise click.UsageError("Say --absent if it was not done, --job ID for a run that was; "
                               "else import it.")  # fmt: skip
    with open_state(where) as context:
        address, at = choose_one(in_state(context.store.read()), name), context.clock.now()
        if job:
            states.settle_job(context, address, job, at=at)
            face.out(f"Settled {address}: its run is job {job}. The next apply follows it.\n")
            return 0
        intent = states.settle_absent(context, address, at=at)
    what = "start it" if intent.verb == RUN else "make it"
    face.out(f"Settled {address}: not done. The next apply may {what}.\n")
    return 0
