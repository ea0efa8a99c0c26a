"""How the program starts: an interrupt during the first imports also ends in a message."""

from __future__ import annotations

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line. Most of a short command's time is its imports."""
    if sys.platform == "win32":
        sys.stderr.write(
            "Error: Windows is not supported\n  State files and their locks need a POSIX "
            "system.\n  Hint: Run synapse-apply in WSL 2 or in a container.\n"
        )
        sys.exit(1)
    try:
        from synapse_apply.model.paused_collection import tune_collector_for_command

        # First, since also what the imports build stays.
        tune_collector_for_command()
        from synapse_apply.cli.main import main as run_command
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted.\n")
        sys.exit(130)
    except (ImportError, MemoryError, OSError) as problem:
        name = getattr(problem, "name", None) or "A module"
        sys.stderr.write(
            f"Error: The installation is incomplete\n  {name} cannot be imported ("
            f"{type(problem).__name__}).\n  Hint: Reinstall the package.\n"
        )
        sys.exit(1)
    run_command()
