"""How the pages read: words written by hand, and phrasings of prose.toml: `python -m house.prose`."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "tests" / "house" / "prose.toml"
TOP = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "RELEASING.md", "SECURITY.md")
GENERATED = {"commands.md", "emulator.md", "manifests.md", "packages.md"}
# Code, what a program writes between two marks (benchmarks, release/costs.py), comments, addresses.
_BLOCK = re.compile(
    r"(?ms)^ *```.*?^ *```$|<!-- (\w+): begin -->.*?<!-- \1: end -->|<!--.*?-->|\]\([^)]*\)|`[^`\n]*`"
)


class Place(NamedTuple):
    """A line with a phrasing, and what to say instead."""

    page: str
    line: int
    found: str
    instead: str


def read_pages() -> dict[str, str]:
    """The pages that people write, without code and addresses of links."""
    docs = [path for path in (ROOT / "docs").glob("*.md") if path.name not in GENERATED]
    paths = [*(ROOT / name for name in TOP), *docs, *(ROOT / "examples").rglob("*.md")]
    blank = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in sorted(paths)}
    return {page: _BLOCK.sub(_keep_lines, text) for page, text in blank.items()}


def _keep_lines(found: re.Match[str]) -> str:
    return "`x`" + "\n" * found[0].count("\n")


def find_places() -> Iterator[Place]:
    """Each phrasing that prose.toml has something better for."""
    instead = tomllib.loads(FILE.read_text("utf-8"))["instead"]
    for page, text in read_pages().items():
        for pattern, better in instead.items():
            for found in re.finditer(pattern, text):
                number = text.count("\n", 0, found.start()) + 1
                yield Place(page, number, " ".join(found[0].split()), better)


def count() -> dict[str, int]:
    """What may not rise."""
    words = sum(len(re.findall(r"[A-Za-z]{2,}", text)) for text in read_pages().values())
    return {"words": words, "phrasings": sum(1 for _ in find_places())}


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        head = FILE.read_text("utf-8").partition("[at_most]\n")[0]
        rows = "".join(f"{name} = {number}\n" for name, number in count().items())
        FILE.write_text(f"{head}[at_most]\n{rows}", "utf-8")
    for place in find_places():
        print(f"{place.page}:{place.line}: {place.found!r}: {place.instead}")
    print(*(f"{number:6} {name}" for name, number in count().items()), sep="\n")
