"""The command `controller backup`: where the copy goes."""

from __future__ import annotations

from pathlib import Path

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import controller_options, options


@manual_command(
    "backup",
    examples=[("synapse-apply controller backup main.backup", "A copy of its store.")],
    exits=[("0", "written"), ("1", "no store, or the file is there or cannot be written")],
)
@options.add_color_options
@controller_options.add_data_option
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def command(*, console: Console, data: Path, file: Path) -> int:
    """Copy a controller's store to one new file, consistent even while it runs.

    To restore it, put it in the data folder of a controller that is stopped, as controller.db. A
    store in PostgreSQL (`store` of controller.yaml) is saved with pg_dump.
    """
    from synapse_apply.controller.run import write_store_backup

    write_store_backup(data, file)
    console.write_output(f"Wrote {file}.\n")
    return 0
