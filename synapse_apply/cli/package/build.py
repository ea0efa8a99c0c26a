"""`synapse-apply package build`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual
from synapse_apply.cli.package import options

if TYPE_CHECKING:
    from synapse_apply.session.where import Where


@manual(
    "build",
    examples=[
        ("synapse-apply package build plugins/yolo", "yolo-1.1.0.zip, in the working folder."),
        ("synapse-apply package build release/yolo@1.1.0 -o dist/yolo.zip", "Of a release."),
        ("synapse-apply package build plugins/yolo --ref yolo-v1.1.0", "As it was at a tag."),
    ],
    exits=[("0", "written"), ("1", "no such package, or it cannot be written: no zip is left")],
)
@options.sought
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where to write it, instead of NAME-VERSION.zip here; a zip there is replaced.",
)
def command(*, face: Face, where: Where, what: str, ref: str, out: Path | None) -> int:
    """Write the zip of a package, as a release uploads it.

    It is reproducible: the same files give the same bytes, with fixed times, order and modes. What
    is left out, and why, shows `package show`. A zip that was built elsewhere is packed anew; an
    upload of `file:` sends that file as it is.
    """
    from synapse_apply.cli import packing
    from synapse_apply.session import package

    found = package.find(where, what, ref)
    path = where.directory / (out or package.usual_name(found))
    made = package.build(found, path)
    face.warn(made.findings)
    if face.as_json:
        face.document(packing.built_document(found, made.package, made.sizes, path))
    else:
        face.out(packing.built_text(made.package, path))
    return 0
