"""`synapse-apply state recover`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from synapse_apply.cli import options
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual

if TYPE_CHECKING:
    from synapse_apply.session.where import Where


@manual(
    "recover",
    examples=[
        (
            "synapse-apply state recover .synapse-apply/unrecorded-prod-5f1c.jsonl -t prod",
            "The disk has room again: record what was done.",
        ),
    ],
    exits=[
        ("0", "the state knows all that the file tells"),
        ("1", "the file is not usable, or contradicts the state"),
        ("6", "the state is locked by another run"),
    ],
)
@options.text_output
@options.place
@click.argument("file", type=click.Path(path_type=Path))
@options.patience
def command(*, face: Face, where: Where, file: Path) -> int:
    """Record what a run did while its state could not be written.

    Such a run (a full disk, a database that went away) writes what it did to a file beside the
    project and names it in its report. What the state knows already is passed over; the file is
    removed when all of it is recorded.
    """
    from synapse_apply.session.context import open_state
    from synapse_apply.session.recover import recover

    with open_state(where) as context:
        done = recover(context, where.directory / file)
    for intent in done.written:
        face.out(f"Recorded {intent.verb} of {intent.address} (id {intent.remote_id or 'none'}).\n")
    face.out(f"Recorded: {len(done.written)}. Known before: {len(done.known)}. Removed {file}.\n")
    return 0
