"""The texts that the fuzzers start from: the examples and the tests' own cases."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_PART = re.compile(r"^=== (.*)\n", re.MULTILINE)


@cache
def parts_of_cases() -> tuple[tuple[str, str], ...]:
    """Name and text of each file that the cases of broken manifests are made of."""
    found = []
    for case in sorted((ROOT / "tests/cases/invalid").glob("*.txt")):
        pieces = _PART.split(case.read_text(encoding="utf-8"))
        found += [(name, text) for name, text in zip(pieces[1::2], pieces[2::2], strict=True)]
    return tuple(found)


@cache
def manifests() -> tuple[str, ...]:
    """Texts of manifests, sound ones and broken ones."""
    sound = sorted((ROOT / "examples").glob("*/manifests*/**/*.yaml"))
    broken = [text for name, text in parts_of_cases() if name.startswith("manifests/")]
    return (*(path.read_text(encoding="utf-8") for path in sound), *broken)


@cache
def projects() -> tuple[str, ...]:
    """Texts of project files, sound ones and broken ones."""
    sound = sorted((ROOT / "examples").glob("*/synapse-apply.yaml"))
    broken = [text for name, text in parts_of_cases() if name == "synapse-apply.yaml"]
    return (*(path.read_text(encoding="utf-8") for path in sound), *broken)
