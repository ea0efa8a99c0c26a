"""`synapse-apply releases list`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from synapse_apply.cli import options
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual

if TYPE_CHECKING:
    from synapse_apply.session.where import Where

_FIELDS = ("version", "is_stable", "changelog")


@manual(
    "list",
    examples=[
        ("synapse-apply releases list yolo", "The releases of the plugin with this code."),
        ("synapse-apply releases list id=123 --json", "By the plugin's id, for a script."),
    ],
    exits=[("0", "listed, also where there is none"), ("1", "they could not be read")],
)
@options.output
@options.place
@click.argument("plugin", metavar="PLUGIN")
def command(*, face: Face, where: Where, plugin: str) -> int:
    """List the releases of a plugin: its code, a recorded name, or id=123."""
    from synapse_apply.cli.live_texts import list_all
    from synapse_apply.session.objects import releases
    from synapse_apply.session.reach import open_backend

    with open_backend(where) as reach:
        found = releases(reach, plugin)
        if not found:
            face.err("There is no release of this plugin, or no such plugin.\n")
        return list_all(face, "release", found, _FIELDS)
