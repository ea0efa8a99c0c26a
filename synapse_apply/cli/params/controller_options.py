"""The argument and the option that say which controller a command is about."""

from __future__ import annotations

from pathlib import Path

import click

add_file_argument = click.argument(
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("controller.yaml"),
    required=False,
)
# The default is that of controller/run.py, which is not imported for --help.
add_data_option = click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".synapse-apply") / "controller",
    metavar="FOLDER",
    help="The controller's data folder, instead of .synapse-apply/controller.",
)
