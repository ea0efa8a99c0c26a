"""`synapse-apply version`."""

from __future__ import annotations

import platform

from synapse_apply import __version__
from synapse_apply.cli import options
from synapse_apply.cli.face import Face
from synapse_apply.cli.manual import manual


@manual(
    "version",
    examples=[
        ("synapse-apply version", "The version, and the Python it runs on."),
        ("synapse-apply version --json", "The same for a script."),
    ],
)
@options.output
def command(*, face: Face) -> int:
    """Show the version of synapse-apply."""
    if face.as_json:
        system = f"{platform.system()} {platform.machine()}"
        face.document(
            {"version": __version__, "python": platform.python_version(), "platform": system}
        )
    else:
        face.out(f"synapse-apply {__version__} (Python {platform.python_version()})\n")
    return 0
