"""`synapse-apply storages list`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synapse_apply.cli import options
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual

if TYPE_CHECKING:
    from synapse_apply.session.where import Where

_FIELDS = ("name", "provider", "category")


@manual(
    "list",
    examples=[
        ("synapse-apply storages list", "A line for each storage."),
        ("synapse-apply storages list --json", "With configurations, secrets as null."),
    ],
    exits=[("0", "listed, also where there is none"), ("1", "they could not be read")],
)
@options.output
@options.place
def command(*, face: Face, where: Where) -> int:
    """List every storage that the token may see."""
    from synapse_apply.cli.live_texts import list_all
    from synapse_apply.session.objects import storages
    from synapse_apply.session.reach import open_backend

    with open_backend(where) as reach:
        found = storages(reach)
        if not found:
            face.err("There is no storage.\n")
        return list_all(face, "storage", found, _FIELDS)
