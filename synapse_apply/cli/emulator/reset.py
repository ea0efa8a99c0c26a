"""`synapse-apply emulator reset`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli import options
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual
from synapse_apply.emulator.core.switches import PROFILE_NAMES
from synapse_apply.model.errors import Exit, StateError, SynapseApplyError

if TYPE_CHECKING:
    from synapse_apply.model.ports import StateStore
    from synapse_apply.model.project import Project
    from synapse_apply.session.where import Where


@manual(
    "reset",
    examples=[
        ("synapse-apply emulator reset", "Ask, then start the embedded backend over."),
        ("synapse-apply emulator reset --yes", "The same in a script."),
        ("synapse-apply emulator reset --profile vendor", "Then behave as the vendor's backend."),
    ],
    exits=[("0", "removed, or there was nothing"), ("1", "in use, or the answer was not `yes`")],
)
@options.text_output
@options.place_of_project
@click.option("--profile", type=click.Choice(PROFILE_NAMES),
              help="Begin with this profile; `page` unless given.")  # fmt: skip
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(*, face: Face, where: Where, profile: str | None, yes: bool) -> int:
    """Remove every object of the project's embedded backend and the state of target `embedded`.

    Both go together, since one without the other would make second copies. Manifests, other
    targets and their states are not touched. The next start makes a new data set; with --profile
    it is made now, and keeps that profile.
    """
    from synapse_apply.cli.approval import ask, need_approval
    from synapse_apply.emulator.core.place import DataSetPlaceError
    from synapse_apply.emulator.core.store import DataSetError
    from synapse_apply.session.declare import project_of
    from synapse_apply.session.new_embedded import make_embedded

    need_approval(face, given=yes, verb="emulator reset", flag="--yes")
    project = project_of(where)
    if not yes and not ask(face, f"Remove the embedded backend's objects in {project.root}?",
                           "Target embedded starts over; nothing else is touched."):  # fmt: skip
        face.err("Nothing was removed.\n")
        return Exit.ERROR
    try:
        removed = _reset(project, where)
    except DataSetPlaceError as problem:
        raise SynapseApplyError.of("The embedded backend cannot be reset", f"{problem}.") from None
    except DataSetError as problem:
        raise SynapseApplyError.of(
            "The embedded backend is in use", f"{problem}.", "Stop it, then reset it."
        ) from None
    face.out("Removed.\n" if removed else "There was nothing to remove.\n")
    if profile is not None:
        make_embedded(project, where, profile)
        face.out(f"The embedded backend has profile {profile} now.\n")
    return Exit.OK


def _reset(project: Project, where: Where) -> bool:
    """False when there was nothing. Cut short, it is told as a half and can be run again."""
    from synapse_apply.emulator.serve import reset
    from synapse_apply.files.opening import remove_file
    from synapse_apply.model.project import EMBEDDED
    from synapse_apply.session import embedded, state_file
    from synapse_apply.session.last_seen import last_seen

    target = project.targets[EMBEDDED]
    store = state_file.open_store(project, target, where.environ)
    data = embedded.trusted_data_folder(project.root)
    if not store.exists():
        return reset(data)
    lineage = _lineage(store)
    with store.lock("emulator reset"):
        reset(data)
        for name in (f"{EMBEDDED}.db", f"{EMBEDDED}.db-journal"):
            remove_file(state_file.folder(project) / name)
    store.close()
    last_seen(project, target, where.environ).forget(lineage)
    return True


def _lineage(store: StateStore) -> str:
    """That of the state; "" where it cannot be read."""
    try:
        return store.lineage()
    except StateError:
        return ""
