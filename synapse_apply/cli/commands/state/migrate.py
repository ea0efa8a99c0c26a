"""The command `state migrate`: which store the state is copied to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import option_parsing, options

if TYPE_CHECKING:
    from synapse_apply import Invocation
    from synapse_apply.model.values import SecretRef


@manual_command(
    "migrate",
    examples=[
        (
            "synapse-apply state migrate -t prod --to postgresql://apply@db.example/states",
            "From the local file to a database that runners share.",
        ),
        (
            "synapse-apply state migrate -t prod --to '{env: STATE_URL}'",
            "The url and its password are in a variable, as the project file will say.",
        ),
    ],
    exits=[
        ("0", "copied and compared"),
        ("1", "there is a state already, or it cannot be written"),
    ],
)
@options.add_color_options
@options.add_target_options
@click.option(
    "--to",
    "url",
    required=True,
    metavar="URL",
    callback=option_parsing.parse_unchecked_url_or_env_reference,
    help="Where the state shall be kept: a url, or '{env: NAME}' as in the project file, where it "
    "holds a password that nobody else on this machine shall see.",
)
@options.add_lock_timeout_option
def command(*, console: Console, invocation: Invocation, url: str | SecretRef) -> int:
    """Copy a whole state, history included, to another store, and compare the two.

    The state it came from stays as it is: set `state.url` in the project file, then put the old
    file away, so that nobody goes on writing to it.
    """
    from synapse_apply.cli.flows.command_target import open_command_target

    with open_command_target(invocation) as target:
        copied_state, name = target.state.copy_to(url), target.name
        next_steps = target.state.list_steps_after_copy(url)
    count = len(copied_state.records)
    records = f"{count} record{'' if count == 1 else 's'}"
    console.write_output(f"Copied {records} of target {name} (serial {copied_state.serial}).\n")
    setting_text = "" if isinstance(url, str) else f": {{env: {url.name}}}"
    console.write_output(f"Now set targets.{name}.state.url{setting_text} in the project file.\n")
    for sentence in next_steps:
        console.write_output(f"{sentence}\n")
    return 0
