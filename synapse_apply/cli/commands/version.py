"""The command `version`: which versions it prints."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, distribution, requires

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
        # The extras whose libraries are all there; none where the package itself is not installed.
        present: dict[str, bool] = {}
        for text in (requires("synapse-apply") or ()) if is_installed("synapse-apply") else ():
            if match := re.match(r"([\w.-]+).*extra == ['\"]([\w-]+)", text):
                present[match[2]] = present.get(match[2], True) and is_installed(match[1])
        console.write_or_keep_document(
            {
                "version": __version__,
                "python": platform.python_version(),
                "platform": system,
                "extras": sorted(name for name, is_there in present.items() if is_there),
            }
        )
    else:
        console.write_output(f"synapse-apply {__version__} (Python {platform.python_version()})\n")
    return 0


def is_installed(name: str) -> bool:
    """Whether the environment has a distribution of that name."""
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
