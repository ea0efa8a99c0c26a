"""A bench for each test, and a project for those of the library."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from installed import ROOT, copied, variables
from unit.applying.bench import Bench

from synapse_apply import OpenTarget, open_target


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project of two storages, a plugin and its release."""
    return copied(ROOT / "examples" / "quickstart", tmp_path)


@pytest.fixture
def target(folder: Path) -> Iterator[OpenTarget]:
    with open_target(
        "embedded", folder=folder, environ=variables(folder / "example.env")
    ) as opened_target:
        yield opened_target
