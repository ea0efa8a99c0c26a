"""`synapse-apply init`."""

from __future__ import annotations

from pathlib import Path

import click

from synapse_apply.cli import options
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual


@manual(
    "init",
    examples=[
        ("synapse-apply init", "A project file and a first manifest, here."),
        ("synapse-apply init --from plugins/yolo", "Manifests of a plugin folder you have."),
    ],
    exits=[("0", "written"), ("1", "something is there already: nothing was written")],
)
@options.text_output
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
def command(*, face: Face, chdir: Path | None, plugin: Path | None) -> int:
    """Write a project file (synapse-apply.yaml) and first manifests.

    Nothing is ever overwritten, and nothing is sent. With --from inside a project, only the
    plugin's manifests are added.
    """
    from synapse_apply.cli.again import same_place
    from synapse_apply.model.aim import completed
    from synapse_apply.session import scaffold
    from synapse_apply.session.declare import shown
    from synapse_apply.session.where import Where

    folder = Path.cwd() / chdir if chdir else Path.cwd()
    made = scaffold.from_plugin(folder, folder / plugin) if plugin else scaffold.project(folder)
    made.write()
    for path in made.files:
        face.out(f"Wrote {shown(path)}\n")
    if "SYNAPSE_APPLY_IN_AUTOMATION" not in face.environ:
        following = "`synapse-apply plan` shows what would be done on the embedded backend."
        face.out(f"\nNext: {completed(following, same_place(Where(folder)))}\n")
    return 0
