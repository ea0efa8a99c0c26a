"""The Korean pages have the commands, outputs, links and tables of the English ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from installed import ROOT

KOREAN = ROOT / "docs" / "ko"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# The comment at the end of a command is prose.
COMMENT = re.compile(r" +# .*")
# The page of the controller ends with its first hour.
PAGES = {
    "README.md": (ROOT / "README.md", None),
    "daily.md": (ROOT / "docs" / "daily.md", None),
    "troubleshooting.md": (ROOT / "docs" / "troubleshooting.md", None),
    "controller.md": (ROOT / "docs" / "controller.md", "\n## Your own repository\n"),
}


class Page:
    """What a page has that is the same in each language."""

    def __init__(self, path: Path, end: str | None = None) -> None:
        text = path.read_text(encoding="utf-8")
        if end is not None:
            assert end in text
            text = text.partition(end)[0]
        self.blocks = [
            (language, COMMENT.sub("", block) if language == "sh" else block)
            for language, block in FENCE.findall(text)
        ]
        self.prose = FENCE.sub("", text)
        self.spoken = sorted(set(re.findall(r"`[^`\n]+`", self.prose)))
        self.tables = [row.count("|") for row in self.prose.splitlines() if row.startswith("|")]
        self.links = {
            ((path.parent / link.partition("#")[0]).resolve(), link.partition("#")[2])
            for link in re.findall(r"\]\(([^)\s]+)\)", self.prose)
        }


@pytest.mark.parametrize("name", PAGES)
def test_a_korean_page_has_all_of_the_english_one(name: str) -> None:
    """The same blocks, code words, rows and links in the same order; so each command of it is run."""
    path, end = PAGES[name]
    english, korean = Page(path, end), Page(KOREAN / name)
    assert korean.blocks == english.blocks
    assert korean.spoken == english.spoken
    translated = {(KOREAN / page, ""): (PAGES[page][0].resolve(), "") for page in PAGES}
    own = {(KOREAN / "terms.md", ""), (KOREAN / "README.md", ""), (path.resolve(), "")}
    links = {translated.get(link, link) for link in korean.links} - own
    if end is None:
        assert korean.tables == english.tables
        assert links == english.links - own
    else:  # the table of what to read on is left out, and the rest of the English page linked
        assert {link for link in links if link[0] != path.resolve()} <= english.links


def test_the_korean_pages_are_found() -> None:
    """From the first page, from the index of pages, and from each of them."""
    assert "(docs/ko/README.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "(ko/README.md)" in (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    assert {path.name for path in KOREAN.iterdir()} == {*PAGES, "terms.md"}
