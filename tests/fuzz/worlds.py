"""Worlds that an input comes into: a copy of an example, applied or not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from fuzz.corpus import ROOT


def copy_example(name: str, folder: Path) -> None:
    """A copy of an example as the working folder."""
    ignored = shutil.ignore_patterns(".synapse-apply", "__pycache__")
    shutil.copytree(ROOT / "examples" / name, folder, ignore=ignored)
    os.chdir(folder)
