"""Prints constraints with every runtime dependency at the lowest version that pyproject.toml allows.

All else is as constraints.txt pins it. `make lowest` installs what this prints.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def read_project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def normalize_name(requirement: str) -> str:
    """The name that a requirement or a pin begins with, as package indexes compare names."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found.group()).lower()


def find_lowest_versions() -> dict[str, str]:
    """The lower bound of each dependency of the package and of its extras, by name."""
    project = read_project()["project"]
    extras = project["optional-dependencies"].values()
    lowest: dict[str, str] = {}
    for requirement in [*project["dependencies"], *(one for extra in extras for one in extra)]:
        bound = re.search(r">=([0-9.]+)", requirement)
        assert bound, f"{requirement} has no lower bound"
        lowest[normalize_name(requirement)] = bound[1]
        if "[binary]" in requirement:  # a package of its own, of the same version
            lowest[f"{normalize_name(requirement)}-binary"] = bound[1]
    return lowest


def list_constraints() -> Iterator[str]:
    lowest = find_lowest_versions()
    for pin in (ROOT / "constraints.txt").read_text(encoding="utf-8").split():
        name = normalize_name(pin)
        yield f"{name}=={lowest[name]}" if name in lowest else pin


if __name__ == "__main__":
    sys.stdout.write("".join(f"{pin}\n" for pin in list_constraints()))
