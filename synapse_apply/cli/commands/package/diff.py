"""The command `package diff`: which published package to compare with, and the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options
from synapse_apply.model.errors import Exit

if TYPE_CHECKING:
    from synapse_apply import Invocation


@manual_command(
    "diff",
    examples=[
        ("synapse-apply package diff release/yolo@1.1.0", "What changed since it was published."),
        ("synapse-apply package diff yolo --against 1.0.0", "Since an older version."),
        ("synapse-apply package diff yolo --detailed-exitcode", "In CI: 2 means it differs."),
    ],
    exits=[
        ("0", "compared"),
        ("1", "no such release, or the state does not know what was published"),
        ("2", "with --detailed-exitcode: it differs"),
    ],
)
@options.add_json_options
@options.add_target_options
@options.add_file_option
@options.add_variable_options
@click.argument("release")
@click.option(
    "--against",
    default="",
    metavar="RELEASE",
    help="A recorded release of the same plugin, by address or version, instead of this one.",
)
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 when there is a difference.")
def command(
    *, console: Console, invocation: Invocation, release: str, against: str, detailed_exitcode: bool
) -> int:
    """Show which files of a declared release differ from what was published.

    The state remembers the digest of every file that was published from here. A release that is
    not published yet is compared with the newest one of its plugin that is.
    """
    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.cli.texts import packages

    with open_command_target(invocation) as target:
        difference = target.packages.compare_with_published(release, against=against)
    if console.as_json:
        console.write_or_keep_document(packages.build_difference_document(difference))
    else:
        hints = "SYNAPSE_APPLY_IN_AUTOMATION" not in console.environ
        text_options = {"color": console.is_output_colored, "hints": hints}
        console.write_output(
            packages.format_difference(
                difference, **text_options, typed_target=console.typed_target
            )
        )
    return Exit.CHANGES if detailed_exitcode and difference.is_different else Exit.OK
