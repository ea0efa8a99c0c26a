"""The command `version`: which versions it prints."""

from __future__ import annotations

import platform

from synapse_apply import __version__
from synapse_apply.cli.console import Console
from synapse_apply.cli.help_pages import manual_command
from synapse_apply.cli.params import options


@manual_command(
    "version",
    examples=[
        ("synapse-apply version", "The version, and the Python it runs on."),
        ("synapse-apply version --json", "The same for a script."),
    ],
)
@options.add_json_options
def command(*, console: Console) -> int:
    """Show the version of synapse-apply."""
    if console.as_json:
        system = f"{platform.system()} {platform.machine()}"
        console.write_or_keep_document(
            {"version": __version__, "python": platform.python_version(), "platform": system}
        )
    else:
        console.write_output(f"synapse-apply {__version__} (Python {platform.python_version()})\n")
    return 0
