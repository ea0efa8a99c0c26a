"""What an export says when it is done: its files, what it lacks, and what comes next."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

from synapse_apply.cli.again import same_place
from synapse_apply.cli.face import Face
from synapse_apply.manifests.export_files import Written
from synapse_apply.manifests.files import is_read, listed_by
from synapse_apply.model.aim import completed
from synapse_apply.session.declare import shown
from synapse_apply.session.export import Export
from synapse_apply.session.reach import Reach
from synapse_apply.views.export import list_secret_variables, rest
from synapse_apply.views.grammar import plural


def show(face: Face, made: Export, told: Written) -> None:
    """The files that were written, and what is in none."""
    for path in told.files:
        face.out(f"Wrote {shown(path)}\n")
    left = [(str(one.address), why) for one in made.exported for why in one.left_out]
    secrets = [(str(one.address), str(secret)) for one in made.exported for secret in one.secrets]
    face.out(list_secret_variables(secrets))
    face.out(rest(left, [(one.what, one.why) for one in made.missed]))
    same = f", {len(told.unchanged)} files unchanged" if told.unchanged else ""
    count = plural(len(made.exported), "resource")
    failed = sum(one.failed for one in made.missed)
    face.out(f"\nExport complete! {count} exported, {failed} not{same}.\n")


def following(reach: Reach, made: Export, folder: Path, inventory: Path) -> str:
    """What to do next, a line each; every command can be run as it stands."""
    options = same_place(reach.where)
    return "\nNext:\n" + "".join(
        f"  {completed(line, options)}\n"
        for line in (*_listing(reach, folder), *_state(reach, made), *_taking(inventory))
    )


def _taking(inventory: Path) -> Iterator[str]:
    file = shlex.quote(shown(inventory))
    yield f"`synapse-apply import -f {file}` takes them into the state."
    yield "`synapse-apply plan` says how they differ from the manifests."


def _listing(reach: Reach, folder: Path) -> Iterator[str]:
    """What is recorded and not read looks as if it were declared no more."""
    project, target = reach.project, reach.target
    if is_read(project, target, folder):
        return
    file = project.file.name if project.file else "a project file"
    place = os.path.relpath(folder.resolve(), project.root.resolve())
    now = ", ".join(listed_by(project, target))
    what = f"Add {place} to `manifests:` in {file} (now: {now})"
    if place.startswith(".."):
        what = f"Move {shown(folder)} to where {file} has `manifests:` ({now})"
    yield f"{what} first: a plan would want to forget what it does not read."


def _state(reach: Reach, made: Export) -> Iterator[str]:
    target = reach.target
    if made.has_state or target.is_embedded:
        return
    if target.state.lineage:
        yield "`synapse-apply state restore FILE` brings back the state that is pinned; or,"
        yield f"`synapse-apply state init --lineage {target.state.lineage}` makes an empty one."
    else:
        yield f"`synapse-apply state init` makes the state of target {target.name}."
