"""The command `controller run`: which file and folder, and whether for ever or once."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import controller_options, options


@manual_command(
    "run",
    examples=[
        ("synapse-apply controller run", "Follow what controller.yaml says, until stopped."),
        ("synapse-apply controller run --demo", "With a repository and backends made for it."),
        ("synapse-apply controller run --once", "One round, for cron."),
        ("synapse-apply controller run /etc/acme.yaml --data /var/lib/acme", "For a service."),
    ],
    exits=[
        ("0", "stopped by Ctrl-C or SIGTERM; --once: all is looked at, and applied where it may"),
        ("1", "it could not start; --once: a source cannot be followed, a target not be planned"),
        ("2", "--once --detailed-exitcode: something is not live, is held, or waits"),
        ("3", "--once: an apply did not do all that it was to do"),
        ("5", "--once: something is refused where the controller applies"),
        ("6", "another controller uses the data folder; --once: another process leads it"),
        ("7", "--once: nobody knows whether a call had an effect"),
    ],
    environment=[("SYNAPSE_APPLY_LOG=json", "Log lines as JSON.")],
)
@options.add_color_options
@controller_options.add_file_argument
@controller_options.add_data_option
@click.option("--once", is_flag=True, help="Do what is due, print a table, and end.")
@click.option(
    "--demo",
    is_flag=True,
    help="Make a repository, backends and a configuration in a temporary folder, show what a "
    "controller does with them, and remove them at the end.",
)
@click.option("--keep", is_flag=True, help="With --demo: leave the folder there.")
@controller_options.add_looks_option
@click.option(
    "--detailed-exitcode",
    "detailed",
    is_flag=True,
    help="With --once: exit with 2 where there are changes, drift or refusals.",
)
def command(
    *,
    console: Console,
    file: Path,
    data: Path,
    once: bool,
    detailed: bool,
    demo: bool,
    keep: bool,
    looks: int,
) -> int:
    """Follow Git, plan every target, apply what its mode lets it, and show it on a page.

    Writes a line to stderr for each new head, each look that found something new, each apply, and
    each failure. SIGHUP has it read the file again; one with errors is not taken. A first Ctrl-C or
    SIGTERM lets looks end for some seconds and of applies what has begun; a second one stops at
    once.
    """
    from synapse_apply.controller.run import ControllerSetup, run_controller_once, serve_controller

    if detailed and not once:
        raise click.UsageError("--detailed-exitcode goes with --once.")
    if demo and once:
        raise click.UsageError("--demo goes on until it is stopped: leave out --once.")
    if keep and not demo:
        raise click.UsageError("--keep goes with --demo.")
    if demo:
        _serve_demo_until_stopped(console, keep=keep)
        return 0
    setup = ControllerSetup(file, data, dict(os.environ), sys.stderr, looks)
    if not once:
        serve_controller(setup)
        return 0
    from synapse_apply.cli.texts.controller import print_target_list

    return run_controller_once(
        setup, lambda targets: print_target_list(console, targets), detailed=detailed
    )


def _serve_demo_until_stopped(console: Console, *, keep: bool) -> None:
    from synapse_apply.controller.demo.demo import open_demo
    from synapse_apply.controller.extras import require_page_packages
    from synapse_apply.controller.run import ControllerSetup, serve_controller

    require_page_packages()

    def print_line(text: str) -> None:
        console.write_output(f"{text}\n")

    print_line("Making a Git repository and three backends ...")
    with open_demo(print_line, keep=keep) as demo:
        print_line(f"All of it is in {demo.folder}, and the page at {demo.page_url}")
        variables = {**os.environ, **demo.variables}
        serve_controller(
            ControllerSetup(demo.configuration_file, demo.data_folder, variables, sys.stderr)
        )
