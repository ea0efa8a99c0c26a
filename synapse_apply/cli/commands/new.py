"""The command `new`: which manifest to write."""

from __future__ import annotations

from pathlib import Path

import click

from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options


@manual_command(
    "new",
    examples=[
        ("synapse-apply new storage raw-data", "A storage on Amazon S3, on stdout."),
        ("synapse-apply new storage nas --provider smb --out manifests/nas.yaml", "To a file."),
        ("synapse-apply new plugin yolo --out manifests/yolo.yaml", "A plugin."),
        ("synapse-apply new release yolo@1.2.0", "A release of plugin yolo."),
    ],
    exits=[("0", "written"), ("1", "a name that cannot be one, or the file is there already")],
)
@options.add_color_options
@click.argument("kind", type=click.Choice(["storage", "plugin", "release"]), metavar="KIND")
@click.argument("name")
@click.option(
    "--provider",
    default="amazon_s3",
    show_default=True,
    help="A storage's provider: `synapse-apply schema` lists them.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write it to this file, which must not be there yet.",
)
def command(*, console: Console, kind: str, name: str, provider: str, out: Path | None) -> int:
    """Write a manifest to fill in. KIND is storage, plugin or release.

    What must be filled in says CHANGE-ME, and is an error until then; what may be left out is
    commented. Secrets come from the environment, never from the manifest.
    """
    from synapse_apply.operations import init

    text = init.write_template(Path.cwd(), init.build_manifest_template(kind, name, provider), out)
    console.write_output(text if out is None else f"Wrote {out}\n")
    return 0
