"""The command `verify`: which releases to run, or whose published bytes to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli import completion
from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import option_parsing, options, revision_options

if TYPE_CHECKING:
    from synapse_apply import Invocation


@manual_command(
    "verify",
    examples=[
        ("synapse-apply verify release/yolo", "Run the declared release of plugin yolo."),
        ("synapse-apply verify release/yolo@1.1.0 --timeout 900", "With more time than it says."),
        ("synapse-apply verify release -t staging", "Every declared release that can be run."),
        ("synapse-apply verify release --bytes", "Compare published bytes; run nothing."),
    ],
    exits=[
        ("0", "all passed, or on_failure is warn"),
        ("1", "error before the first call: not published yet, or nothing to run"),
        ("3", "a run failed, or did not end in time; --bytes: other bytes, or they were not read"),
        ("5", "refused: see the row"),
        ("6", "the state is locked by another run"),
        ("7", "it is not known whether a run was started; the next run looks it up"),
        ("130, 143", "stopped by a signal; the job goes on, and the next run follows it"),
    ],
)
@options.add_event_options
@options.add_target_options
@revision_options.add_project_from_option
@options.add_file_option
@options.add_variable_options
@click.argument(
    "releases",
    nargs=-1,
    required=True,
    metavar="RELEASE...",
    shell_complete=completion.complete_declared,
)
@click.option(
    "--timeout",
    type=option_parsing.NumberType(min=0, min_open=True),
    metavar="SECONDS",
    help="How long a run may take, instead of spec.verify.timeout.",
)
@click.option(
    "--bytes",
    "only_bytes",
    is_flag=True,
    help="Run nothing: read what is published, compare it with the state, and record that.",
)
@options.add_parallelism_option
@options.add_lock_timeout_option
def command(
    *,
    console: Console,
    invocation: Invocation,
    releases: tuple[str, ...],
    timeout: float | None,
    only_bytes: bool,
) -> int:
    """Run releases as their spec.verify says, now, also those that passed before.

    A RELEASE is an address, release/PLUGIN or PLUGIN for the declared one, a kind, KEY=VALUE of a
    label, or any of these with `*`.
    Nothing else is sent and nobody is asked. The result is recorded: `apply` verifies only what
    has not passed. A job that is still running from before is followed, and no other started.
    """
    from synapse_apply.cli.flows.apply_run import ConsoleObserver
    from synapse_apply.cli.flows.command_target import open_command_target

    with open_command_target(invocation) as target:
        if only_bytes:
            from synapse_apply.cli.texts.published_bytes import print_compared_bytes

            return print_compared_bytes(console, target.compare_published_bytes(releases))
        observer = ConsoleObserver(console)
        return observer.run(lambda: target.verify(releases, timeout=timeout, observer=observer))
