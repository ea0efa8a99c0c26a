"""The command `package show`: how the contents of a package are sorted and printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli.commands.package import options
from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command

if TYPE_CHECKING:
    from synapse_apply import Invocation


@manual_command(
    "show",
    examples=[
        ("synapse-apply package show plugins/yolo", "What goes into the zip, and what does not."),
        ("synapse-apply package show release/yolo@1.1.0 --by-size", "The largest files first."),
        ("synapse-apply package show plugins/yolo --json", "The same for a script."),
    ],
    exits=[("0", "shown"), ("1", "no such package, or names in it that no package can have")],
)
@options.add_package_options
@click.option("--by-size", is_flag=True, help="The largest files first.")
def command(*, console: Console, invocation: Invocation, what: str, ref: str, by_size: bool) -> int:
    """Show what goes into a package, what is left out, and the rule that leaves it out.

    A rule is a line of an ignore file (`.synapseignore`, which goes before `.gitignore`) or
    built in. A folder that is left out stands for all below it.
    """
    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.cli.texts import packages

    with open_command_target(invocation) as target:
        package_query = target.packages.find_package(what, ref=ref)
        listing = target.packages.list_contents(package_query)
    if console.as_json:
        console.write_or_keep_document(
            packages.build_contents_document(package_query, listing, by_size=by_size)
        )
    else:
        console.write_output(
            packages.format_contents(
                package_query, listing, by_size=by_size, color=console.is_output_colored
            )
        )
    return 0
