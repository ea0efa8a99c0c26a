"""The command `controller worker`: which file and folder, and how much it works on at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import controller_options, options


@manual_command(
    "worker",
    examples=[
        ("synapse-apply controller worker", "Work beside the replicas of this controller.yaml."),
        ("synapse-apply controller worker --looks 16", "On a larger machine."),
    ],
    exits=[
        ("0", "stopped by Ctrl-C or SIGTERM"),
        ("1", "it could not start, or a newer version has taken over the store"),
        ("6", "another controller uses the data folder"),
    ],
    environment=[("SYNAPSE_APPLY_LOG=json", "Log lines as JSON.")],
)
@options.add_color_options
@controller_options.add_file_argument
@controller_options.add_data_option
@controller_options.add_looks_option
def command(*, console: Console, file: Path, data: Path, looks: int) -> int:
    """Plan and apply what is due in a controller whose store is on PostgreSQL, and nothing else.

    It has no page, follows no branch and sends nothing: for that there is at least one `run` with
    the same file. Any number of workers may come and go; each has a data folder of its own. SIGHUP,
    a first and a second SIGTERM are as of `run`.
    """
    from synapse_apply.controller.run import ControllerSetup, serve_worker

    del console  # all that it tells are lines of its log
    serve_worker(ControllerSetup(file, data, dict(os.environ), sys.stderr, looks))
    return 0
