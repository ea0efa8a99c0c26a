"""`synapse-apply state recover`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from synapse_apply.cli import options
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual

if TYPE_CHECKING:
    from synapse_apply.session.unrecorded import Contents, Ended
    from synapse_apply.session.where import Where

_FLAG = "--allow-unsigned"


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
        ("1", "the file is not usable, or contradicts the state, or the answer was not `yes`"),
        ("6", "the state is locked by another run"),
    ],
)
@options.text_output
@options.place
@click.argument("file", type=click.Path(path_type=Path))
@click.option(_FLAG, is_flag=True, help="Do not ask before a file without a signature is used.")
@options.patience
def command(*, face: Face, where: Where, file: Path, allow_unsigned: bool) -> int:
    """Record what a run did while its state could not be written.

    Such a run (a full disk, a database that went away) writes what it did to a file beside the
    project and names it in its report. What the state knows already is passed over; the file is
    removed when all of it is recorded.

    Each line is signed with the state key. A file that was changed is refused. One that the key
    in use did not sign, such as that of an earlier version or of a run without the key, is shown
    line by line, and recorded only when you say so.
    """
    from synapse_apply.cli.approval import ask, need_approval
    from synapse_apply.session.context import open_state
    from synapse_apply.session.recover import look, recover

    path = where.directory / file
    with open_state(where) as context:
        found = look(context, path)
        if not found.is_genuine:
            _show(face, file, found)
            need_approval(face, given=allow_unsigned, verb="state recover", flag=_FLAG)
            question = f"Record this in the state of target {context.target.name}?"
            detail = "Only if the report of a run of yours named this file."
            if not allow_unsigned and not ask(face, question, detail):
                face.err("Nothing was changed.\n")
                return 1
        done = recover(context, path, found)
    for intent in done.written:
        face.out(f"Recorded {intent.verb} of {intent.address} (id {intent.remote_id or 'none'}).\n")
    face.out(f"Recorded: {len(done.written)}. Known before: {len(done.known)}. Removed {file}.\n")
    return 0


def _show(face: Face, file: Path, found: Contents) -> None:
    """All that a file says which nobody vouches for."""
    face.out(f"Nobody vouches for {file}: {found.why}.\nIt says:\n")
    for number, ended in enumerate(found.ended, start=1):
        face.out(f"\n{number}. {_row(ended)}\n{_record(face, ended)}")


def _row(ended: Ended) -> str:
    from synapse_apply.views.safety import clean

    intent = ended.intent
    what = f"{intent.verb} of {intent.address} (id {intent.remote_id or 'none'})"
    return clean(f"{what}: {intent.state.value}, sent {intent.sent_at}, by {ended.entry.who}")


def _record(face: Face, ended: Ended) -> str:
    """The record that it leads to."""
    from synapse_apply.views.record import render_record

    if ended.record is None:
        return "   No record is left of it.\n"
    return render_record(ended.record, color=face.color_out)
