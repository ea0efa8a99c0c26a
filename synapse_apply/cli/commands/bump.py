"""The command `bump`: which part of a version to raise, and where to print the edits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli import completion
from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options
from synapse_apply.model.diagnostic import format_json_pointer

if TYPE_CHECKING:
    from synapse_apply import Invocation


@manual_command(
    "bump",
    examples=[
        ("synapse-apply bump yolo patch", "1.1.0 becomes 1.1.1."),
        ('synapse-apply bump yolo minor -m "Finds smaller things"', "With a changelog."),
        ("synapse-apply bump yolo --to 2.0.0-rc.1", "To a version of your choice."),
        ("synapse-apply bump yolo major --dry-run", "See what would be edited."),
    ],
    exits=[("0", "edited"), ("1", "it cannot be edited, with the reason: nothing was written")],
)
@options.add_json_options
@options.add_target_options
@options.add_file_option
@options.add_variable_options
@click.argument("plugin", shell_complete=completion.complete_plugins)
@click.argument("part", required=False, type=click.Choice(["major", "minor", "patch"]))
@click.option("--to", default="", metavar="VERSION", help="This version, instead of a part.")
@click.option("-m", "--changelog", metavar="TEXT", help="Also set the release's changelog.")
@click.option("--dry-run", is_flag=True, help="Show the edits and write nothing.")
def command(
    *,
    console: Console,
    invocation: Invocation,
    plugin: str,
    part: str | None,
    to: str,
    changelog: str | None,
    dry_run: bool,
) -> int:
    """Raise the version of a plugin's release in the files that say it.

    PLUGIN is the plugin's name, or NAME@VERSION where several of its releases are declared. The
    version is edited where it is written: in the Release manifest, in the package's config.yaml,
    and in the Plugin manifest if it says the same version. Comments, quotes and all else stay.

    A prerelease leads up to its version: `patch` makes 1.2.0 of 1.2.0-rc.1. With -t only the
    manifests of that target are looked at, otherwise those of all.
    """
    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.cli.texts import bump

    if bool(part) == bool(to):
        raise click.UsageError("Say major, minor or patch, or --to VERSION: one of the two.")
    with open_command_target(invocation) as target:
        bump_result = target.packages.bump_version(
            plugin, part=part or "", exact_version=to, changelog=changelog, write=not dry_run
        )
    if console.as_json:
        console.write_or_keep_document(
            {
                "before": str(bump_result.old_address),
                "after": str(bump_result.new_address),
                "version": bump_result.new_version,
                "written": (not dry_run),
                "edits": [
                    {
                        "file": name,
                        "path": format_json_pointer(edit.path),
                        "before": old_value,
                        "after": edit.value,
                    }
                    for name, edit, old_value in bump_result.edits
                ],
            }
        )
    else:
        hints = "SYNAPSE_APPLY_IN_AUTOMATION" not in console.environ
        console.write_output(
            bump.format_bump_result(
                bump_result,
                invocation,
                is_written=not dry_run,
                color=console.is_output_colored,
                shows_hints=hints,
            )
        )
    return 0
