"""`synapse-apply emulator serve`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from synapse_apply.cli import options, parsing
from synapse_apply.cli.manual import manual
from synapse_apply.model.errors import SynapseApplyError

if TYPE_CHECKING:
    from synapse_apply.model.project import Project
    from synapse_apply.session.where import Where


@manual(
    "serve",
    examples=[
        ("synapse-apply emulator serve", "The project's embedded backend, on a free port."),
        ("synapse-apply emulator serve --port 8000 --token t0ken", "For a test that needs a URL."),
        ("synapse-apply emulator serve --switch plugin_list=list", "As another backend behaves."),
    ],
    exits=[("0", "stopped by Ctrl-C or SIGTERM"), ("1", "it could not start")],
)
@options.place_of_project
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, type=click.IntRange(0, 65535), help="Port; 0 takes a free one.")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
              help="The data set, instead of the project's.")  # fmt: skip
@click.option("--token", metavar="TEXT", help="The access token to ask for; else a random one.")
@click.option("--any-token", is_flag=True, help="Accept every token, from whoever asks.")
@click.option("--tenant", default="default", show_default=True, help="The tenant of --token.")
@click.option("--latency", default=0.0, type=parsing.Number(min=0), metavar="MS",
              help="Wait this long before each answer.")  # fmt: skip
@click.option("--faults", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="What shall go wrong, and when: JSON as docs/faults.md says.")  # fmt: skip
@click.option("--switch", "switches", multiple=True, metavar="NAME=VALUE", callback=parsing.pairs,
              help="Change a guessed behaviour; may be repeated.")  # fmt: skip
def command(
    *,
    where: Where,
    host: str,
    port: int,
    data: Path | None,
    token: str | None,
    any_token: bool,
    tenant: str,
    latency: float,
    faults: Path | None,
    switches: dict[str, str],
) -> int:
    """Serve the embedded backend until it is stopped.

    Prints `listening on URL` once it answers. While it runs, target `embedded` uses it. Without
    --token it asks for a random token, which is `token` in endpoint.json beside its data; only
    you can read that file.
    """
    from synapse_apply.emulator.core.store import DataSetError
    from synapse_apply.emulator.core.switches import UnknownSwitchError
    from synapse_apply.emulator.serve import ServeError, serve, settings_of
    from synapse_apply.session.declare import project_of
    from synapse_apply.session.embedded import trusted_data_folder

    if token and any_token:
        raise click.UsageError("Give either --token or --any-token.")
    settings = settings_of(
        switches=switches,
        token=token,
        any_token=any_token,
        tenant=tenant,
        latency=latency,
        faults=_read(faults) if faults else None,
    )
    if data is None:
        project = project_of(where)
        data = trusted_data_folder(project.root)
        _remember(project, where)
    try:
        serve(data, host=host, port=port, settings=settings)
    except (ServeError, DataSetError, UnknownSwitchError) as problem:
        raise SynapseApplyError.of("The embedded backend cannot be served", f"{problem}.") from None
    return 0


def _read(faults: Path) -> Any:
    from synapse_apply.emulator.core.fault_rules import FaultsError, read

    try:
        return read(faults)
    except FaultsError as problem:
        raise SynapseApplyError.of("The faults cannot be used", f"{problem}.") from None


def _remember(project: Project, where: Where) -> None:
    """Make the state of a data set that is new, as an apply would, before anybody can write to it.

    Where one of the two is there already nothing is made: apply then says what does not fit.
    """
    from synapse_apply.emulator.core.place import DATABASE
    from synapse_apply.model.project import EMBEDDED
    from synapse_apply.session import embedded, state_file

    target = project.targets[EMBEDDED]
    store = state_file.open_store(project, target, where.environ)
    try:
        if store.exists() or (embedded.data_folder(project.root) / DATABASE).exists():
            return
        with embedded.running(project.root) as running:
            binding = state_file.binding_of(running.url, target, running)
            made = state_file.ensure(store, target, binding, running)
            state_file.keys(project, target, where.environ, create=made)
    finally:
        store.close()
