"""Comparing an output with its golden file, or rewriting it: `UPDATE_GOLDEN=1 pytest tests/unit/views`."""

from __future__ import annotations

import os
from pathlib import Path

GOLDEN = Path(__file__).parents[2] / "golden"


def check_golden(name: str, text: str) -> None:
    """The text equals the golden file; it is rewritten when asked, never in CI."""
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        assert not os.environ.get("CI"), (
            "golden files are not rewritten in CI: review and commit them"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    assert path.is_file(), f"{path} is missing; run with UPDATE_GOLDEN=1 and review it"
    with path.open(encoding="utf-8", newline="") as file:
        assert text == file.read()
