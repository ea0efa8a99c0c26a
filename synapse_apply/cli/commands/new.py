"""`synapse-apply new`."""

from __future__ import annotations

from pathlib import Path

import click

from synapse_apply.cli import options
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual


@manual(
    "new",
    examples=[
        ("synapse-apply new storage raw-data", "A storage on Amazon S3, on stdout."),
        ("synapse-apply new storage nas --provider smb --out manifests/nas.yaml", "To a file."),
        ("synapse-apply new plugin yolo --out manifests/yolo.yaml", "A plugin."),
        ("synapse-apply new release yolo@1.2.0", "A release of plugin yolo."),
    ],
    exits=[("0", "written"), ("1", "a name that cannot be one, or the file is there already")],
)
@options.text_output
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
def command(*, face: Face, kind: str, name: str, provider: str, out: Path | None) -> int:
    """Write a manifest to fill in. KIND is storage, plugin or release.

    What must be filled in says CHANGE-ME, and is an error until then; what may be left out is
    commented. Secrets come from the environment, never from the manifest.
    """
    from synapse_apply.session import scaffold

    text = scaffold.new_manifest(Path.cwd(), scaffold.manifest(kind, name, provider), out)
    face.out(text if out is None else f"Wrote {out}\n")
    return 0
