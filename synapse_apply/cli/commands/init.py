"""The command `init`: which first files to write."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options


@manual_command(
    "init",
    examples=[
        ("synapse-apply init", "A project file and a first manifest, here."),
        ("synapse-apply init --from plugins/yolo", "Manifests of a plugin folder you have."),
    ],
    exits=[("0", "written"), ("1", "something is there already: nothing was written")],
)
@options.add_color_options
@click.option(
    "-C",
    "--chdir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Work in this folder.",
)
@click.option(
    "--from",
    "plugin",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="A plugin folder: write its Plugin and Release manifests.",
)
def command(*, console: Console, chdir: Path | None, plugin: Path | None) -> int:
    """Write a project file (synapse-apply.yaml) and first manifests.

    Nothing is ever overwritten, and nothing is sent. With --from inside a project, only the
    plugin's manifests are added.
    """
    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.cli.params.invocation_options import add_invocation_options
    from synapse_apply.model.command import Command, Text
    from synapse_apply.model.errors import InputError
    from synapse_apply.operations import init
    from synapse_apply.views.paths import shown_path
    from synapse_apply.workspace.invocation import Invocation

    folder = Path.cwd() / chdir if chdir else Path.cwd()
    project_scaffold = (
        init.build_plugin_scaffold(folder, folder / plugin)
        if plugin
        else init.build_project_scaffold(folder)
    )
    project_scaffold.write_scaffold()
    for path in project_scaffold.files:
        console.write_output(f"Wrote {shown_path(path)}\n")
    if "SYNAPSE_APPLY_IN_AUTOMATION" not in console.environ:
        invocation = Invocation(folder, environ=console.environ, on_terminal=console.is_interactive)
        command_line, target_text = "plan -t TARGET", "that target"
        # Without a target that is clear, or with a project file that cannot be read.
        with suppress(InputError), open_command_target(invocation) as target:
            command_line, target_text = "plan", f"target {target.name}"
        next_step = Text(Command(command_line), f" shows what would be done on {target_text}.")
        console.write_output(f"\nNext: {add_invocation_options(next_step, invocation)}\n")
    return 0
