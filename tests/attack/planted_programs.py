"""Modules, programs and settings that a pull request plants, each of which tells that it was run."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

# Of the standard library what the steps import, of pip and of ours all that is imported first.
MODULES = (
    "venv", "pip", "json", "ssl", "re", "shlex", "urllib", "ensurepip", "encodings", "site", "click",
    "yaml", "requests", "hatchling", "synapse_apply", "sitecustomize", "usercustomize", "_distutils_hack",
)  # fmt: skip
PROGRAMS = ("python", "python3", "pip3", "git", "mktemp", "env", "rm", "sh", "synapse-apply")
SETTINGS = ("pip.conf", "pip.ini", "setup.cfg", "pyproject.toml", "setup.py", ".netrc", "tox.ini")


@dataclass
class Canary:
    """A file that each planted file writes to once it is run."""

    path: Path

    def plant(self, folder: Path) -> None:
        """Modules, programs and settings in a folder, as a pull request could commit them."""
        code = f"open({str(self.path)!r}, 'a').write(__name__ + ' was imported\\n')\n"
        for name in MODULES:
            (folder / f"{name}.py").write_text(code)
            package = folder / name
            package.mkdir(exist_ok=True)
            for file in ("__init__.py", "__main__.py"):
                (package / file).write_text(code)
        (folder / "evil.pth").write_text(f"import pathlib; {code}")
        site = folder / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
        site.mkdir(parents=True)
        (site / "evil.pth").write_text(f"import pathlib; {code}")
        (site / "usercustomize.py").write_text(code)
        for name in PROGRAMS:
            (folder / name).write_text(f"#!/bin/sh\necho {name} was run >> {self.path}\n")
            (folder / name).chmod(0o755)
        for name in SETTINGS:
            (folder / name).write_text(code if name.endswith(".py") else EVIL_SETTINGS)

    @property
    def text(self) -> str:
        return self.path.read_text() if self.path.exists() else ""


EVIL_SETTINGS = """\
[global]
index-url = http://127.0.0.1:9/simple
find-links = ./wheels
[install]
target = ./elsewhere
[build-system]
requires = []
build-backend = "hatchling"
backend-path = ["."]
"""
