"""The command `emulator serve`: on which address and data the embedded backend is served."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import option_parsing, options
from synapse_apply.emulator.core.switches import PROFILE_NAMES
from synapse_apply.model.coding.json_types import JsonObject
from synapse_apply.model.errors import SynapseApplyError

if TYPE_CHECKING:
    from synapse_apply.workspace.invocation import Invocation


@manual_command(
    "serve",
    examples=[
        ("synapse-apply emulator serve", "The project's embedded backend, on a free port."),
        ("synapse-apply emulator serve --port 8000 --token t0ken", "For a test that needs a URL."),
        ("synapse-apply emulator serve --profile vendor", "As the vendor's backend behaves."),
        ("synapse-apply emulator serve --switch plugin_list=list", "One behaviour of another."),
    ],
    exits=[("0", "stopped by Ctrl-C or SIGTERM"), ("1", "it could not start")],
)
@options.add_project_options
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="Port; 0 takes a free one.")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
              help="The data set, instead of the project's.")  # fmt: skip
@click.option("--token", metavar="TEXT", help="The access token to ask for; else a random one.")
@click.option("--any-token", is_flag=True, help="Accept every token, from whoever asks.")
@click.option("--tenant", default="default", show_default=True, help="The tenant of --token.")
@click.option("--latency", default=0.0, type=option_parsing.NumberType(min=0), metavar="MS",
              help="Wait this long before each answer.")  # fmt: skip
@click.option("--faults", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="What shall go wrong, and when: JSON as docs/faults.md says.")  # fmt: skip
@click.option("--profile", type=click.Choice(PROFILE_NAMES),
              help="Behave as the API page has it, or as the vendor's tools find it; kept with the "
              "data set, whose own counts else.")  # fmt: skip
@click.option("--switch", "switches", multiple=True, metavar="NAME=VALUE",
              callback=option_parsing.parse_name_value_options_last_wins,
              help="Change one behaviour of the profile; may be repeated.")  # fmt: skip
def command(
    *,
    invocation: Invocation,
    host: str,
    port: int,
    data: Path | None,
    token: str | None,
    any_token: bool,
    tenant: str,
    latency: float,
    faults: Path | None,
    profile: str | None,
    switches: dict[str, str],
) -> int:
    """Serve the embedded backend until it is stopped.

    Prints `listening on URL` once it answers. While it runs, target `embedded` uses it. Without
    --token it asks for a random token, which is `token` in endpoint.json beside its data; only
    you can read that file.
    """
    from synapse_apply.emulator.core.store import DataSetError
    from synapse_apply.emulator.core.switches import UnknownSwitchError
    from synapse_apply.emulator.serve import (
        ServeError,
        build_settings_with_unchecked_switches,
        serve,
    )
    from synapse_apply.workspace.configuration import load_valid_project_or_defaults
    from synapse_apply.workspace.embedded import require_data_folder_absent_or_trusted
    from synapse_apply.workspace.new_data_set import (
        create_embedded_data_set_and_state_if_both_absent,
    )

    if token and any_token:
        raise click.UsageError("Give either --token or --any-token.")
    settings = build_settings_with_unchecked_switches(
        switches=switches,
        profile=profile or "",
        token=token,
        any_token=any_token,
        tenant=tenant,
        latency=latency,
        faults=_read_valid_fault_document(faults) if faults else None,
    )
    if data is None:
        project = load_valid_project_or_defaults(invocation)
        data = require_data_folder_absent_or_trusted(project.root)
        create_embedded_data_set_and_state_if_both_absent(project, invocation, profile or "")
    try:
        serve(data, host=host, port=port, settings=settings)
    except (ServeError, DataSetError, UnknownSwitchError) as problem:
        raise SynapseApplyError.from_summary(
            "The embedded backend cannot be served", f"{problem}."
        ) from None
    return 0


def _read_valid_fault_document(faults_file: Path) -> JsonObject:
    from synapse_apply.emulator.faults.rules import FaultsError, read_valid_fault_document

    try:
        return read_valid_fault_document(faults_file)
    except FaultsError as problem:
        raise SynapseApplyError.from_summary("The faults cannot be used", f"{problem}.") from None
