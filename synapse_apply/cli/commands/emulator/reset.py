"""The command `emulator reset`: what it removes, and when it asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options
from synapse_apply.emulator.core.switches import PROFILE_NAMES
from synapse_apply.model.errors import Exit, StateError, SynapseApplyError

if TYPE_CHECKING:
    from synapse_apply.model.ports import StateStore
    from synapse_apply.model.project import Project
    from synapse_apply.workspace.invocation import Invocation


@manual_command(
    "reset",
    examples=[
        ("synapse-apply emulator reset", "Ask, then start the embedded backend over."),
        ("synapse-apply emulator reset --yes", "The same in a script."),
        ("synapse-apply emulator reset --profile vendor", "Then behave as the vendor's backend."),
    ],
    exits=[("0", "removed, or there was nothing"), ("1", "in use, or the answer was not `yes`")],
)
@options.add_color_options
@options.add_project_options
@click.option("--profile", type=click.Choice(PROFILE_NAMES),
              help="Begin with this profile; `page` unless given.")  # fmt: skip
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(*, console: Console, invocation: Invocation, profile: str | None, yes: bool) -> int:
    """Remove every object of the project's embedded backend and the state of target `embedded`.

    Both go together, since one without the other would make second copies. Manifests, other
    targets and their states are not touched. The next start makes a new data set; with --profile
    it is made now, and keeps that profile.
    """
    from synapse_apply.cli.flows.approval import ask_approval, require_approval_or_person_to_ask
    from synapse_apply.emulator.core.data_folder import DataSetPlaceError
    from synapse_apply.emulator.core.store import DataSetError
    from synapse_apply.workspace.configuration import load_valid_project_or_defaults
    from synapse_apply.workspace.new_data_set import (
        create_embedded_data_set_and_state_if_both_absent,
    )

    require_approval_or_person_to_ask(console, is_approved=yes, verb="emulator reset", flag="--yes")
    project = load_valid_project_or_defaults(invocation)
    if not yes and not ask_approval(console, (f"Remove the embedded backend's objects in "
        f"{project.root}?"),
                           "Target embedded starts over; nothing else is touched."):  # fmt: skip
        console.write_stderr("Nothing was removed.\n")
        return Exit.ERROR
    try:
        was_removed = _remove_embedded_data_and_state_if_any(project, invocation)
    except DataSetPlaceError as problem:
        raise SynapseApplyError.from_summary(
            "The embedded backend cannot be reset", f"{problem}."
        ) from None
    except DataSetError as problem:
        raise SynapseApplyError.from_summary(
            "The embedded backend is in use", f"{problem}.", "Stop it, then reset it."
        ) from None
    console.write_output("Removed.\n" if was_removed else "There was nothing to remove.\n")
    if profile is not None and create_embedded_data_set_and_state_if_both_absent(
        project, invocation, profile
    ):
        console.write_output(f"The embedded backend has profile {profile} now.\n")
    return Exit.OK


def _remove_embedded_data_and_state_if_any(project: Project, invocation: Invocation) -> bool:
    """Remove data and state; False when there was neither. Can be repeated after an interrupt."""
    from synapse_apply.emulator.serve import reset_data_set_if_any
    from synapse_apply.files.opening import remove_own_file_or_link_if_present
    from synapse_apply.model.project import EMBEDDED
    from synapse_apply.workspace import embedded, state_access
    from synapse_apply.workspace.last_seen import build_last_seen_files
    from synapse_apply.workspace.sharing.key_sources import build_state_folder_path

    target = project.targets[EMBEDDED]
    environ = invocation.environ
    store = state_access.open_store(project, target, environ)
    data_folder = embedded.require_data_folder_absent_or_trusted(project.root)
    if not store.exists():
        return reset_data_set_if_any(data_folder)
    lineage = _read_lineage_or_empty(store)
    with store.lock("emulator reset"):
        reset_data_set_if_any(data_folder)
        for name in (f"{EMBEDDED}.db", f"{EMBEDDED}.db-journal"):
            remove_own_file_or_link_if_present(build_state_folder_path(project) / name)
    store.close()
    build_last_seen_files(project, target, environ).forget_progress_of_lineage(lineage)
    return True


def _read_lineage_or_empty(store: StateStore) -> str:
    """The state's lineage; "" where it cannot be read."""
    try:
        return store.read_lineage()
    except StateError:
        return ""
