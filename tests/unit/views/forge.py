"""Markdown as a forge shows it: parsed by a CommonMark reader, then looked through for references."""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from unit.views.plain_tags import PlainTagParser

READER = MarkdownIt("gfm-like", {"linkify": False, "html": True})
# What GitHub and GitLab turn into mentions, references, links and pictures, in any text but code.
REFERENCE = re.compile(
    r"@\w|(?<!&)[#!]\d|\b[A-Za-z]{2,}-\d|[$%&~]\w|https?://|www\.\w|:[\w+-]+:|\{[+-]", re.ASCII
)
TAGS = {"details", "summary", "code", "span", "sub"}


class Page(PlainTagParser):
    """What a reader sees: texts outside of code, code, links, and the tags they stand in."""

    def __init__(self, markdown: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.codes: list[str] = []
        self.links: list[str] = []
        self.titles: list[str] = []
        self.comments: list[str] = []
        self._fresh = True
        self.feed(READER.render(markdown))
        self.close()

    def handle_starttag(self, tag, attrs):
        assert not attrs or (tag, attrs[0][0]) in {("a", "href"), ("code", "class")}, (tag, attrs)
        self.tags.append(tag)
        self.open.append(tag)
        self.links += [value for name, value in attrs if name == "href"]
        self._fresh = True

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag
        self._fresh = True

    def handle_comment(self, data):
        self.comments.append(data)
        self._fresh = True

    def handle_data(self, data):
        if {"code", "pre"} & set(self.open):
            self.codes.append(data)
            return
        if self.open and self.open[-1] in {"h2", "h3"}:
            self.titles.append(data)
        # A reader looks for references in one text, and an element in between ends a text.
        if self._fresh or not self.texts:
            self.texts.append("")
        self.texts[-1] += data
        self._fresh = False


def read(markdown: str) -> Page:
    """The page, all its tags closed and none but ours, no reference outside of code."""
    page = Page(markdown)
    assert not page.open, page.open
    ours = TAGS | {"h2", "h3", "p", "ul", "li", "strong", "em", "pre", "a"}
    assert set(page.tags) <= ours, set(page.tags) - ours
    for text in page.texts:
        assert not REFERENCE.search(text), text
    return page
