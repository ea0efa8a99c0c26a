"""The command `package build`: which package to zip, and where to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from synapse_apply.cli.commands.package import options
from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command

if TYPE_CHECKING:
    from synapse_apply import Invocation


@manual_command(
    "build",
    examples=[
        ("synapse-apply package build plugins/yolo", "yolo-1.1.0.zip, in the working folder."),
        ("synapse-apply package build release/yolo@1.1.0 -o dist/yolo.zip", "Of a release."),
        ("synapse-apply package build plugins/yolo --ref yolo-v1.1.0", "As it was at a tag."),
    ],
    exits=[("0", "written"), ("1", "no such package, or it cannot be written: no zip is left")],
)
@options.add_package_options
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where to write it, instead of NAME-VERSION.zip here; a zip there is replaced.",
)
def command(
    *, console: Console, invocation: Invocation, what: str, ref: str, out: Path | None
) -> int:
    """Write the zip of a package, as a release uploads it.

    It is reproducible: the same files give the same bytes, with fixed times, order and modes.
    `package show` shows what is left out, and why. A zip that was built elsewhere is packed anew;
    an upload of `file:` sends that file as it is.
    """
    from synapse_apply.cli.flows.command_target import open_command_target
    from synapse_apply.cli.texts import packages

    with open_command_target(invocation) as target:
        package_query = target.packages.find_package(what, ref=ref)
        written_zip = target.packages.write_zip(package_query, out)
    console.write_findings(written_zip.findings)
    if console.as_json:
        console.write_or_keep_document(packages.build_zip_document(package_query, written_zip))
    else:
        console.write_output(packages.format_zip_summary(written_zip))
    return 0
