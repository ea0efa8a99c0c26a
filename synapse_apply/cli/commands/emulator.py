"""The command `emulator`: how the embedded backend is served and emptied."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synapse_apply.cli import options, typed
from synapse_apply.cli.console import Console, is_approved, require_approval_way
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.options import option
from synapse_apply.emulator.core.switches import PROFILE_NAMES
from synapse_apply.model.errors import Exit, StateError, SynapseApplyError

if TYPE_CHECKING:
    from synapse_apply.model.project import Project
    from synapse_apply.workspace.invocation import Invocation


@manual_command(
    "emulator",
    examples={
        "emulator": "Run the project's embedded backend on a free port.",
        "emulator --port 8000 --token t0ken": "Use a fixed URL and token for a test.",
        "emulator --profile vendor": "Run a backend that behaves like the vendor's backend.",
        "emulator --reset": "Reset the embedded backend after you confirm it.",
        "emulator --reset --auto-approve": "Do the same in a script, without asking for "
        "confirmation.",
    },
    exits={
        "0": "stopped by Ctrl-C or SIGTERM; with --reset: removed, or there was nothing to remove",
        "1": "the backend could not start; with --reset: it is in use, or the answer was not `yes`",
    },
)
@click.argument(
    "word", type=click.Choice(["serve"]), required=False, expose_value=False, metavar="[serve]"
)
@options.use("color", "project")
@option(
    "--reset",
    "Remove all objects and the state of target `embedded`, and do not start the server.",
    name="is_reset",
)
@option("--auto-approve", "With --reset, do not ask for confirmation.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port",
    default=0,
    type=click.IntRange(0, 65535),
    help="The port to listen on; 0 selects a free port.",
)
@option(
    "--data FOLDER",
    "The data set's folder (default: the project's data set).",
    type=click.Path(file_okay=False, path_type=Path),
)
@option("--token TEXT", "The token that clients must send (default: a random token).", default="")
@option("--any-token", "Accept any token from any client.", hidden=True)
@click.option("--tenant", default="default", show_default=True, help="The tenant of --token.")
@click.option("--latency", default=0.0, type=typed.NumberType(min=0), metavar="MS",
              hidden=True)  # fmt: skip
@click.option("--faults", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              hidden=True)  # fmt: skip
@click.option("--profile", type=click.Choice(PROFILE_NAMES),
              callback=lambda _ctx, _param, name: name or "",
              help="Behave as the API page documents, or as the vendor's tools expect. The data "
                  "set stores the profile, which then becomes its default.")  # fmt: skip
@click.option("--switch", "switches", multiple=True, metavar="NAME=VALUE",
              callback=typed.parse_name_values,
              hidden=True)  # fmt: skip
def emulator(
    *,
    console: Console,
    invocation: Invocation,
    is_reset: bool,
    auto_approve: bool,
    host: str,
    port: int,
    data: Path | None,
    faults: Path | None,
    **behaviour: Any,
) -> int:
    """Run the embedded backend, a real HTTP server with its data in a file, until you stop it.

    Each run on target `embedded` starts the backend automatically. Use this command to reach the
    backend from other programs; target `embedded` then uses the same server. The command prints
    `listening on URL` when it is ready. Without --token, the server requires a random token: the
    `token` field of endpoint.json next to its data. Only you can read that file.

    With --reset, the command removes all objects of the project's embedded backend together with
    the state of target `embedded`: one without the other would lead to duplicate objects. It does
    not touch manifests, other targets or their states. The next start creates a new data set.
    With --profile, the command creates it immediately, with that profile.
    """
    if is_reset:
        if data is not None:
            raise click.UsageError(
                "--reset resets the project's own data set and cannot be combined with --data."
            )
        profile = behaviour["profile"]
        return _reset(console, invocation, profile, auto_approve=auto_approve)
    if auto_approve:
        raise click.UsageError("--auto-approve needs --reset.")
    from synapse_apply.emulator.core import backend, store, switches
    from synapse_apply.emulator.faults.rules import FaultsError, read_valid_fault_document
    from synapse_apply.emulator.serve import serve
    from synapse_apply.files.checkout import require_no_link_out
    from synapse_apply.workspace import configuration, embedded, target_session

    if behaviour["token"] and behaviour["any_token"]:
        raise click.UsageError("Give either --token or --any-token.")
    try:
        rules = read_valid_fault_document(faults) if faults else None
    except FaultsError as problem:
        raise SynapseApplyError.from_summary("The faults cannot be used", f"{problem}.") from None
    settings = backend.ServerSettings(**behaviour, faults=rules)
    if data is None:
        project = configuration.load_valid_project_or_defaults(invocation)
        data = embedded.require_trusted_data_folder(project.root)
        target_session.create_embedded_data_set(project, invocation, settings.profile)
    else:
        require_no_link_out(data)
    try:
        serve(data, host=host, port=port, settings=settings)
    except (backend.ServeError, store.DataSetError, switches.UnknownSwitchError) as problem:
        raise SynapseApplyError.from_summary(
            "The embedded backend cannot be served", f"{problem}."
        ) from None
    return 0


def _reset(console: Console, invocation: Invocation, profile: str, *, auto_approve: bool) -> int:
    """Remove the data set and the state of target `embedded`; the exit code."""
    from synapse_apply.emulator.core.data_folder import DataSetPlaceError
    from synapse_apply.emulator.core.store import DataSetError
    from synapse_apply.workspace import configuration, target_session

    require_approval_way(console, is_approved=auto_approve, verb="emulator --reset")
    project = configuration.load_valid_project_or_defaults(invocation)
    question = f"Remove the embedded backend's objects in {project.root}?"
    detail = "This removes the objects and the state of target embedded, and nothing else."
    if not is_approved(console, question, detail, given=auto_approve, verb="emulator --reset"):
        console.write_stderr("Nothing was removed.\n")
        return Exit.ERROR
    try:
        was_removed = _remove_embedded(project, invocation)
    except DataSetPlaceError as problem:
        raise SynapseApplyError.from_summary(
            "The embedded backend cannot be reset", f"{problem}."
        ) from None
    except DataSetError as problem:
        raise SynapseApplyError.from_summary(
            "The embedded backend is in use", f"{problem}.", "Stop the backend, then reset it."
        ) from None
    console.write_output("Removed.\n" if was_removed else "There was nothing to remove.\n")
    if profile and target_session.create_embedded_data_set(project, invocation, profile):
        console.write_output(f"The embedded backend now has profile {profile}.\n")
    return Exit.OK


def _remove_embedded(project: Project, invocation: Invocation) -> bool:
    """Remove data and state; False when there was neither. Can be repeated after an interrupt."""
    from synapse_apply.emulator.data_set import reset_data_set_if_any
    from synapse_apply.files.opening import remove_own_file
    from synapse_apply.model.project import EMBEDDED
    from synapse_apply.workspace import embedded, own_folder, state_access, state_key

    target = project.targets[EMBEDDED]
    environ = invocation.environ
    store = state_access.open_store(project, target, environ)
    data_folder = embedded.require_trusted_data_folder(project.root)
    if not store.exists():
        return reset_data_set_if_any(data_folder)
    lineage = ""
    with suppress(StateError):
        lineage = store.read_lineage()
    with store.lock("emulator --reset"):
        reset_data_set_if_any(data_folder)
        for name in (f"{EMBEDDED}.db", f"{EMBEDDED}.db-journal"):
            remove_own_file(state_key.state_folder(project) / name)
    store.close()
    own_folder.last_seen_files_of(project, target, environ).forget(lineage)
    return True
