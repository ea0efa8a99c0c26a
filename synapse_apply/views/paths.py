"""How the path of a file is shown."""

from __future__ import annotations

from pathlib import Path


def shown_path(path: Path) -> str:
    """A path for messages: relative to the working folder where it lies inside."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except (ValueError, RuntimeError):  # outside, or a link in a circle
        return str(path)
